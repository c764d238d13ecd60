#include "kernels/convert/convert.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "cpu/isa.h"
#include "support/expected.h"
#include "support/guarded_buffer.h"
#include "support/random.h"

namespace wbcq {

#define WBCQ_CONVERT_KERNELS(isa, object) extern const ConvertKernels object;
#include "kernels/convert/kernels.inc"

namespace {

using testing::GuardedBuffer;
using testing::Random;

struct Candidate {
  Isa isa;
  const ConvertKernels* kernels;
};

const Candidate kCandidates[] = {
#define WBCQ_CONVERT_KERNELS(isa, object) {Isa::k##isa, &object},
#include "kernels/convert/kernels.inc"
};

constexpr uint8_t kUntouched = 0xA5;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

uint8_t expected_quantize(float value, float inverse_scale, int32_t zero_point) {
  const float product = testing::expected_product(value, inverse_scale);
  return testing::expected_round_clamp(product, zero_point, 0, 255);
}

class QuantizePlanarTest : public ::testing::TestWithParam<Candidate> {
 protected:
  void SetUp() override {
    if (!isa_supported(GetParam().isa)) GTEST_SKIP() << "this CPU cannot run it";
  }

  // `values` are [channels][pixels]; the last plane and the output end at unreadable pages, and
  // planes lie `gap` floats apart.
  static void check_quantize(const std::vector<float>& values, size_t pixels, size_t channels,
                             size_t out_stride, size_t gap, float inverse_scale,
                             int32_t zero_point) {
    constexpr size_t kPrefix = 64;
    const size_t plane_stride = pixels + gap;
    GuardedBuffer<float> in((channels - 1) * plane_stride + pixels);
    for (size_t c = 0; c < channels; ++c) {
      std::copy_n(values.data() + c * pixels, pixels, in.data() + c * plane_stride);
    }
    GuardedBuffer<uint8_t> out(kPrefix + pixels * out_stride);
    GetParam().kernels->quantize_planar({pixels, channels, in.data(), plane_stride,
                                         out.data() + kPrefix, out_stride, inverse_scale,
                                         zero_point});
    for (size_t p = 0; p < pixels; ++p) {
      for (size_t c = 0; c < out_stride; ++c) {
        const uint8_t expected =
            c < channels ? expected_quantize(values[c * pixels + p], inverse_scale, zero_point)
                         : static_cast<uint8_t>(zero_point);
        ASSERT_EQ(int{out[kPrefix + p * out_stride + c]}, int{expected})
            << "pixel " << p << " of " << pixels << ", channel " << c << " of " << channels
            << ", stride " << out_stride << ", zero point " << zero_point << ", inverse scale "
            << inverse_scale
            << (c < channels ? ", value " + std::to_string(values[c * pixels + p]) : "");
      }
    }
    ASSERT_TRUE(std::all_of(out.data(), out.data() + kPrefix, [](uint8_t byte) {
      return byte == kUntouched;
    })) << "wrote before the output";
  }

