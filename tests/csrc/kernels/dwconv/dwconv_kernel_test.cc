// Every depthwise kernel of this build that the CPU can run, against an independent computation.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "cpu/isa.h"
#include "kernels/dwconv/dwconv.h"
#include "kernels/dwconv/dwconv_case.h"

namespace wbcq {

#define WBCQ_DWCONV_KERNEL(isa, object) extern const DwconvKernel object;
#include "kernels/dwconv/kernels.inc"

namespace {

using testing::DwconvCase;
using testing::DwconvShape;
using testing::Random;

struct Candidate {
  Isa isa;
  const DwconvKernel* kernel;
};

const Candidate kCandidates[] = {
#define WBCQ_DWCONV_KERNEL(isa, object) {Isa::k##isa, &object},
#include "kernels/dwconv/kernels.inc"
};

// kernel_h, kernel_w, stride_w, dilation_w
constexpr DwconvGeometry kGeometries[] = {
    {3, 3, 1, 1}, {3, 3, 2, 1}, {5, 5, 1, 1}, {5, 5, 2, 1}, {3, 3, 1, 2}, {3, 3, 2, 3},
    {7, 7, 1, 1}, {1, 1, 1, 1}, {1, 3, 1, 1}, {3, 1, 1, 1}, {2, 2, 2, 1}, {4, 4, 3, 1},
    {1, 2, 1, 1}, {6, 5, 1, 1}, {3, 5, 1, 1}, {5, 3, 2, 1}, {4, 3, 1, 1}, {2, 3, 1, 1},
};

// Steps of many taps, once: they are slow.
constexpr DwconvGeometry kLargeGeometries[] = {{9, 9, 1, 1}, {17, 15, 1, 1}, {31, 31, 1, 1}};

class DwconvKernelTest : public ::testing::TestWithParam<Candidate> {
 protected:
  void SetUp() override {
    if (!isa_supported(GetParam().isa)) GTEST_SKIP() << "this CPU cannot run it";
  }

  static const DwconvKernel& kernel() { return *GetParam().kernel; }

  static std::vector<DwconvGeometry> supported() {
    std::vector<DwconvGeometry> geometries;
    for (const DwconvGeometry& geometry : kGeometries) {
      if (kernel().supports(geometry)) geometries.push_back(geometry);
    }
    return geometries;
  }

