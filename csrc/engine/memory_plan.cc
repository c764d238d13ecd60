#include "engine/memory_plan.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "base/aligned_buffer.h"
#include "base/checked.h"

namespace wbcq {
namespace {

struct Placed {
  size_t begin;
  size_t end;
  size_t buffer;
};

// `placed` is in order of begin. The smallest gap of `bytes` beside everything that lives at the
// same time, or behind all of it.
size_t best_offset(std::span<const BufferLifetime> buffers, const std::vector<Placed>& placed,
                   const BufferLifetime& buffer, size_t bytes) {
  size_t best = 0;
  size_t best_gap = std::numeric_limits<size_t>::max();
  size_t free_from = 0;
  for (const Placed& other : placed) {
    const BufferLifetime& life = buffers[other.buffer];
    if (life.last < buffer.first || life.first > buffer.last) continue;
    if (other.begin >= free_from + bytes && other.begin - free_from < best_gap) {
      best = free_from;
      best_gap = other.begin - free_from;
    }
    free_from = std::max(free_from, other.end);
  }
  return best_gap == std::numeric_limits<size_t>::max() ? free_from : best;
}

}  // namespace

MemoryPlan plan_memory(std::span<const BufferLifetime> buffers) {
  std::vector<size_t> order(buffers.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return buffers[a].bytes > buffers[b].bytes; });

  MemoryPlan plan;
  plan.offsets.resize(buffers.size());
  std::vector<Placed> placed;
  for (const size_t index : order) {
    const size_t bytes = round_up(buffers[index].bytes, kBufferAlignment);
    const size_t offset = best_offset(buffers, placed, buffers[index], bytes);
    plan.offsets[index] = offset;
    plan.arena_bytes = std::max(plan.arena_bytes, offset + bytes);
    const Placed entry = {offset, offset + bytes, index};
    placed.insert(
        std::upper_bound(placed.begin(), placed.end(), entry,
                         [](const Placed& a, const Placed& b) { return a.begin < b.begin; }),
        entry);
  }
  return plan;
}

}  // namespace wbcq
