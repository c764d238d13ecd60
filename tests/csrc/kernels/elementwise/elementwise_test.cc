#include "kernels/elementwise/elementwise.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "cpu/isa.h"
#include "support/expected.h"
#include "support/pixel_buffer.h"
#include "support/random.h"

namespace wbcq {

#define WBCQ_ELEMENTWISE_KERNELS(isa, object) extern const ElementwiseKernels object;
#include "kernels/elementwise/kernels.inc"

namespace {

using testing::PixelBuffer;
using testing::Random;

struct Candidate {
  Isa isa;
  const ElementwiseKernels* kernels;
};

const Candidate kCandidates[] = {
#define WBCQ_ELEMENTWISE_KERNELS(isa, object) {Isa::k##isa, &object},
#include "kernels/elementwise/kernels.inc"
};

uint8_t expected(const AddU8& args, uint8_t a, uint8_t b) {
  const float left =
      testing::expected_product(static_cast<float>(a - args.a_zero_point), args.a_multiplier);
  const float right =
      testing::expected_product(static_cast<float>(b - args.b_zero_point), args.b_multiplier);
  return testing::expected_round_clamp(testing::expected_sum(left, right), args.zero_point, args.lo,
                                       args.hi);
}

uint8_t expected(const MulU8& args, uint8_t a, uint8_t b) {
  const int32_t product = (a - args.a_zero_point) * (b - args.b_zero_point);
  return testing::expected_round_clamp(
      testing::expected_product(static_cast<float>(product), args.multiplier), args.zero_point,
      args.lo, args.hi);
}

enum class Aliasing { kNone, kOutIsA, kOutIsB };

struct Shape {
  size_t pixels;
  size_t channels;
  size_t a_stride;
  size_t b_stride;
  size_t out_stride;
};

Shape contiguous(size_t pixels, size_t channels) {
  return {pixels, channels, channels, channels, channels};
}

class ElementwiseTest : public ::testing::TestWithParam<Candidate> {
 protected:
  void SetUp() override {
    if (!isa_supported(GetParam().isa)) GTEST_SKIP() << "this CPU cannot run it";
  }

  static void run(const AddU8& args) { GetParam().kernels->add_u8(args); }
  static void run(const MulU8& args) { GetParam().kernels->mul_u8(args); }

  // Operands from two generators of bytes. An operand that is overwritten shares the output's
  // stride.
  template <typename Args, typename A, typename B>
  static void check(Args args, const Shape& shape, A next_a, B next_b,
                    Aliasing aliasing = Aliasing::kNone) {
    PixelBuffer<uint8_t> a(shape.pixels, shape.channels, shape.a_stride);
    PixelBuffer<uint8_t> b(shape.pixels, shape.channels, shape.b_stride);
    PixelBuffer<uint8_t> separate(shape.pixels, shape.channels, shape.out_stride);
    a.fill(next_a);
    b.fill(next_b);
    PixelBuffer<uint8_t>& out = aliasing == Aliasing::kOutIsA   ? a
                                : aliasing == Aliasing::kOutIsB ? b
                                                                : separate;
    args.pixels = shape.pixels;
    args.channels = shape.channels;
    args.a = a.data();
    args.a_stride = a.stride();
    args.b = b.data();
    args.b_stride = b.stride();
    args.out = out.data();
    args.out_stride = out.stride();
    std::vector<uint8_t> wanted;
    for (size_t p = 0; p < shape.pixels; ++p) {
      for (size_t c = 0; c < shape.channels; ++c) {
        wanted.push_back(expected(args, a.pixel(p)[c], b.pixel(p)[c]));
      }
    }
    run(args);
    for (size_t i = 0; i < wanted.size(); ++i) {
      const size_t p = i / shape.channels;
      const size_t c = i % shape.channels;
      ASSERT_EQ(out.pixel(p)[c], wanted[i])
          << "channel " << c << " of " << shape.channels << ", pixel " << p << " of "
          << shape.pixels << ", strides " << shape.a_stride << ", " << shape.b_stride << ", "
          << shape.out_stride << ", zero points " << args.a_zero_point << ", " << args.b_zero_point
          << ", " << args.zero_point << ", lo " << args.lo << ", hi " << args.hi;
    }
    ASSERT_TRUE(out.gaps_untouched()) << shape.channels << " channels of " << shape.out_stride;
  }

  template <typename Args>
  static void check_random(const Args& args, const Shape& shape, Random& random,
                           Aliasing aliasing = Aliasing::kNone) {
    const auto byte = [&] { return static_cast<uint8_t>(random.uniform(0, 255)); };
    check(args, shape, byte, byte, aliasing);
  }