  // Padding on both sides as a "same" convolution has it.
  static DwconvShape same_padding(const DwconvGeometry& geometry, size_t channels, size_t width) {
    const size_t pad = geometry.dilation_w * (geometry.kernel_w - 1) / 2;
    DwconvShape shape = {geometry, channels, width, 0, -static_cast<ptrdiff_t>(pad)};
    const size_t reach = shape.reach();
    shape.in_width = reach > 2 * pad ? reach - 2 * pad : 1;
    return shape;
  }
};

TEST_P(DwconvKernelTest, SupportsAGeometryOfTheTest) { EXPECT_FALSE(supported().empty()); }

TEST_P(DwconvKernelTest, EveryChannelCount) {
  Random random;
  size_t step = 1;
  for (const DwconvGeometry& geometry : supported()) {
    for (size_t channels = 1; channels <= 132; channels += step) {
      DwconvCase test(same_padding(geometry, channels, channels % 5 + 1), random);
      ASSERT_NO_FATAL_FAILURE(test.check_u8(kernel()));
    }
    for (size_t channels : {160, 191, 192, 193, 208, 224, 255, 256, 257}) {
      DwconvCase test(same_padding(geometry, channels, 3), random);
      ASSERT_NO_FATAL_FAILURE(test.check_u8(kernel()));
    }
    step = 7;  // tails do not depend on the window: all of them once will do
  }
}

TEST_P(DwconvKernelTest, EveryWidthAndPadding) {
  Random random;
  for (const DwconvGeometry& geometry : supported()) {
    for (size_t channels : {3, 24, 64, 100}) {
      for (size_t width = 1; width <= 18; ++width) {
        DwconvCase test(same_padding(geometry, channels, width), random);
        ASSERT_NO_FATAL_FAILURE(test.check_u8(kernel()));
        DwconvCase unpadded({geometry, channels, width, 0, 0}, random);
        ASSERT_NO_FATAL_FAILURE(unpadded.check_u8(kernel()));
      }
    }
  }
}

// Windows that lie partly or wholly outside a narrow picture, and runs that start inside it.
TEST_P(DwconvKernelTest, NarrowPictures) {
  Random random;
  for (const DwconvGeometry& geometry : supported()) {
    for (size_t in_width = 1; in_width <= 5; ++in_width) {
      for (ptrdiff_t first_column = -7; first_column <= 3; ++first_column) {
        const auto width = static_cast<size_t>(random.uniform(1, 9));
        const size_t channels = random.one_in(2) ? 20 : 70;
        DwconvCase test({geometry, channels, width, in_width, first_column}, random);
        ASSERT_NO_FATAL_FAILURE(test.check_u8(kernel()));
      }
    }
  }
}

// Every height that a kernel's band has room for, in one call and in pieces.
TEST_P(DwconvKernelTest, BandsOfRows) {
  if (kernel().band_rows == 0) GTEST_SKIP() << "one row at a time";
  Random random;
  for (const DwconvGeometry& geometry : supported()) {
    for (size_t row_step = 1; row_step <= 3; ++row_step) {
      size_t height = 1;
      for (; (height - 1) * row_step + geometry.kernel_h <= kernel().band_rows; ++height) {
        for (size_t channels : {1, 16, 24, 33, 64, 100, 144}) {
          for (size_t width : {1, 2, 3, 4, 7, 14, 43}) {
            DwconvShape shape = same_padding(geometry, channels, width);
            shape.height = height;
            shape.row_step = row_step;
            DwconvCase test(shape, random);
            if (random.one_in(4)) test.set_extremes();
            ASSERT_NO_FATAL_FAILURE(test.check_u8(kernel()));
            if (width != 14) continue;
            ASSERT_NO_FATAL_FAILURE(test.check_pieces(kernel()));
          }
        }
      }
    }
  }
}

TEST_P(DwconvKernelTest, ExtremeValues) {
  Random random;
  for (const DwconvGeometry& geometry : supported()) {
    for (int input : {0, 127, 128, 255}) {
      for (int weight : {-127, 127}) {
        for (int32_t in_zero_point : {0, 128, 255}) {
          DwconvCase test(same_padding(geometry, 81, 5), random);
          test.in_zero_point = in_zero_point;
          test.set_inputs(input);
          test.set_weights(weight);
          ASSERT_NO_FATAL_FAILURE(test.check_u8(kernel()));
        }
      }
    }
    for (int repeat = 0; repeat < 5; ++repeat) {
      DwconvCase test(same_padding(geometry, 90, 7), random);
      test.set_extremes();
      ASSERT_NO_FATAL_FAILURE(test.check_u8(kernel()));
    }
  }
}

TEST_P(DwconvKernelTest, LargeKernels) {
  Random random;
  for (const DwconvGeometry& geometry : kLargeGeometries) {
    if (!kernel().supports(geometry)) continue;
    DwconvCase test(same_padding(geometry, 75, 5), random);
    ASSERT_NO_FATAL_FAILURE(test.check_u8(kernel()));
    test.set_extremes();
    ASSERT_NO_FATAL_FAILURE(test.check_u8(kernel()));
    test.set_inputs(255);
    test.set_weights(-127);
    ASSERT_NO_FATAL_FAILURE(test.check_u8(kernel()));
  }
}

TEST_P(DwconvKernelTest, EveryZeroPoint) {
  Random random;
  const DwconvGeometry geometry = supported().front();
  for (int32_t zero_point = 0; zero_point <= 255; ++zero_point) {
    DwconvCase test(same_padding(geometry, 70, 4), random);
    test.in_zero_point = zero_point;
    test.zero_point = 255 - zero_point;
    ASSERT_NO_FATAL_FAILURE(test.check_u8(kernel()));
    test.use_residual = true;
    test.residual_zero_point = zero_point;
    ASSERT_NO_FATAL_FAILURE(test.check_u8(kernel()));
  }
}

TEST_P(DwconvKernelTest, Residual) {
  Random random;
  for (const DwconvGeometry& geometry : supported()) {
    for (size_t channels = 1; channels <= 132; channels += 3) {
      DwconvCase test(same_padding(geometry, channels, channels % 7 + 1), random);
      test.use_residual = true;
      test.residual_multiplier = random.uniform_float(-2, 2);
      test.residual_zero_point = static_cast<int32_t>(random.uniform(0, 255));
      ASSERT_NO_FATAL_FAILURE(test.check_u8(kernel()));
    }
  }
}

TEST_P(DwconvKernelTest, Clamp) {
  Random random;
  for (const DwconvGeometry& geometry : supported()) {
    for (int repeat = 0; repeat < 30; ++repeat) {
      DwconvCase test(same_padding(geometry, 69, 3), random);
      test.lo = static_cast<int32_t>(random.uniform(0, 255));
      test.hi = static_cast<int32_t>(random.uniform(test.lo, 255));
      if (random.one_in(3)) test.hi = test.lo;
      test.use_residual = random.one_in(3);
      ASSERT_NO_FATAL_FAILURE(test.check_u8(kernel()));
    }
  }
}

// Results beyond int32 on both sides, ties, signed and subnormal multipliers.
TEST_P(DwconvKernelTest, Multipliers) {
  Random random;
  for (const DwconvGeometry& geometry : supported()) {
    for (float multiplier : {0x1p95f, -0x1p95f, 0x1p16f, 65536.5f, 0.5f, -0.5f, 0.25f, 0x1p-9f,
                             0x1p-24f, 0x1p-140f, -0x1p-149f, 0.0f}) {
      DwconvCase test(same_padding(geometry, 66, 4), random);
      for (float& m : test.multipliers) m = multiplier;
      for (int32_t& b : test.bias) b = static_cast<int32_t>(random.uniform(-2, 2));
      if (random.one_in(2)) {
        for (int8_t& w : test.weights) w = static_cast<int8_t>(random.uniform(-1, 1));
      }
      test.use_residual = random.one_in(2);
      if (random.one_in(2)) test.residual_multiplier = -multiplier;
      ASSERT_NO_FATAL_FAILURE(test.check_u8(kernel()));
    }
  }
}

// The accumulator at the ends of int32, where its start value alone would leave the range.
TEST_P(DwconvKernelTest, AccumulatorAtTheEndsOfInt32) {
  Random random;
  for (const DwconvGeometry& geometry : supported()) {
    for (bool negative : {false, true}) {
      DwconvCase test(same_padding(geometry, 40, 3), random);
      test.in_zero_point = negative ? 0 : 255;
      test.set_inputs(negative ? 0 : 255);
      test.set_weights(negative ? 127 : -127);
      for (int32_t& b : test.bias) b = negative ? INT32_MIN : INT32_MAX;
      for (float& m : test.multipliers) m = 0x1p-24f;
      ASSERT_NO_FATAL_FAILURE(test.check_u8(kernel()));
    }
  }
}

TEST_P(DwconvKernelTest, RunsAndChannelRanges) {
  Random random;
  for (const DwconvGeometry& geometry : supported()) {
    for (size_t channels : {20, 64, 90, 200}) {
      DwconvCase test(same_padding(geometry, channels, 13), random);
      test.use_residual = random.one_in(2);
      ASSERT_NO_FATAL_FAILURE(test.check_pieces(kernel()));
    }
  }
}

TEST_P(DwconvKernelTest, FloatOutput) {
  if (kernel().run_f32 == nullptr) GTEST_SKIP() << "no float output";
  Random random;
  for (const DwconvGeometry& geometry : supported()) {
    for (size_t channels = 1; channels <= 70; ++channels) {
      DwconvCase test(same_padding(geometry, channels, channels % 3 + 1), random);
      ASSERT_NO_FATAL_FAILURE(test.check_f32(kernel()));
    }
  }
}

TEST_P(DwconvKernelTest, Random) {
  Random random;
  const std::vector<DwconvGeometry> geometries = supported();
  for (int repeat = 0; repeat < 600; ++repeat) {
    DwconvGeometry geometry = geometries[random.uniform(0, geometries.size() - 1)];
    const DwconvGeometry any = {
        static_cast<size_t>(random.uniform(1, 6)), static_cast<size_t>(random.uniform(1, 6)),
        static_cast<size_t>(random.uniform(1, 3)), static_cast<size_t>(random.uniform(1, 3))};
    if (kernel().supports(any)) geometry = any;
    const DwconvShape shape = {geometry, static_cast<size_t>(random.uniform(1, 150)),
                               static_cast<size_t>(random.uniform(1, 12)),
                               static_cast<size_t>(random.uniform(1, 20)), random.uniform(-6, 6)};
    DwconvCase test(shape, random);
    test.use_residual = random.one_in(4);
    if (random.one_in(4)) test.set_extremes();
    ASSERT_NO_FATAL_FAILURE(test.check_u8(kernel()));
  }
}

std::string name_of(const ::testing::TestParamInfo<Candidate>& info) {
  return info.param.kernel->name;
}

INSTANTIATE_TEST_SUITE_P(Kernels, DwconvKernelTest, ::testing::ValuesIn(kCandidates), name_of);

}  // namespace
}  // namespace wbcq
