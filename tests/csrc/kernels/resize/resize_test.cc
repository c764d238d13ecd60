#include "kernels/resize/resize.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "cpu/isa.h"
#include "support/expected.h"
#include "support/pixel_buffer.h"
#include "support/random.h"

namespace wbcq {

#define WBCQ_RESIZE_KERNELS(isa, object) extern const ResizeKernels object;
#include "kernels/resize/kernels.inc"

namespace {

using testing::expected_product;
using testing::expected_sum;
using testing::PixelBuffer;
using testing::Random;

struct Candidate {
  Isa isa;
  const ResizeKernels* kernels;
};

const Candidate kCandidates[] = {
#define WBCQ_RESIZE_KERNELS(isa, object) {Isa::k##isa, &object},
#include "kernels/resize/kernels.inc"
};

float expected_mix(float first, float second, float fraction) {
  return expected_sum(expected_product(first, expected_sum(1.0f, -fraction)),
                      expected_product(second, fraction));
}

constexpr size_t kSourcePixels = 5;

class ResizeTest : public ::testing::TestWithParam<Candidate> {
 protected:
  void SetUp() override {
    if (!isa_supported(GetParam().isa)) GTEST_SKIP() << "this CPU cannot run it";
  }

  static void run(const ResizeBilinearRowU8& row) { GetParam().kernels->bilinear_u8(row); }
  static void run(const ResizeBilinearRowF32& row) { GetParam().kernels->bilinear_f32(row); }
  static void expect_result(uint8_t actual, float value) {
    ASSERT_EQ(actual, testing::expected_round_clamp(value, 0, 0, 255)) << value;
  }
  static void expect_result(float actual, float value) { ASSERT_EQ(actual, value); }

  template <typename T, typename Value, typename Fraction>
  static void check(size_t pixels, size_t channels, size_t gap, Value next_value,
                    Fraction next_fraction, Random& random) {
    const size_t stride = channels + gap;
    PixelBuffer<T> top(kSourcePixels, channels, stride);
    PixelBuffer<T> bottom(kSourcePixels, channels, stride);
    PixelBuffer<T> out(pixels, channels, channels + 2 * gap);
    top.fill(next_value);
    bottom.fill(next_value);
    std::vector<ResizeTap> taps(pixels);
    for (ResizeTap& tap : taps) {
      tap.left = static_cast<size_t>(random.uniform(0, kSourcePixels - 1)) * stride;
      tap.right = static_cast<size_t>(random.uniform(0, kSourcePixels - 1)) * stride;
      tap.fraction = next_fraction();
    }
    const float fraction = next_fraction();
    run({pixels, channels, top.data(), bottom.data(), taps.data(), fraction, out.data(),
         out.stride()});
    for (size_t x = 0; x < pixels; ++x) {
      const ResizeTap& tap = taps[x];
      for (size_t c = 0; c < channels; ++c) {
        const float upper =
            expected_mix(top.data()[tap.left + c], top.data()[tap.right + c], tap.fraction);
        const float lower =
            expected_mix(bottom.data()[tap.left + c], bottom.data()[tap.right + c], tap.fraction);
        SCOPED_TRACE(::testing::Message() << "channel " << c << " of " << channels << ", fractions "
                                          << tap.fraction << ", " << fraction);
        ASSERT_NO_FATAL_FAILURE(
            expect_result(out.pixel(x)[c], expected_mix(upper, lower, fraction)));
      }
    }
    ASSERT_TRUE(out.gaps_untouched()) << channels << " channels";
  }
};

TEST_P(ResizeTest, NearestOfEveryPixelSize) {
  Random random;
  for (size_t bytes = 1; bytes <= 200; ++bytes) {
    for (size_t gap : {size_t{0}, size_t{3}, size_t{65}}) {
      PixelBuffer<uint8_t> in(kSourcePixels, bytes, bytes + gap);
      PixelBuffer<uint8_t> out(7, bytes, bytes + gap);
      in.fill([&] { return static_cast<uint8_t>(random.uniform(0, 255)); });
      std::vector<size_t> offsets(7);
      for (size_t& offset : offsets) {
        offset = static_cast<size_t>(random.uniform(0, kSourcePixels - 1)) * in.stride();
      }
      GetParam().kernels->nearest({7, bytes, in.data(), offsets.data(), out.data(), out.stride()});
      for (size_t x = 0; x < 7; ++x) {
        ASSERT_EQ(std::memcmp(out.pixel(x), in.data() + offsets[x], bytes), 0) << bytes << " bytes";
      }
      ASSERT_TRUE(out.gaps_untouched()) << bytes << " bytes";
    }
  }
}

TEST_P(ResizeTest, BilinearU8OfEveryChannelCount) {
  Random random;
  const auto byte = [&] { return static_cast<uint8_t>(random.uniform(0, 255)); };
  const auto fraction = [&] { return random.uniform_float(0.0f, 1.0f); };
  for (size_t channels = 1; channels <= 140; ++channels) {
    ASSERT_NO_FATAL_FAILURE(check<uint8_t>(6, channels, 0, byte, fraction, random));
    ASSERT_NO_FATAL_FAILURE(check<uint8_t>(6, channels, 5, byte, fraction, random));
  }
}

// Halves and quarters put many results halfway between two integers; 0 and 1 leave one source.
TEST_P(ResizeTest, BilinearU8RoundsTiesToEven) {
  Random random;
  const auto byte = [&] { return static_cast<uint8_t>(random.uniform(0, 255)); };
  const auto fraction = [&] { return 0.25f * static_cast<float>(random.uniform(0, 4)); };
  for (int round = 0; round < 50; ++round) {
    ASSERT_NO_FATAL_FAILURE(check<uint8_t>(9, 131, 0, byte, fraction, random));
  }
}

// Where all sources are 255 the weights may add up to a little more than 1.
TEST_P(ResizeTest, BilinearU8OfSaturatedPictures) {
  Random random;
  const auto fraction = [&] { return random.uniform_float(0.0f, 1.0f); };
  for (int value : {0, 1, 254, 255}) {
    const auto same = [value] { return static_cast<uint8_t>(value); };
    ASSERT_NO_FATAL_FAILURE(check<uint8_t>(2000, 3, 0, same, fraction, random));
    ASSERT_NO_FATAL_FAILURE(check<uint8_t>(50, 70, 0, same, fraction, random));
  }
}

TEST_P(ResizeTest, BilinearF32OfEveryChannelCount) {
  Random random;
  const auto value = [&] { return random.uniform_float(-100.0f, 100.0f); };
  const auto fraction = [&] { return random.uniform_float(0.0f, 1.0f); };
  for (size_t channels = 1; channels <= 70; ++channels) {
    ASSERT_NO_FATAL_FAILURE(check<float>(6, channels, 0, value, fraction, random));
    ASSERT_NO_FATAL_FAILURE(check<float>(6, channels, 5, value, fraction, random));
  }
}

INSTANTIATE_TEST_SUITE_P(, ResizeTest, ::testing::ValuesIn(kCandidates), [](const auto& candidate) {
  return std::string(candidate.param.kernels->name);
});

}  // namespace
}  // namespace wbcq
