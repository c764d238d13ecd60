// The panel layout of pack.h, byte by byte, for tile sizes that no kernel need have.
#include "kernels/gemm/pack.h"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "support/guarded_buffer.h"
#include "support/random.h"

namespace wbcq {
namespace {

using testing::GuardedBuffer;
using testing::Random;

GemmKernel geometry(size_t nr, size_t kr, int32_t lhs_offset) {
  return {"geometry", 1, nr, nr, kr, lhs_offset, nullptr, nullptr};
}

template <typename T>
T read(const std::byte* p) {
  T value;
  std::memcpy(&value, p, sizeof(value));
  return value;
}

struct Layer {
  std::vector<uint32_t> slices;
  std::vector<int32_t> zero_points;
  std::vector<int8_t> weights;
  std::vector<int32_t> bias;
  std::vector<float> multipliers;
  std::vector<float> float_bias;
  GemmPackInput input = {};

  Layer(Random& random, size_t out_channels, size_t taps, std::vector<uint32_t> slice_channels)
      : slices(std::move(slice_channels)) {
    const size_t depth = taps * std::accumulate(slices.begin(), slices.end(), size_t{0});
    for (size_t s = 0; s < slices.size(); ++s) {
      zero_points.push_back(static_cast<int32_t>(random.uniform(0, 255)));
    }
    for (size_t i = 0; i < out_channels * depth; ++i) {
      weights.push_back(static_cast<int8_t>(random.uniform(-127, 127)));
    }
    for (size_t j = 0; j < out_channels; ++j) {
      bias.push_back(static_cast<int32_t>(random.uniform(-1000000, 1000000)));
      multipliers.push_back(random.uniform_float(0.0f, 1.0f));
      float_bias.push_back(random.uniform_float(-1.0f, 1.0f));
    }
    input = {out_channels,
             taps,
             slices,
             zero_points,
             weights.data(),
             bias.data(),
             multipliers.data(),
             float_bias.data()};
  }
  Layer(const Layer&) = delete;

