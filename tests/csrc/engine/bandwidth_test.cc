#include "engine/bandwidth.h"

#include <gtest/gtest.h>

#include <vector>

namespace wbcq {
namespace {

TEST(Bandwidth, IsMeasuredForGrowingSizes) {
  for (const size_t threads : {1, 2}) {
    const auto bandwidths = measure_bandwidths(threads);
    ASSERT_TRUE(bandwidths.ok());
    ASSERT_GE(bandwidths.value().size(), 4u);
    for (size_t i = 0; i < bandwidths.value().size(); ++i) {
      EXPECT_GT(bandwidths.value()[i].gigabytes, 0.01);
      if (i > 0) {
        EXPECT_GT(bandwidths.value()[i].bytes, bandwidths.value()[i - 1].bytes);
      }
    }
  }
  EXPECT_EQ(measure_bandwidths(0).status().code(), StatusCode::kInvalidArgument);
}

TEST(Bandwidth, LiesBetweenTheMeasuredSizes) {
  const std::vector<Bandwidth> bandwidths = {{100, 80.0}, {10000, 40.0}, {1000000, 10.0}};
  EXPECT_DOUBLE_EQ(bandwidth_at(bandwidths, 1), 80.0);
  EXPECT_DOUBLE_EQ(bandwidth_at(bandwidths, 100), 80.0);
  EXPECT_DOUBLE_EQ(bandwidth_at(bandwidths, 1000), 60.0);
  EXPECT_DOUBLE_EQ(bandwidth_at(bandwidths, 10000), 40.0);
  EXPECT_DOUBLE_EQ(bandwidth_at(bandwidths, 1e9), 10.0);
}

}  // namespace
}  // namespace wbcq