  // All 65536 pairs of values, of two operands of 256 pixels and of such a one and a pixel.
  template <typename Args>
  static void check_every_pair(const Args& args) {
    for (const Shape& shape : {contiguous(256, 256), Shape{256, 256, 256, 0, 256}}) {
      size_t a = 0;
      size_t b = 0;
      check(
          args, shape, [&] { return static_cast<uint8_t>(a++ >> 8); },
          [&] { return static_cast<uint8_t>(b++); });
    }
  }
};

AddU8 add(int32_t a_zero_point, float a_multiplier, int32_t b_zero_point, float b_multiplier,
          int32_t zero_point, int32_t lo = 0, int32_t hi = 255) {
  AddU8 args{};
  args.a_zero_point = a_zero_point;
  args.a_multiplier = a_multiplier;
  args.b_zero_point = b_zero_point;
  args.b_multiplier = b_multiplier;
  args.zero_point = zero_point;
  args.lo = lo;
  args.hi = hi;
  return args;
}

MulU8 mul(int32_t a_zero_point, int32_t b_zero_point, float multiplier, int32_t zero_point,
          int32_t lo = 0, int32_t hi = 255) {
  MulU8 args{};
  args.a_zero_point = a_zero_point;
  args.b_zero_point = b_zero_point;
  args.multiplier = multiplier;
  args.zero_point = zero_point;
  args.lo = lo;
  args.hi = hi;
  return args;
}

TEST_P(ElementwiseTest, EverySizeAndAliasing) {
  Random random;
  for (size_t size = 0; size <= 200; ++size) {
    for (Aliasing aliasing : {Aliasing::kNone, Aliasing::kOutIsA, Aliasing::kOutIsB}) {
      const Shape shape = contiguous(1, size);
      ASSERT_NO_FATAL_FAILURE(check_random(add(3, 0.7f, 130, 0.41f, 90), shape, random, aliasing));
      ASSERT_NO_FATAL_FAILURE(check_random(mul(77, 130, 0.011f, 90), shape, random, aliasing));
    }
  }
}

TEST_P(ElementwiseTest, EveryChannelCountAtStridesAndBroadcast) {
  Random random;
  const AddU8 sum = add(3, 0.7f, 130, 0.41f, 90);
  const MulU8 product = mul(77, 130, 0.011f, 90);
  for (size_t channels = 1; channels <= 140; ++channels) {
    for (const Shape& shape :
         {contiguous(4, channels), Shape{4, channels, channels + 1, channels + 8, channels + 70},
          Shape{4, channels, channels, 0, channels},
          Shape{4, channels, channels + 3, 0, channels}}) {
      ASSERT_NO_FATAL_FAILURE(check_random(sum, shape, random));
      ASSERT_NO_FATAL_FAILURE(check_random(product, shape, random));
    }
    const Shape in_place = {4, channels, channels + 5, 0, channels + 5};
    ASSERT_NO_FATAL_FAILURE(check_random(sum, in_place, random, Aliasing::kOutIsA));
    ASSERT_NO_FATAL_FAILURE(check_random(product, in_place, random, Aliasing::kOutIsA));
  }
}

// Many pixels and one: channels of every alignment come round in long runs.
TEST_P(ElementwiseTest, BroadcastToManyPixels) {
  Random random;
  for (size_t channels : {1, 3, 4, 16, 24, 64, 72, 96, 100, 120, 240, 320, 672, 1032}) {
    for (size_t pixels : {1, 7, 49, 300}) {
      const Shape shape = {pixels, channels, channels, 0, channels};
      ASSERT_NO_FATAL_FAILURE(check_random(add(3, 0.7f, 130, 0.41f, 90), shape, random));
      ASSERT_NO_FATAL_FAILURE(
          check_random(mul(77, 130, 0.011f, 90), shape, random, Aliasing::kOutIsA));
    }
  }
}

TEST_P(ElementwiseTest, AcceptsNullForNothing) {
  run(add(0, 1.0f, 0, 1.0f, 0));
  run(mul(0, 0, 1.0f, 0));
  AddU8 no_channels = add(0, 1.0f, 0, 1.0f, 0);
  no_channels.pixels = 3;
  run(no_channels);
  MulU8 no_pixels = mul(0, 0, 1.0f, 0);
  no_pixels.channels = 3;
  run(no_pixels);
}

// Every pair of values, among them every tie: with multipliers of 1/2 each odd sum is one, with 1/4
// each sum that is 2 modulo 4.
TEST_P(ElementwiseTest, AddEveryPair) {
  for (const AddU8& args :
       {add(0, 0.5f, 0, 0.5f, 0), add(128, 0.5f, 127, 0.5f, 128), add(255, 0.25f, 1, 0.25f, 255),
        add(17, 0.1f, 200, 0.9f, 101, 101), add(128, 1.0f / 3.0f, 128, 2.0f / 3.0f, 64, 64, 211)}) {
    ASSERT_NO_FATAL_FAILURE(check_every_pair(args));
  }
}

TEST_P(ElementwiseTest, SubtractEveryPair) {
  ASSERT_NO_FATAL_FAILURE(check_every_pair(add(0, 0.5f, 0, -0.5f, 128)));
  ASSERT_NO_FATAL_FAILURE(check_every_pair(add(50, 0.3f, 99, -0.7f, 33, 12, 240)));
}

TEST_P(ElementwiseTest, MulEveryPair) {
  for (const MulU8& args :
       {mul(0, 0, 1.0f / 256.0f, 0), mul(128, 127, 1.0f / 128.0f, 128), mul(255, 1, 0.5f, 255),
        mul(17, 200, 0.0031f, 101, 101), mul(0, 255, 1.0f / 255.0f, 255, 3, 251)}) {
    ASSERT_NO_FATAL_FAILURE(check_every_pair(args));
  }
}

TEST_P(ElementwiseTest, EveryZeroPoint) {
  Random random;
  const Shape shape = contiguous(1, 259);
  for (int32_t z = 0; z < 256; ++z) {
    ASSERT_NO_FATAL_FAILURE(check_random(add(z, 0.5f, 255 - z, 0.5f, z), shape, random));
    ASSERT_NO_FATAL_FAILURE(check_random(add(91, 0.5f, z, 0.83f, 255 - z), shape, random));
    ASSERT_NO_FATAL_FAILURE(check_random(mul(z, 255 - z, 0.0078125f, z), shape, random));
    ASSERT_NO_FATAL_FAILURE(check_random(mul(91, z, 0.013f, 255 - z), shape, random));
  }
}

// Overflow to infinity, infinity minus infinity, and results that vanish.
TEST_P(ElementwiseTest, ExtremeMultipliers) {
  Random random;
  const Shape shape = contiguous(1, 300);
  const Shape broadcast = {5, 300, 300, 0, 300};
  const float multipliers[] = {0.0f,     1e-45f,   1e-38f, 1e-6f, 255.0f,
                               32767.0f, 32768.0f, 1e9f,   1e36f, 3.4e38f};
  for (float left : multipliers) {
    for (int32_t zero_point : {0, 55, 255}) {
      const MulU8 args = mul(128, 127, left, zero_point, 20, 240);
      ASSERT_NO_FATAL_FAILURE(check_random(args, shape, random));
      ASSERT_NO_FATAL_FAILURE(check_random(args, broadcast, random));
    }
    for (float right : multipliers) {
      for (float sign : {1.0f, -1.0f}) {
        const AddU8 args = add(128, left, 127, sign * right, 55, 20, 240);
        ASSERT_NO_FATAL_FAILURE(check_random(args, shape, random));
      }
    }
  }
}

TEST_P(ElementwiseTest, Random) {
  Random random;
  for (int round = 0; round < 500; ++round) {
    const auto size = [&](int64_t lo, int64_t hi) {
      return static_cast<size_t>(random.uniform(lo, hi));
    };
    const auto byte = [&](int64_t lo) { return static_cast<int32_t>(random.uniform(lo, 255)); };
    const size_t channels = size(0, 200);
    const size_t gap = random.one_in(2) ? 0 : size(1, 80);
    const Shape shape = {size(0, 6), channels, channels + gap,
                         random.one_in(3) ? 0 : channels + size(0, 9), channels + gap};
    const auto aliasing = random.one_in(2) ? Aliasing::kNone : Aliasing::kOutIsA;
    const int32_t lo = byte(0);
    const int32_t hi = byte(lo);
    ASSERT_NO_FATAL_FAILURE(check_random(add(byte(0), random.uniform_float(0.001f, 3.0f), byte(0),
                                             random.uniform_float(-3.0f, 3.0f), byte(0), lo, hi),
                                         shape, random, aliasing));
    ASSERT_NO_FATAL_FAILURE(
        check_random(mul(byte(0), byte(0), random.uniform_float(1e-5f, 0.1f), byte(0), lo, hi),
                     shape, random, aliasing));
  }
}

INSTANTIATE_TEST_SUITE_P(, ElementwiseTest, ::testing::ValuesIn(kCandidates),
                         [](const auto& candidate) {
                           return std::string(candidate.param.kernels->name);
                         });

}  // namespace
}  // namespace wbcq
