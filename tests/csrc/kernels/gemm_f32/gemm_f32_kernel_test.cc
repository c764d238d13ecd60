// Every FP32 GEMM kernel of this build that the CPU can run, against sums in binary64.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "cpu/isa.h"
#include "kernels/gemm_f32/gemm_f32.h"
#include "kernels/gemm_f32/pack.h"
#include "support/guarded_buffer.h"
#include "support/random.h"

namespace wbcq {

#define WBCQ_GEMM_F32_KERNEL(isa, object) extern const GemmF32Kernel object;
#include "kernels/gemm_f32/kernels.inc"

namespace {

using testing::GuardedBuffer;
using testing::Random;

struct Candidate {
  Isa isa;
  const GemmF32Kernel* kernel;
};

const Candidate kCandidates[] = {
#define WBCQ_GEMM_F32_KERNEL(isa, object) {Isa::k##isa, &object},
#include "kernels/gemm_f32/kernels.inc"
};

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// A matrix of `pixels` by `channels` outputs and all its operands, every row of the input in a
// buffer of its own that ends at an unreadable page.
class Matrix {
 public:
  Matrix(size_t pixels, size_t channels, std::vector<uint32_t> steps, Random& random)
      : pixels_(pixels), channels_(channels), steps_(std::move(steps)) {
    depth_ = std::accumulate(steps_.begin(), steps_.end(), size_t{0});
    for (uint32_t count : steps_) {
      for (size_t i = 0; i < pixels; ++i) {
        rows_.push_back(std::make_unique<GuardedBuffer<float>>(count));
        fill(*rows_.back(), random);
      }
    }
    weights_.resize(channels * depth_);
    for (float& w : weights_) w = random.uniform_float(-1, 1);
    bias_.resize(channels);
    for (float& b : bias_) b = random.uniform_float(-3, 3);
    stride_ = channels + static_cast<size_t>(random.uniform(0, 3));
    residual_ = std::make_unique<GuardedBuffer<float>>((pixels - 1) * stride_ + channels);
    fill(*residual_, random);
  }

  size_t pixels() const { return pixels_; }
  float& input(size_t segment, size_t pixel, size_t k) {
    return (*rows_[segment * pixels_ + pixel])[k];
  }

  void pack(const GemmF32Kernel& kernel, bool with_bias) {
    const GemmF32PackInput input = {channels_, depth_, weights_.data(),
                                    with_bias ? bias_.data() : nullptr};
    packed_.emplace(gemm_f32_packed_bytes(kernel, input));
    gemm_f32_pack(kernel, input, packed_->data());
    with_bias_ = with_bias;
  }

  // Runs the matrix in tiles of `mr` rows.
  void run(const GemmF32Kernel& kernel, size_t mr, GuardedBuffer<float>& out, bool in_place) {
    const size_t panel_bytes = gemm_f32_panel_bytes(kernel, depth_);
    for (size_t first = 0; first < pixels_; first += mr) {
      const size_t rows = std::min(mr, pixels_ - first);
      std::vector<const float*> lhs;
      for (size_t segment = 0; segment < steps_.size(); ++segment) {
        for (size_t i = 0; i < rows; ++i) {
          lhs.push_back(rows_[segment * pixels_ + first + i]->data());
        }
      }
      for (size_t column = 0; column < channels_; column += kernel.nr) {
        GemmF32Tile tile = {};
        tile.rows = rows;
        tile.cols = std::min(kernel.nr, channels_ - column);
        tile.segments = steps_.size();
        tile.steps = steps_.data();
        tile.lhs = lhs.data();
        tile.panel =
            reinterpret_cast<const float*>(packed_->data() + column / kernel.nr * panel_bytes);
        tile.out = out.data() + first * stride_ + column;
        tile.out_stride = stride_;
        if (use_residual) {
          tile.residual = in_place ? tile.out : residual_->data() + first * stride_ + column;
        }
        tile.residual_stride = stride_;
        tile.lo = lo;
        tile.hi = hi;
        kernel.run(tile);
      }
    }
  }

  void check(const GemmF32Kernel& kernel, bool in_place = false) {
    GuardedBuffer<float> out(residual_->size());
    if (in_place) std::copy_n(residual_->data(), out.size(), out.data());
    const std::vector<float> before(out.data(), out.data() + out.size());
    run(kernel, kernel.mr, out, in_place);
    for (size_t at = 0; at < out.size(); ++at) {
      const size_t i = at / stride_;
      const size_t j = at % stride_;
      if (j >= channels_) {
        ASSERT_EQ(std::memcmp(&out[at], &before[at], sizeof(float)), 0) << "gap of row " << i;
      } else {
        ASSERT_NO_FATAL_FAILURE(check_output(kernel, i, j, out[at]));
      }
    }
  }

  bool use_residual = false;
  float lo = -kInfinity;
  float hi = kInfinity;

