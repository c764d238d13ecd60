#include "ops/window.h"

#include <gtest/gtest.h>

#include "support/random.h"

namespace wbcq {
namespace {

WindowAxis random_axis(testing::Random& random) {
  WindowAxis axis = {};
  axis.in = random.uniform(1, 12);
  axis.out = random.uniform(1, 12);
  axis.kernel = random.uniform(1, 5);
  axis.stride = random.uniform(1, 4);
  axis.pad = random.uniform(0, 5);
  axis.dilation = random.uniform(1, 3);
  return axis;
}

TEST(WindowAxis, OutputsWithinAgreesWithTheDefinition) {
  testing::Random random;
  for (int i = 0; i < 2000; ++i) {
    const WindowAxis axis = random_axis(random);
    const int64_t lo = random.uniform(-4, 2);
    const int64_t hi = random.uniform(lo, axis.in + 4);
    for (int64_t k = 0; k < axis.kernel; ++k) {
      const WindowAxis::Span span = axis.outputs_within(k, lo, hi);
      for (int64_t o = 0; o < axis.out; ++o) {
        const int64_t position = o * axis.stride - axis.pad + k * axis.dilation;
        EXPECT_EQ(o >= span.begin && o < span.end, position >= lo && position < hi);
      }
    }
  }
}

TEST(WindowAxis, TapsInsideAgreesWithTheDefinition) {
  testing::Random random;
  for (int i = 0; i < 2000; ++i) {
    const WindowAxis axis = random_axis(random);
    int64_t pairs = 0;
    for (int64_t o = 0; o < axis.out; ++o) {
      const WindowAxis::Span span = axis.taps_inside(o);
      EXPECT_LE(span.begin, span.end);
      for (int64_t k = 0; k < axis.kernel; ++k) {
        const int64_t position = axis.position(o, k);
        const bool inside = position >= 0 && position < axis.in;
        EXPECT_EQ(k >= span.begin && k < span.end, inside);
        pairs += inside;
      }
    }
    EXPECT_EQ(axis.inside_count(), pairs);
  }
}

TEST(WindowAxis, ReachIsTheFarthestTap) {
  testing::Random random;
  for (int i = 0; i < 500; ++i) {
    const WindowAxis axis = random_axis(random);
    EXPECT_EQ(axis.reach_before(), std::max<int64_t>(0, -axis.position(0, 0)));
    const int64_t farthest = axis.position(axis.out - 1, axis.kernel - 1);
    EXPECT_EQ(axis.reach_beyond(), std::max<int64_t>(0, farthest - (axis.in - 1)));
  }
}

}  // namespace
}  // namespace wbcq
