#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "cpu/isa.h"
#include "kernels/convert/convert.h"
#include "support/expected.h"
#include "support/pixel_buffer.h"
#include "support/random.h"

namespace wbcq {

#define WBCQ_CONVERT_KERNELS(isa, object) extern const ConvertKernels object;
#include "kernels/convert/kernels.inc"

namespace {

using testing::PixelBuffer;
using testing::Random;

struct Candidate {
  Isa isa;
  const ConvertKernels* kernels;
};

const Candidate kCandidates[] = {
#define WBCQ_CONVERT_KERNELS(isa, object) {Isa::k##isa, &object},
#include "kernels/convert/kernels.inc"
};

struct Shape {
  size_t pixels;
  size_t channels;
  size_t in_stride;
  size_t out_stride;
};

class ConvertNhwcTest : public ::testing::TestWithParam<Candidate> {
 protected:
  void SetUp() override {
    if (!isa_supported(GetParam().isa)) GTEST_SKIP() << "this CPU cannot run it";
  }

  template <typename Value>
  static void check_quantize(const Shape& shape, float inverse_scale, int32_t zero_point,
                             Value next_value) {
    PixelBuffer<float> in(shape.pixels, shape.channels, shape.in_stride);
    PixelBuffer<uint8_t> out(shape.pixels, shape.channels, shape.out_stride);
    in.fill(next_value);
    GetParam().kernels->quantize_nhwc({shape.pixels, shape.channels, in.data(), in.stride(),
                                       out.data(), out.stride(), inverse_scale, zero_point});
    for (size_t p = 0; p < shape.pixels; ++p) {
      for (size_t c = 0; c < shape.channels; ++c) {
        const float value = in.pixel(p)[c];
        const float product = testing::expected_product(value, inverse_scale);
        ASSERT_EQ(out.pixel(p)[c], testing::expected_round_clamp(product, zero_point, 0, 255))
            << value << " times " << inverse_scale << ", zero point " << zero_point << ", channel "
            << c << " of " << shape.channels;
      }
    }
    ASSERT_TRUE(out.gaps_untouched()) << shape.channels << " channels";
  }

  template <typename Value>
  static void check_dequantize(const Shape& shape, float scale, int32_t zero_point,
                               Value next_value) {
    PixelBuffer<uint8_t> in(shape.pixels, shape.channels, shape.in_stride);
    PixelBuffer<float> out(shape.pixels, shape.channels, shape.out_stride);
    in.fill(next_value);
    GetParam().kernels->dequantize({shape.pixels, shape.channels, in.data(), in.stride(),
                                    out.data(), out.stride(), scale, zero_point});
    for (size_t p = 0; p < shape.pixels; ++p) {
      for (size_t c = 0; c < shape.channels; ++c) {
        const int32_t value = in.pixel(p)[c] - zero_point;
        const float expected = testing::expected_product(static_cast<float>(value), scale);
        ASSERT_EQ(std::bit_cast<uint32_t>(out.pixel(p)[c]), std::bit_cast<uint32_t>(expected))
            << value << " times " << scale << ", channel " << c << " of " << shape.channels;
      }
    }
    ASSERT_TRUE(out.gaps_untouched()) << shape.channels << " channels";
  }
};

std::vector<Shape> shapes(size_t channels) {
  return {{1, channels, channels, channels},
          {3, channels, channels, channels},
          {3, channels, channels + 1, channels + 20},
          {3, channels, channels + 6, channels}};
}

TEST_P(ConvertNhwcTest, EveryChannelCount) {
  Random random;
  for (size_t channels = 0; channels <= 150; ++channels) {
    for (const Shape& shape : shapes(channels)) {
      ASSERT_NO_FATAL_FAILURE(check_quantize(shape, 1.0f / 0.037f, 87,
                                             [&] { return random.uniform_float(-6.0f, 6.0f); }));
      ASSERT_NO_FATAL_FAILURE(check_dequantize(
          shape, 0.037f, 87, [&] { return static_cast<uint8_t>(random.uniform(0, 255)); }));
    }
  }
}

// Multiples of a half, at each zero point; the clamp meets both ends.
TEST_P(ConvertNhwcTest, QuantizeRoundsTiesToEven) {
  for (int32_t zero_point = 0; zero_point < 256; ++zero_point) {
    float value = -260.5f;
    ASSERT_NO_FATAL_FAILURE(
        check_quantize({1, 1050, 1050, 1050}, 1.0f, zero_point, [&] { return value += 0.5f; }));
  }
}

// NaN of either sign, infinities, denormals and the ends of int32, in each lane.
TEST_P(ConvertNhwcTest, QuantizesSpecialValues) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  const float values[] = {nan,    -nan,   infinity,      -infinity, 0.0f,           -0.0f,
                          1e-45f, -1e30f, 2147483648.0f, 1e30f,     -2147483904.0f, 8388607.5f,
                          254.5f};
  for (float inverse_scale : {1.0f, 1e-45f, 3.4e38f}) {
    for (int32_t zero_point : {0, 1, 128, 255}) {
      size_t i = 0;
      ASSERT_NO_FATAL_FAILURE(check_quantize({1, 240, 240, 240}, inverse_scale, zero_point,
                                             [&] { return values[i++ % std::size(values)]; }));
    }
  }
}

TEST_P(ConvertNhwcTest, DequantizesEveryValueAndZeroPoint) {
  for (float scale : {1.0f, 0.1f, 1.0f / 3.0f, 1e-45f, 1e-38f, 1e37f, 3.4e38f}) {
    for (int32_t zero_point = 0; zero_point < 256; ++zero_point) {
      size_t i = 0;
      ASSERT_NO_FATAL_FAILURE(check_dequantize({1, 259, 259, 259}, scale, zero_point,
                                               [&] { return static_cast<uint8_t>(i++); }));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(, ConvertNhwcTest, ::testing::ValuesIn(kCandidates),
                         [](const auto& candidate) {
                           return std::string(candidate.param.kernels->name);
                         });

}  // namespace
}  // namespace wbcq