 private:
  static void fill(GuardedBuffer<float>& values, Random& random) {
    for (size_t i = 0; i < values.size(); ++i) values[i] = random.uniform_float(-1, 1);
  }

  // n + 2 roundings, each of at most half an ulp of a partial sum, which is at most `magnitude`.
  void check_output(const GemmF32Kernel& kernel, size_t i, size_t j, float value) {
    double sum = with_bias_ ? bias_[j] : 0.0;
    double magnitude = std::abs(sum);
    const float* w = weights_.data() + j * depth_;
    for (size_t segment = 0; segment < steps_.size(); ++segment) {
      for (size_t k = 0; k < steps_[segment]; ++k, ++w) {
        const double product = static_cast<double>(input(segment, i, k)) * *w;
        sum += product;
        magnitude += std::abs(product);
      }
    }
    if (use_residual) {
      const double residual = (*residual_)[i * stride_ + j];
      sum += residual;
      magnitude += std::abs(residual);
    }
    const double expected = std::clamp<double>(sum, lo, hi);
    const double bound = magnitude * static_cast<double>(2 * depth_ + 2) * 0x1p-24;
    ASSERT_NEAR(value, expected, bound)
        << kernel.name << ", output " << i << ", " << j << " of " << pixels_ << "x" << channels_
        << ", depth " << depth_ << " in " << steps_.size() << " segments";
    ASSERT_GE(value, lo);
    ASSERT_LE(value, hi);
  }