  int8_t weight(size_t channel, size_t tap, size_t slice, size_t k) const {
    const size_t channels = std::accumulate(slices.begin(), slices.end(), size_t{0});
    const size_t before = std::accumulate(slices.begin(), slices.begin() + slice, size_t{0});
    return weights[(channel * input.taps + tap) * channels + before + k];
  }
};

// Walks a panel in the order in which pack.h describes it and compares every byte.
void check_panel(const GemmKernel& kernel, const Layer& layer, size_t panel_index,
                 const std::byte* panel, size_t panel_bytes) {
  const size_t nr = kernel.nr;
  const std::byte* p = panel + 12 * nr;
  std::vector<int64_t> start(nr, 0);
  const size_t first = panel_index * nr;
  const size_t present = std::min(nr, layer.input.out_channels - first);
  for (size_t tap = 0; tap < layer.input.taps; ++tap) {
    for (size_t slice = 0; slice < layer.slices.size(); ++slice) {
      for (size_t step = 0; step < layer.slices[slice]; step += kernel.kr) {
        for (size_t j = 0; j < nr; ++j) {
          for (size_t k = step; k < step + kernel.kr; ++k, ++p) {
            const bool real = j < present && k < layer.slices[slice];
            const int8_t expected = real ? layer.weight(first + j, tap, slice, k) : int8_t{0};
            ASSERT_EQ(static_cast<int8_t>(*p), expected)
                << "tap " << tap << ", slice " << slice << ", column " << j << ", channel " << k;
            start[j] -= (layer.zero_points[slice] - kernel.lhs_offset) * int64_t{expected};
          }
        }
      }
    }
  }
  for (; p < panel + panel_bytes; ++p) ASSERT_EQ(*p, std::byte{0});
  for (size_t j = 0; j < nr; ++j) {
    const bool real = j < present;
    const int64_t bias = real ? layer.bias[first + j] : 0;
    ASSERT_EQ(read<int32_t>(panel + 4 * j), start[j] + bias);
    ASSERT_EQ(read<float>(panel + 4 * (nr + j)), real ? layer.multipliers[first + j] : 0.0f);
    ASSERT_EQ(read<float>(panel + 4 * (2 * nr + j)), real ? layer.float_bias[first + j] : 0.0f);
  }
}

TEST(GemmPackTest, LayoutOfEveryByte) {
  Random random;
  for (size_t nr : {1, 3, 8, 16, 32}) {
    for (size_t kr : {1, 2, 4, 8}) {
      for (size_t out_channels : {size_t{1}, nr, nr + 1, 3 * nr - 1}) {
        for (int32_t lhs_offset : {0, 128}) {
          const GemmKernel kernel = geometry(nr, kr, lhs_offset);
          const Layer layer(random, out_channels, 3, {5, 1, 8});
          const size_t bytes = gemm_packed_bytes(kernel, layer.input);
          const size_t steps = gemm_total_steps(kr, 3, layer.slices);
          const size_t panel_bytes = gemm_panel_bytes(kernel, steps);
          const size_t panels = (out_channels + nr - 1) / nr;
          ASSERT_EQ(panel_bytes % 64, 0u);
          ASSERT_EQ(bytes, panels * panel_bytes);
          GuardedBuffer<std::byte> packed(bytes);
          gemm_pack(kernel, layer.input, packed.data());
          for (size_t panel = 0; panel < panels; ++panel) {
            SCOPED_TRACE("nr " + std::to_string(nr) + ", kr " + std::to_string(kr) + ", panel " +
                         std::to_string(panel) + " of " + std::to_string(panels));
            ASSERT_NO_FATAL_FAILURE(check_panel(kernel, layer, panel,
                                                packed.data() + panel * panel_bytes, panel_bytes));
          }
        }
      }
    }
  }
}

TEST(GemmPackTest, StepsRoundUpEachSliceOfEachTap) {
  const std::vector<uint32_t> slices = {1, 4, 5, 58};
  EXPECT_EQ(gemm_total_steps(4, 1, slices), 1u + 1u + 2u + 15u);
  EXPECT_EQ(gemm_total_steps(4, 9, slices), 9u * 19u);
  EXPECT_EQ(gemm_total_steps(1, 2, slices), 2u * 68u);
}

TEST(GemmPackTest, NullBiasesAreZero) {
  Random random;
  Layer layer(random, 5, 1, {4});
  layer.zero_points = {0};
  layer.input.zero_points = layer.zero_points;
  layer.input.bias = nullptr;
  layer.input.float_bias = nullptr;
  const GemmKernel kernel = geometry(8, 4, 0);
  GuardedBuffer<std::byte> packed(gemm_packed_bytes(kernel, layer.input));
  gemm_pack(kernel, layer.input, packed.data());
  for (size_t j = 0; j < kernel.nr; ++j) {
    EXPECT_EQ(read<int32_t>(packed.data() + 4 * j), 0);
    EXPECT_EQ(read<float>(packed.data() + 4 * (2 * kernel.nr + j)), 0.0f);
  }
}

// start[] may leave int32 where the finished accumulator does not; it is kept modulo 2^32.
TEST(GemmPackTest, StartWrapsModulo32Bits) {
  constexpr uint32_t kDepth = 60000;
  const std::vector<int8_t> weights(kDepth, -127);
  const std::vector<uint32_t> slices = {kDepth};
  const std::vector<int32_t> zero_points = {255};
  const int32_t bias = std::numeric_limits<int32_t>::max();
  const float multiplier = 1.0f;
  const GemmPackInput input = {1,     1,           slices, zero_points, weights.data(),
                               &bias, &multiplier, nullptr};
  const GemmKernel kernel = geometry(8, 4, 0);
  std::vector<std::byte> packed(gemm_packed_bytes(kernel, input));
  gemm_pack(kernel, input, packed.data());
  const int64_t exact = int64_t{bias} + int64_t{255} * 127 * kDepth;
  EXPECT_GT(exact, int64_t{bias});
  EXPECT_EQ(read<uint32_t>(packed.data()), static_cast<uint32_t>(exact));
}

}  // namespace
}  // namespace wbcq