  static std::vector<float> random_floats(Random& random, size_t size, float magnitude) {
    std::vector<float> values(size);
    for (float& value : values) value = random.uniform_float(-magnitude, magnitude);
    return values;
  }
};

TEST_P(QuantizePlanarTest, QuantizesEveryPixelCountIntoSmallPixels) {
  Random random;
  for (size_t out_stride = 1; out_stride <= 4; ++out_stride) {
    for (size_t channels = 1; channels <= out_stride; ++channels) {
      for (size_t pixels = 0; pixels <= 70; ++pixels) {
        const std::vector<float> values = random_floats(random, pixels * channels, 3.0f);
        ASSERT_NO_FATAL_FAILURE(
            check_quantize(values, pixels, channels, out_stride, pixels % 3, 1.0f / 0.02f, 119));
      }
    }
  }
}

TEST_P(QuantizePlanarTest, QuantizesEveryChannelCount) {
  Random random;
  for (size_t channels = 1; channels <= 70; ++channels) {
    for (size_t padding : {0, 1, 2, 3, 7, 16, 21}) {
      for (size_t pixels : {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33}) {
        const std::vector<float> values = random_floats(random, pixels * channels, 1.5f);
        ASSERT_NO_FATAL_FAILURE(
            check_quantize(values, pixels, channels, channels + padding, 5, 1.0f / 0.011f, 130));
      }
    }
  }
}

// Values that are halfway between two results, exactly and one float to either side, for every zero
// point; with inverse scale 1 the product is the value itself.
TEST_P(QuantizePlanarTest, QuantizeRoundsTiesToEven) {
  std::vector<float> values;
  for (int i = -258; i <= 258; ++i) {
    const float tie = static_cast<float>(i) + 0.5f;
    values.insert(values.end(), {tie, std::nextafter(tie, -kInfinity),
                                 std::nextafter(tie, kInfinity), static_cast<float>(i)});
  }
  for (int32_t zero_point = 0; zero_point < 256; ++zero_point) {
    ASSERT_NO_FATAL_FAILURE(check_quantize(values, values.size(), 1, 1, 0, 1.0f, zero_point));
  }
  ASSERT_NO_FATAL_FAILURE(check_quantize(values, values.size() / 4, 4, 4, 0, 1.0f, 128));
  ASSERT_NO_FATAL_FAILURE(check_quantize(values, values.size() / 4, 4, 20, 0, 1.0f, 128));
}

std::vector<float> special_values() {
  const auto bits = [](uint32_t pattern) { return std::bit_cast<float>(pattern); };
  constexpr float kMax = std::numeric_limits<float>::max();
  constexpr float kTiny = std::numeric_limits<float>::min();
  return {0.0f, -0.0f, kInfinity, -kInfinity, kMax, -kMax, kTiny, -kTiny,
          // Denormals, and NaN: quiet, signalling, either sign, largest payload.
          bits(0x00000001), bits(0x80000001), bits(0x007FFFFF), bits(0x807FFFFF), bits(0x7FC00000),
          bits(0xFFC00000), bits(0x7F800001), bits(0xFF800001), bits(0x7FFFFFFF), bits(0xFFFFFFFF),
          // Around the ends of int32, where conversions differ between ISAs.
          2147483520.0f, 2147483648.0f, -2147483648.0f, -2147483904.0f, 4294967296.0f, 1e20f,
          -1e20f, 8388607.5f, 8388608.0f, 16777216.0f};
}

TEST_P(QuantizePlanarTest, QuantizesSpecialValues) {
  const std::vector<float> values = special_values();
  for (float inverse_scale : {1.0f, 50.0f, 1e-38f, 1e-45f, 8.5e37f, 3.4e38f}) {
    for (int32_t zero_point : {0, 1, 127, 128, 254, 255}) {
      ASSERT_NO_FATAL_FAILURE(
          check_quantize(values, values.size(), 1, 1, 0, inverse_scale, zero_point));
      // Each value in each channel and each lane.
      for (size_t shift = 0; shift < values.size(); ++shift) {
        std::vector<float> rotated;
        for (size_t c = 0; c < 7; ++c) {
          for (size_t p = 0; p < values.size(); ++p) {
            rotated.push_back(values[(p + c + shift) % values.size()]);
          }
        }
        ASSERT_NO_FATAL_FAILURE(
            check_quantize(rotated, values.size(), 3, 4, 0, inverse_scale, zero_point));
        ASSERT_NO_FATAL_FAILURE(
            check_quantize(rotated, values.size(), 7, 9, 0, inverse_scale, zero_point));
      }
    }
  }
}

// A sample of all bit patterns: the step is prime, so every exponent meets many significands.
TEST_P(QuantizePlanarTest, QuantizesBitPatterns) {
  constexpr uint64_t kStep = 10007;
  std::vector<float> values;
  for (uint64_t pattern = 0; pattern < uint64_t{1} << 32; pattern += kStep) {
    values.push_back(std::bit_cast<float>(static_cast<uint32_t>(pattern)));
  }
  ASSERT_NO_FATAL_FAILURE(check_quantize(values, values.size(), 1, 1, 0, 1.0f / 0.0173f, 114));
}

TEST_P(QuantizePlanarTest, QuantizesRandomShapes) {
  Random random;
  for (int round = 0; round < 300; ++round) {
    const size_t pixels = static_cast<size_t>(random.uniform(0, 100));
    const size_t channels = static_cast<size_t>(random.uniform(1, random.one_in(2) ? 4 : 90));
    const size_t out_stride = channels + static_cast<size_t>(random.uniform(0, 20));
    const float scale = random.uniform_float(1e-3f, 0.5f);
    const std::vector<float> values = random_floats(random, pixels * channels, 200 * scale);
    ASSERT_NO_FATAL_FAILURE(check_quantize(values, pixels, channels, out_stride,
                                           static_cast<size_t>(random.uniform(0, 9)), 1.0f / scale,
                                           static_cast<int32_t>(random.uniform(0, 255))));
  }
}

INSTANTIATE_TEST_SUITE_P(, QuantizePlanarTest, ::testing::ValuesIn(kCandidates),
                         [](const auto& candidate) {
                           return std::string(candidate.param.kernels->name);
                         });

}  // namespace
}  // namespace wbcq
