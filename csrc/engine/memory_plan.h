// Where buffers with known lifetimes lie in one arena.
#ifndef WBCQ_ENGINE_MEMORY_PLAN_H_
#define WBCQ_ENGINE_MEMORY_PLAN_H_

#include <cstddef>
#include <span>
#include <vector>

namespace wbcq {

// Live in the steps [first, last], both included.
struct BufferLifetime {
  size_t bytes;
  size_t first;
  size_t last;
};

struct MemoryPlan {
  std::vector<size_t> offsets;  // multiples of kBufferAlignment
  size_t arena_bytes = 0;
};

// Buffers that live at the same time do not overlap. Greedy, largest first, each into the smallest
// gap that holds it: near the lower bound (the largest sum of live buffers) for networks, and fast.
// After Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference" (2020).
MemoryPlan plan_memory(std::span<const BufferLifetime> buffers);

}  // namespace wbcq

#endif  // WBCQ_ENGINE_MEMORY_PLAN_H_
