#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/elementwise_f32/elementwise_f32_case.h"
#include "support/pixel_buffer.h"
#include "support/random.h"

namespace wbcq::testing {
namespace {

constexpr size_t kChannels[] = {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 96};
constexpr size_t kPixels = 3;

std::vector<float> random_floats(Random& random, size_t count) {
  std::vector<float> values(count);
  for (float& value : values) value = random.uniform_float(-2.0f, 2.0f);
  return values;
}

class NormalizeF32Test : public ElementwiseF32Test {};

TEST_P(NormalizeF32Test, IsCloseToTheDefinition) {
  Random random;
  for (const size_t channels : kChannels) {
    for (const size_t gap : {size_t{0}, size_t{3}}) {
      PixelBuffer<float> in(kPixels, channels, channels + gap);
      PixelBuffer<float> out(kPixels, channels, channels + 2 * gap);
      const float center = random.uniform_float(-50.0f, 50.0f);
      in.fill([&] { return center + random.uniform_float(-1.0f, 1.0f); });
      const std::vector<float> weight = random_floats(random, channels);
      const std::vector<float> bias = random_floats(random, channels);
      constexpr float kEps = 0.01f;
      kernels().normalize({kPixels, channels, in.data(), in.stride(), out.data(), out.stride(),
                           weight.data(), bias.data(), kEps});
      for (size_t p = 0; p < kPixels; ++p) {
        double mean = 0;
        double variance = 0;
        for (size_t c = 0; c < channels; ++c) mean += in.pixel(p)[c];
        mean /= static_cast<double>(channels);
        for (size_t c = 0; c < channels; ++c) variance += std::pow(in.pixel(p)[c] - mean, 2);
        variance /= static_cast<double>(channels);
        const double divisor = std::sqrt(variance + kEps);
        for (size_t c = 0; c < channels; ++c) {
          const double wanted = (in.pixel(p)[c] - mean) / divisor * weight[c] + bias[c];
          ASSERT_NEAR(out.pixel(p)[c], wanted, 2e-4) << "channel " << c << " of " << channels;
        }
      }
      ASSERT_TRUE(out.gaps_untouched() && in.gaps_untouched()) << channels << " channels";
      // Each pixel by itself, in place: the same bits.
      for (size_t p = 0; p < kPixels; ++p) {
        kernels().normalize({1, channels, in.pixel(p), channels, in.pixel(p), channels,
                             weight.data(), bias.data(), kEps});
        ASSERT_EQ(std::memcmp(in.pixel(p), out.pixel(p), channels * sizeof(float)), 0);
      }
    }
  }
}

TEST_P(NormalizeF32Test, ColumnSums) {
  Random random;
  for (const size_t channels : kChannels) {
    for (const bool squared : {false, true}) {
      PixelBuffer<float> in(kPixels, channels, channels + 2);
      PixelBuffer<float> out(1, channels, channels);
      in.fill([&] { return static_cast<float>(random.uniform(-100, 100)); });
      std::vector<float> center(channels);
      for (float& value : center) value = static_cast<float>(random.uniform(-9, 9));
      kernels().column_sums({kPixels, channels, in.data(), in.stride(),
                             squared ? center.data() : nullptr, out.data()});
      for (size_t c = 0; c < channels; ++c) {
        float wanted = 0;  // exact: integers
        for (size_t p = 0; p < kPixels; ++p) {
          const float value = in.pixel(p)[c] - (squared ? center[c] : 0.0f);
          wanted += squared ? value * value : value;
        }
        ASSERT_EQ(out.data()[c], wanted) << "channel " << c << " of " << channels;
      }
      ASSERT_TRUE(out.gaps_untouched());
    }
  }
}

TEST_P(NormalizeF32Test, ColumnAffine) {
  Random random;
  for (const size_t channels : kChannels) {
    PixelBuffer<float> in(kPixels, channels, channels + 1);
    PixelBuffer<float> out(kPixels, channels, channels + 2);
    in.fill([&] { return random.uniform_float(-5.0f, 5.0f); });
    const std::vector<float> center = random_floats(random, channels);
    const std::vector<float> factor = random_floats(random, channels);
    const std::vector<float> shift = random_floats(random, channels);
    kernels().column_affine({kPixels, channels, in.data(), in.stride(), out.data(), out.stride(),
                             center.data(), factor.data(), shift.data()});
    for (size_t p = 0; p < kPixels; ++p) {
      for (size_t c = 0; c < channels; ++c) {
        const double wanted = (double{in.pixel(p)[c]} - center[c]) * factor[c] + shift[c];
        ASSERT_NEAR(out.pixel(p)[c], wanted, 4e-6) << "channel " << c << " of " << channels;
      }
    }
    ASSERT_TRUE(out.gaps_untouched());
  }
}

INSTANTIATE_TEST_SUITE_P(, NormalizeF32Test, ::testing::ValuesIn(kElementwiseF32Candidates),
                         candidate_name);

}  // namespace
}  // namespace wbcq::testing
