// The panel layout of pack.h, and the bound that keeps Winograd exact.
#include "kernels/winograd/pack.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "support/guarded_buffer.h"
#include "support/random.h"

namespace wbcq {
namespace {

using testing::GuardedBuffer;
using testing::Random;

WinogradKernel geometry(size_t nr, size_t kr) {
  return {"geometry", 1, nr, kr, 4 * kr, nullptr, nullptr, nullptr, nullptr};
}

struct Filters {
  std::vector<int8_t> weights;
  std::vector<int32_t> bias;
  std::vector<float> multipliers;
  WinogradPackInput input = {};

  Filters(size_t out_channels, size_t in_channels, int32_t zero_point)
      : weights(out_channels * 9 * in_channels),
        bias(out_channels),
        multipliers(out_channels, 0.5f) {
    input = {out_channels,   in_channels, zero_point,
             weights.data(), bias.data(), multipliers.data()};
  }
};

template <typename T>
T read(const std::byte* p, size_t index) {
  T value;
  std::memcpy(&value, p + index * sizeof(T), sizeof(T));
  return value;
}

// G g G^T from its definition: polynomials at 0, 1, -1, 2, -2 and their leading coefficient.
int64_t transformed(const int8_t* filter, size_t stride, size_t position) {
  static constexpr int kScaledPoint[6][3] = {{6, 0, 0}, {-1, -1, -1}, {-1, 1, -1},
                                             {1, 2, 4}, {1, -2, 4},   {0, 0, 6}};
  int64_t sum = 0;
  for (size_t tap = 0; tap < 9; ++tap) {
    sum += int64_t{kScaledPoint[position / 6][tap / 3]} * kScaledPoint[position % 6][tap % 3] *
           filter[tap * stride];
  }
  return sum;
}

TEST(WinogradPack, Layout) {
  Random random;
  for (const auto& [nr, kr] : {std::pair<size_t, size_t>{8, 1}, {32, 2}, {16, 2}, {4, 4}}) {
    const WinogradKernel kernel = geometry(nr, kr);
    const auto out_channels = static_cast<size_t>(random.uniform(1, 70));
    const auto in_channels = static_cast<size_t>(random.uniform(1, 20));
    Filters filters(out_channels, in_channels, static_cast<int32_t>(random.uniform(0, 255)));
    for (int8_t& w : filters.weights) w = static_cast<int8_t>(random.uniform(-127, 127));
    for (int32_t& b : filters.bias) b = static_cast<int32_t>(random.uniform(-100000, 100000));
    for (float& m : filters.multipliers) m = random.uniform_float(0.0f, 1.0f);

    constexpr auto kForm = WinogradWeightForm::kTransformed;
    GuardedBuffer<std::byte> packed(winograd_packed_bytes(kernel, filters.input, kForm));
    winograd_pack(kernel, filters.input, kForm, packed.data());
    const size_t steps = winograd_steps(kernel, in_channels);
    EXPECT_EQ(steps, (in_channels + kr - 1) / kr);
    const size_t panel_bytes = winograd_panel_bytes(kernel, in_channels, kForm);
    EXPECT_EQ(panel_bytes % 64, 0u);
    for (size_t o = 0; o < (out_channels + nr - 1) / nr * nr; ++o) {
      const std::byte* panel = packed.data() + o / nr * panel_bytes;
      const size_t column = o % nr;
      const bool exists = o < out_channels;
      int64_t start = 0;
      if (exists) {
        int64_t sum = 0;
        for (size_t i = 0; i < 9 * in_channels; ++i)
          sum += filters.weights[o * 9 * in_channels + i];
        start = filters.bias[o] - filters.input.zero_point * sum;
      }
      EXPECT_EQ(read<uint32_t>(panel, column), static_cast<uint32_t>(36 * start));
      for (size_t k = 0; k < 5; ++k) {
        const float multiplier = exists ? filters.multipliers[o] : 0.0f;
        EXPECT_EQ(read<float>(panel, (1 + k) * nr + column),
                  std::ldexp(multiplier, -2 - static_cast<int>(k)));
      }
      const std::byte* u = panel + 6 * nr * sizeof(int32_t);
      for (size_t p = 0; p < kWinogradPositions; ++p) {
        for (size_t c = 0; c < steps * kr; ++c) {
          const size_t index = ((p * steps + c / kr) * nr + column) * kr + c % kr;
          int64_t expected = 0;
          if (exists && c < in_channels) {
            const int8_t* filter = filters.weights.data() + o * 9 * in_channels + c;
            expected = transformed(filter, in_channels, p);
          }
          ASSERT_EQ(read<int16_t>(u, index), expected) << "channel " << o << ", " << c;
        }
      }
    }
  }
}

TEST(WinogradPack, HeadersAlone) {
  const WinogradKernel kernel = geometry(32, 2);
  Filters filters(35, 5, 7);
  Random random;
  for (int8_t& w : filters.weights) w = static_cast<int8_t>(random.uniform(-127, 127));
  constexpr auto kWhole = WinogradWeightForm::kTransformed;
  constexpr auto kAlone = WinogradWeightForm::kElsewhere;
  GuardedBuffer<std::byte> whole(winograd_packed_bytes(kernel, filters.input, kWhole));
  GuardedBuffer<std::byte> alone(winograd_packed_bytes(kernel, filters.input, kAlone));
  winograd_pack(kernel, filters.input, kWhole, whole.data());
  winograd_pack(kernel, filters.input, kAlone, alone.data());
  const size_t header = winograd_header_bytes(kernel);
  ASSERT_EQ(winograd_panel_bytes(kernel, 5, kAlone), header);
  ASSERT_EQ(alone.size(), 2 * header);
  for (size_t panel = 0; panel < 2; ++panel) {
    EXPECT_EQ(std::memcmp(alone.data() + panel * header,
                          whole.data() + panel * winograd_panel_bytes(kernel, 5, kWhole), header),
              0);
  }
}

TEST(WinogradPack, ExactUpToTheBound) {
  // 255 * 131,585 is 2^25 - 257.
  Filters filters(3, 200, 0);
  int left = 131585;
  for (size_t i = 0; left > 0; ++i) {
    filters.weights[9 * 200 + i] = static_cast<int8_t>(std::min(left, 127));
    left -= filters.weights[9 * 200 + i];
  }
  EXPECT_TRUE(winograd_is_exact(filters.input));
  filters.bias[1] = 256;
  EXPECT_TRUE(winograd_is_exact(filters.input));
  filters.bias[1] = 257;
  EXPECT_FALSE(winograd_is_exact(filters.input));
  filters.bias[1] = -1;
  EXPECT_TRUE(winograd_is_exact(filters.input));
  filters.input.zero_point = 255;  // the accumulator is never positive now
  EXPECT_TRUE(winograd_is_exact(filters.input));
  filters.bias[1] = -257;
  EXPECT_FALSE(winograd_is_exact(filters.input));
}

TEST(WinogradPack, MultipliersSurviveTheirDivision) {
  Filters filters(1, 1, 0);
  filters.multipliers[0] = 0x1p-120f;
  EXPECT_TRUE(winograd_is_exact(filters.input));
  filters.multipliers[0] = 0x1.fp-121f;
  EXPECT_FALSE(winograd_is_exact(filters.input));
}

}  // namespace
}  // namespace wbcq