  size_t pixels_;
  size_t channels_;
  std::vector<uint32_t> steps_;
  size_t depth_;
  size_t stride_;
  bool with_bias_ = false;
  std::vector<std::unique_ptr<GuardedBuffer<float>>> rows_;  // [segment][pixel]
  std::unique_ptr<GuardedBuffer<float>> residual_;
  std::vector<float> weights_;
  std::vector<float> bias_;
  std::optional<GuardedBuffer<std::byte>> packed_;
};

class GemmF32KernelTest : public ::testing::TestWithParam<Candidate> {
 protected:
  void SetUp() override {
    if (!isa_supported(GetParam().isa)) GTEST_SKIP() << "this CPU cannot run it";
  }
  static const GemmF32Kernel& kernel() { return *GetParam().kernel; }
};

TEST_P(GemmF32KernelTest, EveryTileSize) {
  Random random;
  for (size_t rows = 1; rows <= kernel().mr; ++rows) {
    for (size_t cols = 1; cols <= kernel().nr; ++cols) {
      const auto depth = static_cast<uint32_t>(random.uniform(1, 20));
      Matrix matrix(rows, cols, {depth}, random);
      matrix.pack(kernel(), true);
      ASSERT_NO_FATAL_FAILURE(matrix.check(kernel()));
      matrix.use_residual = true;
      ASSERT_NO_FATAL_FAILURE(matrix.check(kernel()));
    }
  }
}

TEST_P(GemmF32KernelTest, EveryDepth) {
  Random random;
  for (uint32_t depth = 1; depth <= 40; ++depth) {
    Matrix matrix(kernel().mr + 1, kernel().nr + 1, {depth}, random);
    matrix.pack(kernel(), depth % 2 == 0);
    ASSERT_NO_FATAL_FAILURE(matrix.check(kernel()));
  }
  for (uint32_t depth : {127, 128, 129, 511, 1000}) {
    Matrix matrix(kernel().mr, kernel().nr, {depth}, random);
    matrix.pack(kernel(), true);
    ASSERT_NO_FATAL_FAILURE(matrix.check(kernel()));
  }
}

TEST_P(GemmF32KernelTest, Segments) {
  Random random;
  for (int repeat = 0; repeat < 40; ++repeat) {
    std::vector<uint32_t> steps(static_cast<size_t>(random.uniform(1, 12)));
    for (uint32_t& count : steps) count = static_cast<uint32_t>(random.uniform(1, 19));
    Matrix matrix(static_cast<size_t>(random.uniform(1, 20)),
                  static_cast<size_t>(random.uniform(1, 70)), steps, random);
    matrix.use_residual = random.one_in(3);
    matrix.pack(kernel(), random.one_in(2));
    ASSERT_NO_FATAL_FAILURE(matrix.check(kernel()));
  }
}

TEST_P(GemmF32KernelTest, ClampAndResidualInPlace) {
  Random random;
  for (int repeat = 0; repeat < 20; ++repeat) {
    Matrix matrix(kernel().mr + 2, kernel().nr + 3, {7}, random);
    matrix.lo = random.uniform_float(-2, 0.5f);
    matrix.hi = matrix.lo + (random.one_in(3) ? 0.0f : random.uniform_float(0, 2));
    matrix.use_residual = true;
    matrix.pack(kernel(), true);
    ASSERT_NO_FATAL_FAILURE(matrix.check(kernel(), /*in_place=*/true));
  }
}

// Small integers: every sum is exact, so every kernel must give it.
TEST_P(GemmF32KernelTest, IntegersAreExact) {
  Random random;
  constexpr uint32_t kDepth = 300;
  const size_t pixels = kernel().mr;
  const size_t channels = kernel().nr;
  std::vector<float> lhs(pixels * kDepth);
  std::vector<float> weights(channels * kDepth);
  for (float& v : lhs) v = static_cast<float>(random.uniform(-50, 50));
  for (float& v : weights) v = static_cast<float>(random.uniform(-50, 50));
  const GemmF32PackInput input = {channels, kDepth, weights.data(), nullptr};
  GuardedBuffer<std::byte> packed(gemm_f32_packed_bytes(kernel(), input));
  gemm_f32_pack(kernel(), input, packed.data());
  std::vector<const float*> rows;
  for (size_t i = 0; i < pixels; ++i) rows.push_back(lhs.data() + i * kDepth);
  std::vector<float> out(pixels * channels);
  kernel().run({pixels, channels, 1, &kDepth, rows.data(),
                reinterpret_cast<const float*>(packed.data()), out.data(), channels, nullptr, 0,
                -kInfinity, kInfinity});
  for (size_t i = 0; i < pixels; ++i) {
    for (size_t j = 0; j < channels; ++j) {
      int64_t sum = 0;
      for (size_t k = 0; k < kDepth; ++k) {
        sum += static_cast<int64_t>(lhs[i * kDepth + k]) *
               static_cast<int64_t>(weights[j * kDepth + k]);
      }
      ASSERT_EQ(out[i * channels + j], static_cast<float>(sum)) << kernel().name;
    }
  }
}

// The bits of a pixel do not depend on the tile that it falls into.
TEST_P(GemmF32KernelTest, TilesDoNotMatter) {
  Random random;
  Matrix matrix(3 * kernel().mr + 1, kernel().nr + kernel().nr / 2 + 1, {33, 64, 5}, random);
  matrix.use_residual = true;
  matrix.pack(kernel(), true);
  const size_t size = matrix.pixels() * (kernel().nr * 2 + 4);
  GuardedBuffer<float> whole(size);
  matrix.run(kernel(), kernel().mr, whole, false);
  for (size_t mr = 1; mr < kernel().mr; ++mr) {
    GuardedBuffer<float> pieces(size);
    matrix.run(kernel(), mr, pieces, false);
    ASSERT_EQ(std::memcmp(whole.data(), pieces.data(), size * sizeof(float)), 0)
        << kernel().name << " in tiles of " << mr << " rows";
  }
}

TEST_P(GemmF32KernelTest, NanAndInfinityPassThrough) {
  Random random;
  for (size_t cols : {size_t{1}, kernel().nr}) {
    Matrix matrix(2, cols, {5}, random);
    matrix.pack(kernel(), true);
    matrix.input(0, 0, 2) = std::numeric_limits<float>::quiet_NaN();
    GuardedBuffer<float> out(2 * cols + 8);
    matrix.lo = 0;
    matrix.hi = 6;
    matrix.run(kernel(), 2, out, false);
    for (size_t j = 0; j < cols; ++j) EXPECT_TRUE(std::isnan(out[j])) << kernel().name;
    matrix.input(0, 0, 2) = kInfinity;
    matrix.run(kernel(), 2, out, false);
    for (size_t j = 0; j < cols; ++j) EXPECT_TRUE(out[j] == 0 || out[j] == 6) << kernel().name;
  }
}

TEST(GemmF32PackTest, LayoutOfAPanel) {
  const GemmF32Kernel kernel = {"", 1, 4, nullptr};
  std::vector<float> weights(6 * 3);
  std::iota(weights.begin(), weights.end(), 1.0f);
  const float bias[] = {-1, -2, -3, -4, -5, -6};
  const GemmF32PackInput input = {6, 3, weights.data(), bias};
  EXPECT_EQ(gemm_f32_panel_bytes(kernel, 3), 64u);
  ASSERT_EQ(gemm_f32_packed_bytes(kernel, input), 128u);
  std::vector<float> packed(32, 99.0f);
  gemm_f32_pack(kernel, input, packed.data());
  const std::vector<float> expected = {-1, -2, -3, -4, 1,  4,  7, 10, 2,  5,  8, 11, 3,  6,  9, 12,
                                       -5, -6, 0,  0,  13, 16, 0, 0,  14, 17, 0, 0,  15, 18, 0, 0};
  EXPECT_EQ(packed, expected);
}

std::string name_of(const ::testing::TestParamInfo<Candidate>& info) {
  return info.param.kernel->name;
}

INSTANTIATE_TEST_SUITE_P(Kernels, GemmF32KernelTest, ::testing::ValuesIn(kCandidates), name_of);

}  // namespace
}  // namespace wbcq
