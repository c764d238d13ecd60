#include "engine/memory_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/checked.h"
#include "support/random.h"

namespace wbcq {
namespace {

// The most that lives at once: no plan can be smaller.
size_t lower_bound(const std::vector<BufferLifetime>& buffers) {
  size_t largest = 0;
  for (const BufferLifetime& at : buffers) {
    size_t live = 0;
    for (const BufferLifetime& buffer : buffers) {
      if (buffer.first <= at.first && at.first <= buffer.last) {
        live += round_up(buffer.bytes, kBufferAlignment);
      }
    }
    largest = std::max(largest, live);
  }
  return largest;
}

void check(const std::vector<BufferLifetime>& buffers, const MemoryPlan& plan) {
  ASSERT_EQ(plan.offsets.size(), buffers.size());
  for (size_t i = 0; i < buffers.size(); ++i) {
    EXPECT_EQ(plan.offsets[i] % kBufferAlignment, 0u);
    EXPECT_LE(plan.offsets[i] + buffers[i].bytes, plan.arena_bytes);
    for (size_t j = 0; j < i; ++j) {
      const bool same_time =
          buffers[i].first <= buffers[j].last && buffers[j].first <= buffers[i].last;
      const bool overlap = plan.offsets[i] < plan.offsets[j] + buffers[j].bytes &&
                           plan.offsets[j] < plan.offsets[i] + buffers[i].bytes;
      EXPECT_FALSE(same_time && overlap) << "buffers " << i << " and " << j;
    }
  }
  EXPECT_GE(plan.arena_bytes, lower_bound(buffers));
}

TEST(MemoryPlan, LiveBuffersNeverOverlap) {
  testing::Random random;
  for (int i = 0; i < 200; ++i) {
    std::vector<BufferLifetime> buffers(static_cast<size_t>(random.uniform(0, 60)));
    for (BufferLifetime& buffer : buffers) {
      buffer.bytes = static_cast<size_t>(random.uniform(1, 5000));
      buffer.first = static_cast<size_t>(random.uniform(0, 40));
      buffer.last = buffer.first + static_cast<size_t>(random.uniform(0, 10));
    }
    check(buffers, plan_memory(buffers));
  }
}

// The shape of most networks: maps shrink from layer to layer.
TEST(MemoryPlan, ShrinkingChainNeedsItsFirstTwoBuffers) {
  testing::Random random;
  for (int i = 0; i < 100; ++i) {
    std::vector<BufferLifetime> chain(static_cast<size_t>(random.uniform(2, 30)));
    for (BufferLifetime& buffer : chain) {
      buffer.bytes = 64 * static_cast<size_t>(random.uniform(1, 100));
    }
    std::sort(chain.begin(), chain.end(),
              [](const BufferLifetime& a, const BufferLifetime& b) { return a.bytes > b.bytes; });
    for (size_t step = 0; step < chain.size(); ++step) {
      chain[step].first = step;
      chain[step].last = step + 1;
    }
    const MemoryPlan plan = plan_memory(chain);
    check(chain, plan);
    EXPECT_EQ(plan.arena_bytes, chain[0].bytes + chain[1].bytes);
  }
}

TEST(MemoryPlan, ReusesTheSmallestGapThatFits) {
  // 0 and 1 leave a gap of 128 and 2 a larger one behind it; 3 fits the first exactly.
  const std::vector<BufferLifetime> buffers = {{1024, 0, 9}, {512, 0, 0}, {256, 0, 9},
                                               {128, 0, 0},  {448, 1, 2}, {64, 1, 2}};
  const MemoryPlan plan = plan_memory(buffers);
  check(buffers, plan);
  EXPECT_EQ(plan.arena_bytes, 1920u);
}

TEST(MemoryPlan, NothingNeedsNothing) { EXPECT_EQ(plan_memory({}).arena_bytes, 0u); }

}  // namespace
}  // namespace wbcq
