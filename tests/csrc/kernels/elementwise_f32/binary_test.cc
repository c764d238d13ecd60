#include <limits>
#include <vector>

#include "kernels/elementwise_f32/elementwise_f32_case.h"
#include "support/pixel_buffer.h"
#include "support/random.h"

namespace wbcq::testing {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

constexpr BinaryFunction kFunctions[] = {BinaryFunction::kAdd, BinaryFunction::kSub,
                                         BinaryFunction::kMul, BinaryFunction::kDiv};

// One binary32 operation by way of binary64, whose precision makes the second rounding harmless.
float expected(BinaryFunction function, double a, double b) {
  switch (function) {
    case BinaryFunction::kAdd:
      return static_cast<float>(a + b);
    case BinaryFunction::kSub:
      return static_cast<float>(a - b);
    case BinaryFunction::kMul:
      return static_cast<float>(a * b);
    case BinaryFunction::kDiv:
      return static_cast<float>(a / b);
  }
  return 0;
}

struct Shape {
  size_t pixels;
  size_t channels;
  size_t a_stride;
  size_t b_stride;
  size_t out_stride;
};

class BinaryF32Test : public ElementwiseF32Test {
 protected:
  static void check(BinaryFunction function, const Shape& shape, float lo, float hi, bool in_place,
                    Random& random) {
    PixelBuffer<float> a(shape.pixels, shape.channels, shape.a_stride);
    PixelBuffer<float> b(shape.pixels, shape.channels, shape.b_stride);
    PixelBuffer<float> separate(shape.pixels, shape.channels, shape.out_stride);
    PixelBuffer<float>& out = in_place ? a : separate;
    a.fill([&] { return random.uniform_float(-10.0f, 10.0f); });
    b.fill([&] { return random.uniform_float(0.5f, 7.0f); });
    std::vector<float> wanted;
    for (size_t p = 0; p < shape.pixels; ++p) {
      for (size_t c = 0; c < shape.channels; ++c) {
        wanted.push_back(std::clamp(expected(function, a.pixel(p)[c], b.pixel(p)[c]), lo, hi));
      }
    }
    kernels().binary({function, shape.pixels, shape.channels, a.data(), a.stride(), b.data(),
                      b.stride(), out.data(), out.stride(), lo, hi});
    for (size_t i = 0; i < wanted.size(); ++i) {
      ASSERT_EQ(out.pixel(i / shape.channels)[i % shape.channels], wanted[i])
          << "function " << static_cast<int>(function) << ", element " << i << ", "
          << shape.channels << " channels";
    }
    ASSERT_TRUE(out.gaps_untouched()) << shape.channels << " channels";
  }
};

TEST_P(BinaryF32Test, EveryChannelCountAtStridesAndBroadcast) {
  Random random;
  for (BinaryFunction function : kFunctions) {
    for (size_t n = 0; n <= 40; ++n) {
      for (const Shape& shape : {Shape{3, n, n, n, n}, Shape{3, n, n + 1, n + 2, n + 5},
                                 Shape{3, n, n, 0, n}, Shape{3, n, n + 4, 0, n + 4}}) {
        ASSERT_NO_FATAL_FAILURE(check(function, shape, -kInfinity, kInfinity, false, random));
        ASSERT_NO_FATAL_FAILURE(check(function, shape, 0.0f, 6.0f, false, random));
      }
      const Shape shape = {3, n, n + 4, 0, n + 4};
      ASSERT_NO_FATAL_FAILURE(check(function, shape, -2.0f, 3.0f, true, random));
    }
  }
}

TEST_P(BinaryF32Test, NanStaysNan) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (size_t size : {size_t{1}, size_t{16}, size_t{19}}) {
    const std::vector<float> a(size, nan);
    const std::vector<float> b(size, 1.0f);
    std::vector<float> out(size);
    kernels().binary({BinaryFunction::kAdd, 1, size, a.data(), size, b.data(), size, out.data(),
                      size, 0.0f, 6.0f});
    for (float value : out) ASSERT_TRUE(std::isnan(value)) << size;
  }
}

class SoftmaxF32Test : public ElementwiseF32Test {
 protected:
  static void check(PixelBuffer<float>& in, PixelBuffer<float>& out, size_t pixels,
                    size_t channels) {
    std::vector<double> wanted;
    for (size_t p = 0; p < pixels; ++p) {
      const double top = *std::max_element(in.pixel(p), in.pixel(p) + channels);
      double sum = 0;
      for (size_t c = 0; c < channels; ++c) sum += std::exp(in.pixel(p)[c] - top);
      for (size_t c = 0; c < channels; ++c) {
        wanted.push_back(std::exp(in.pixel(p)[c] - top) / sum);
      }
    }
    // in[c] - top is rounded: an error of its size, and that of a sum of as many terms.
    kernels().softmax({pixels, channels, in.data(), in.stride(), out.data(), out.stride()});
    const double units = 8 + 0.1 * static_cast<double>(channels);
    for (size_t i = 0; i < wanted.size(); ++i) {
      const double bound = wanted[i] * (units - std::log(wanted[i] + 1e-300));
      ASSERT_NEAR(out.pixel(i / channels)[i % channels], wanted[i], bound * 0x1p-23 + 1e-37)
          << "element " << i << ", " << channels << " channels";
    }
    ASSERT_TRUE(out.gaps_untouched()) << channels << " channels";
  }
};

TEST_P(SoftmaxF32Test, EveryChannelCount) {
  Random random;
  for (size_t channels = 1; channels <= 70; ++channels) {
    for (float range : {0.1f, 5.0f, 80.0f, 1e30f}) {
      PixelBuffer<float> in(3, channels, channels + 2);
      PixelBuffer<float> out(3, channels, channels + 5);
      in.fill([&] { return random.uniform_float(-range, range); });
      ASSERT_NO_FATAL_FAILURE(check(in, out, 3, channels));
      ASSERT_NO_FATAL_FAILURE(check(in, in, 3, channels));
    }
  }
}

TEST_P(SoftmaxF32Test, LargePixel) {
  Random random;
  PixelBuffer<float> in(2, 1001, 1001);
  PixelBuffer<float> out(2, 1001, 1001);
  in.fill([&] { return random.uniform_float(-9.0f, 9.0f); });
  ASSERT_NO_FATAL_FAILURE(check(in, out, 2, 1001));
}

TEST_P(SoftmaxF32Test, MinusInfinityHasNoWeight) {
  std::vector<float> in(19, -kInfinity);
  in[4] = -3.0f;
  in[17] = -3.0f;
  std::vector<float> out(19);
  kernels().softmax({1, 19, in.data(), 19, out.data(), 19});
  for (size_t i = 0; i < out.size(); ++i) EXPECT_EQ(out[i], i == 4 || i == 17 ? 0.5f : 0.0f) << i;
}

TEST_P(SoftmaxF32Test, Nothing) {
  kernels().softmax({3, 0, nullptr, 0, nullptr, 0});
  kernels().softmax({0, 3, nullptr, 3, nullptr, 3});
}

INSTANTIATE_TEST_SUITE_P(, BinaryF32Test, ::testing::ValuesIn(kElementwiseF32Candidates),
                         candidate_name);
INSTANTIATE_TEST_SUITE_P(, SoftmaxF32Test, ::testing::ValuesIn(kElementwiseF32Candidates),
                         candidate_name);

}  // namespace
}  // namespace wbcq::testing
