// Every kernel of kernels.inc that this CPU can run, bit for bit against gemm_case.h.
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "cpu/isa.h"
#include "kernels/gemm/gemm_case.h"

namespace wbcq {

#define WBCQ_GEMM_KERNEL(isa, object) extern const GemmKernel object;
#include "kernels/gemm/kernels.inc"

namespace {

using testing::check_f32;
using testing::check_u8;
using testing::GemmCase;
using testing::Random;
using testing::Residual;

using Entry = std::pair<Isa, const GemmKernel*>;

std::vector<Entry> runnable_kernels() {
  std::vector<Entry> kernels;
#define WBCQ_GEMM_KERNEL(isa, object) \
  if (isa_supported(Isa::k##isa)) kernels.emplace_back(Isa::k##isa, &object);
#include "kernels/gemm/kernels.inc"
  return kernels;
}

class GemmKernelTest : public ::testing::TestWithParam<Entry> {
 protected:
  const GemmKernel& kernel() const { return *GetParam().second; }

  size_t random_rows() {
    return static_cast<size_t>(random_.uniform(1, static_cast<int64_t>(kernel().mr)));
  }
  size_t random_cols() {
    return static_cast<size_t>(random_.uniform(1, static_cast<int64_t>(kernel().nr)));
  }

  // The whole tile, and one that is ragged on both sides.
  std::vector<GemmCase> tiles() {
    GemmCase whole, ragged;
    whole.rows = kernel().mr;
    whole.cols = kernel().nr;
    ragged.rows = kernel().mr - 1;
    ragged.cols = kernel().nr - 3;
    return {whole, ragged};
  }

  Random random_;
};

INSTANTIATE_TEST_SUITE_P(Kernels, GemmKernelTest, ::testing::ValuesIn(runnable_kernels()),
                         [](const auto& entry) {
                           return std::string(isa_name(entry.param.first));
                         });

constexpr Residual kResiduals[] = {Residual::kNone, Residual::kSeparate, Residual::kInPlace};

TEST_P(GemmKernelTest, EveryNumberOfRowsAndColumns) {
  for (size_t rows = 1; rows <= kernel().mr; ++rows) {
    for (size_t cols = 1; cols <= kernel().nr; ++cols) {
      GemmCase c;
      c.rows = rows;
      c.cols = cols;
      c.taps = 2;
      c.slices = {9};
      for (Residual residual : kResiduals) {
        c.residual = residual;
        ASSERT_NO_FATAL_FAILURE(check_u8(kernel(), c, random_));
      }
      ASSERT_NO_FATAL_FAILURE(check_f32(kernel(), c, random_));
    }
  }
}

// Around every power of two, so that each unrolled loop meets each of its remainders.
TEST_P(GemmKernelTest, EveryDepth) {
  std::vector<uint32_t> depths;
  for (uint32_t depth = 1; depth <= 40; ++depth) depths.push_back(depth);
  for (uint32_t power : {64u, 128u, 256u, 512u, 1024u}) {
    for (uint32_t depth : {power - 1, power, power + 1}) depths.push_back(depth);
  }
  for (uint32_t depth : depths) {
    for (size_t rows = 1; rows <= kernel().mr; ++rows) {
      GemmCase c;
      c.rows = rows;
      c.cols = depth % 2 != 0 ? kernel().nr : random_cols();
      c.slices = {depth};
      ASSERT_NO_FATAL_FAILURE(check_u8(kernel(), c, random_));
    }
    GemmCase c;
    c.rows = kernel().mr;
    c.cols = kernel().nr;
    c.slices = {depth};
    ASSERT_NO_FATAL_FAILURE(check_f32(kernel(), c, random_));
  }
}

TEST_P(GemmKernelTest, SegmentsOfDifferentLengths) {
  for (size_t taps : {1, 3, 9}) {
    for (const std::vector<uint32_t>& slices :
         std::vector<std::vector<uint32_t>>{{1, 1}, {3, 8, 5}, {17, 4}, {16, 58, 29, 1}}) {
      for (GemmCase c : tiles()) {
        c.taps = taps;
        c.slices = slices;
        c.residual = Residual::kSeparate;
        ASSERT_NO_FATAL_FAILURE(check_u8(kernel(), c, random_));
        c.rows = random_rows();
        c.cols = random_cols();
        ASSERT_NO_FATAL_FAILURE(check_f32(kernel(), c, random_));
      }
    }
  }
}

TEST_P(GemmKernelTest, DeepSums) {
  for (GemmCase c : tiles()) {
    c.taps = 9;
    c.slices = {512};
    ASSERT_NO_FATAL_FAILURE(check_u8(kernel(), c, random_));
    c.taps = 1;
    c.slices = {4608};
    ASSERT_NO_FATAL_FAILURE(check_f32(kernel(), c, random_));
  }
}

TEST_P(GemmKernelTest, StripsOfTiles) {
  for (size_t tiles : {2, 3, 8}) {
    for (size_t rows = 1; rows <= kernel().mr; ++rows) {
      for (size_t cols : {kernel().lanes, kernel().nr, random_cols()}) {
        GemmCase c;
        c.tiles = tiles;
        c.rows = rows;
        c.cols = cols;
        c.taps = 2;
        c.slices = {19, 8};
        c.residual = kResiduals[random_.uniform(0, 2)];
        c.prefetch = random_.one_in(2);
        ASSERT_NO_FATAL_FAILURE(check_u8(kernel(), c, random_));
        ASSERT_NO_FATAL_FAILURE(check_f32(kernel(), c, random_));
      }
    }
  }
}

// The groups of a convolution: the same pointers, other channels.
TEST_P(GemmKernelTest, ChannelOffsets) {
  for (size_t offset : {1, 4, 16, 61, 400}) {
    for (size_t rows = 1; rows <= kernel().mr; ++rows) {
      GemmCase c;
      c.rows = rows;
      c.cols = random_cols();
      c.taps = 3;
      c.slices = {16, 5};
      c.channel_offset = offset;
      ASSERT_NO_FATAL_FAILURE(check_u8(kernel(), c, random_));
      ASSERT_NO_FATAL_FAILURE(check_f32(kernel(), c, random_));
    }
  }
}

TEST_P(GemmKernelTest, PanelsAfterTheFirst) {
  for (size_t panel : {1, 3}) {
    for (GemmCase c : tiles()) {
      c.panel = panel;
      c.slices = {21};
      ASSERT_NO_FATAL_FAILURE(check_u8(kernel(), c, random_));
    }
  }
}

// The worst case of every intermediate width, such as two products of the same sign in int16.
TEST_P(GemmKernelTest, ExtremeValues) {
  const std::vector<std::vector<uint8_t>> activations = {{0},      {255},    {128},           {127},
                                                         {0, 255}, {255, 0}, {0, 0, 255, 255}};
  const std::vector<std::vector<int8_t>> weights = {
      {127}, {-127}, {127, -127}, {-127, 127}, {127, 127, -127, -127}, {0}};
  for (const auto& a : activations) {
    for (const auto& w : weights) {
      for (int32_t zero_point : {0, 128, 255}) {
        for (GemmCase c : tiles()) {
          c.activations = a;
          c.weights = w;
          c.slices = {67};
          c.zero_points = {zero_point};
          ASSERT_NO_FATAL_FAILURE(check_u8(kernel(), c, random_));
          ASSERT_NO_FATAL_FAILURE(check_f32(kernel(), c, random_));
        }
      }
    }
  }
}

// Sums that need all 32 bits; a shifted kernel's partial sums wrap on the way.
TEST_P(GemmKernelTest, SumsNearTheEndsOfInt32) {
  constexpr uint32_t kDepth = 66304;  // kDepth * 255 * 127 = 2147255040 < 2^31
  for (int8_t weight : {int8_t{127}, int8_t{-127}}) {
    for (int32_t zero_point : {0, 255}) {
      GemmCase c;
      c.rows = kernel().mr;
      c.cols = kernel().nr;
      c.slices = {kDepth};
      c.activations = {static_cast<uint8_t>(255 - zero_point)};
      c.weights = {weight};
      c.zero_points = {zero_point};
      c.bias = {0, 228607, -228608};
      c.multipliers = {1.0f / (1 << 24), -1.0f / (1 << 25)};
      ASSERT_NO_FATAL_FAILURE(check_f32(kernel(), c, random_));
      ASSERT_NO_FATAL_FAILURE(check_u8(kernel(), c, random_));
    }
  }
}

TEST_P(GemmKernelTest, EveryZeroPoint) {
  for (int32_t zero_point = 0; zero_point <= 255; ++zero_point) {
    GemmCase c;
    c.rows = random_rows();
    c.cols = random_cols();
    c.slices = {11, 6};
    c.zero_points = {zero_point, 255 - zero_point};
    c.zero_point = zero_point;
    c.residual_zero_point = 255 - zero_point;
    c.residual = zero_point % 2 != 0 ? Residual::kSeparate : Residual::kNone;
    ASSERT_NO_FATAL_FAILURE(check_u8(kernel(), c, random_));
  }
}

TEST_P(GemmKernelTest, EveryKindOfClamp) {
  const std::vector<std::pair<int32_t, int32_t>> clamps = {
      {0, 255}, {0, 0}, {255, 255}, {128, 128}, {127, 255}, {3, 200}, {0, 127}, {254, 255}, {0, 1}};
  for (const auto& [lo, hi] : clamps) {
    for (int32_t zero_point : {0, 1, lo, hi, 128, 255}) {
      for (GemmCase c : tiles()) {
        c.slices = {13};
        c.lo = lo;
        c.hi = hi;
        c.zero_point = zero_point;
        c.residual = kResiduals[random_.uniform(0, 2)];
        ASSERT_NO_FATAL_FAILURE(check_u8(kernel(), c, random_));
      }
    }
  }
}

// Products far outside int32, where cvtps2dq gives INT32_MIN and fcvtns saturates.
TEST_P(GemmKernelTest, ProductsOutsideInt32) {
  for (float scale : {1.0f, 1e3f, 65536.0f, 1e6f, 1e20f}) {
    for (int32_t zero_point : {0, 77, 255}) {
      for (GemmCase c : tiles()) {
        c.slices = {8};
        c.bias = {0, 2000000000, -2000000000, 5, -5};
        c.multipliers = {scale, -scale, 3 * scale};
        c.zero_point = zero_point;
        c.residual = kResiduals[random_.uniform(0, 2)];
        c.residual_multiplier = random_.one_in(2) ? scale : -scale;
        ASSERT_NO_FATAL_FAILURE(check_u8(kernel(), c, random_));
      }
    }
  }
}

// Multipliers that are powers of two make every other value a tie.
TEST_P(GemmKernelTest, TiesGoToEven) {
  for (float scale : {0.5f, 0.25f, 0.125f}) {
    for (int32_t zero_point = 120; zero_point <= 135; ++zero_point) {
      for (GemmCase c : tiles()) {
        c.slices = {4};
        c.weights = {1, 0, -1, 0};
        c.bias = {0, 1, -1, 3, -3};
        c.multipliers = {scale};
        c.zero_point = zero_point;
        c.residual = kResiduals[random_.uniform(0, 2)];
        c.residual_multiplier = 0.5f;
        ASSERT_NO_FATAL_FAILURE(check_u8(kernel(), c, random_));
      }
    }
  }
}

// Sums above 2^24 are rounded when they become float, before the product: a kernel that fuses or
// reorders the two shows here.
TEST_P(GemmKernelTest, EachFloatOperationRoundsOnce) {
  for (int repeat = 0; repeat < 200; ++repeat) {
    GemmCase c;
    c.rows = random_rows();
    c.cols = random_cols();
    c.slices = {16};
    c.bias.resize(kernel().nr);
    for (int32_t& b : c.bias) b = static_cast<int32_t>(random_.uniform(-2000000000, 2000000000));
    c.multipliers.resize(kernel().nr);
    for (float& m : c.multipliers) m = random_.uniform_float(1e-9f, 1e-7f);
    c.residual = Residual::kSeparate;
    c.residual_multiplier = random_.uniform_float(0.01f, 1.0f);
    c.residual_zero_point = static_cast<int32_t>(random_.uniform(0, 255));
    ASSERT_NO_FATAL_FAILURE(check_f32(kernel(), c, random_));
    ASSERT_NO_FATAL_FAILURE(check_u8(kernel(), c, random_));
  }
}

// Two products near 2^22, where a float counts in halves, cancel down to a u8. Both must be rounded
// before they are added: a fused multiply-add keeps the fraction of one of them, and rounds
// otherwise.
TEST_P(GemmKernelTest, ResidualProductsAreNotFused) {
  constexpr float kLarge = 1 << 22;
  for (int repeat = 0; repeat < 50; ++repeat) {
    GemmCase c;
    c.rows = kernel().mr;
    c.cols = kernel().nr;
    c.weights = {0};
    c.residual = Residual::kSeparate;
    c.shortcut = {static_cast<uint8_t>(random_.uniform(200, 255))};
    c.residual_multiplier = kLarge / c.shortcut[0] * random_.uniform_float(1.0f, 1.5f);
    const float product = c.shortcut[0] * c.residual_multiplier;
    for (size_t j = 0; j < c.cols; ++j) {
      c.bias.push_back(static_cast<int32_t>(-product + random_.uniform_float(-127.0f, 127.0f)));
    }
    c.multipliers = {1.0f};
    ASSERT_NO_FATAL_FAILURE(check_u8(kernel(), c, random_));

    c.bias = {static_cast<int32_t>(random_.uniform(1000, 100000))};
    c.multipliers.clear();
    for (size_t j = 0; j < c.cols; ++j) {
      const float target = kLarge + random_.uniform_float(0.0f, 127.0f);
      c.multipliers.push_back(target / static_cast<float>(c.bias[0]));
    }
    c.shortcut = {0};
    c.residual_zero_point = 128;
    c.residual_multiplier = kLarge / 128;
    ASSERT_NO_FATAL_FAILURE(check_u8(kernel(), c, random_));
  }
}

TEST_P(GemmKernelTest, RandomCases) {
  for (int repeat = 0; repeat < 400; ++repeat) {
    GemmCase c;
    c.tiles = static_cast<size_t>(random_.uniform(1, 4));
    c.rows = random_rows();
    c.cols = random_cols();
    c.prefetch = random_.one_in(2);
    c.taps = static_cast<size_t>(random_.uniform(1, 9));
    c.slices.resize(static_cast<size_t>(random_.uniform(1, 4)));
    for (uint32_t& channels : c.slices) channels = static_cast<uint32_t>(random_.uniform(1, 70));
    c.residual = kResiduals[random_.uniform(0, 2)];
    c.residual_multiplier = random_.uniform_float(0.001f, 2.0f);
    c.residual_zero_point = static_cast<int32_t>(random_.uniform(0, 255));
    c.zero_point = static_cast<int32_t>(random_.uniform(0, 255));
    c.lo = static_cast<int32_t>(random_.uniform(0, 255));
    c.hi = static_cast<int32_t>(random_.uniform(c.lo, 255));
    c.panel = static_cast<size_t>(random_.uniform(0, 2));
    c.channel_offset = static_cast<size_t>(random_.uniform(0, 100));
    ASSERT_NO_FATAL_FAILURE(check_u8(kernel(), c, random_));
    ASSERT_NO_FATAL_FAILURE(check_f32(kernel(), c, random_));
  }
}

}  // namespace
}  // namespace wbcq
