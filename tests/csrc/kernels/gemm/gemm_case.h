// One tile of an indirect GEMM with random or chosen data, computed a second time in int64 and
// double.
#ifndef WBCQ_TESTS_KERNELS_GEMM_GEMM_CASE_H_
#define WBCQ_TESTS_KERNELS_GEMM_GEMM_CASE_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "kernels/gemm/gemm.h"
#include "kernels/gemm/pack.h"
#include "support/expected.h"
#include "support/guarded_buffer.h"
#include "support/random.h"

namespace wbcq::testing {

enum class Residual { kNone, kSeparate, kInPlace };

// Where a value is empty it is drawn at random.
struct GemmCase {
  size_t tiles = 1;
  size_t rows = 1;  // of each tile
  size_t cols = 1;
  size_t taps = 1;
  std::vector<uint32_t> slices = {4};
  std::vector<int32_t> zero_points = {};  // one for each slice
  std::vector<uint8_t> activations = {};  // repeated over all positions
  std::vector<int8_t> weights = {};       // repeated over all positions
  std::vector<int32_t> bias = {};         // repeated over the columns
  std::vector<float> multipliers = {};    // repeated over the columns
  Residual residual = Residual::kNone;
  std::vector<uint8_t> shortcut = {};  // the residual's values, repeated over each row
  float residual_multiplier = 0.5f;
  int32_t residual_zero_point = 0;
  int32_t zero_point = 128;
  int32_t lo = 0;
  int32_t hi = 255;
  size_t channel_offset = 0;
  bool prefetch = false;
  size_t panel = 0;  // computes this panel of panel + 1

  size_t all_rows() const { return tiles * rows; }
  std::string describe() const;
};

inline constexpr uint8_t kCanary = 0xA5;  // what GuardedBuffer fills with
inline constexpr size_t kFront = 64;      // bytes before the output that must stay as they are

template <typename T>
T pick(const std::vector<T>& values, size_t i, T otherwise) {
  return values.empty() ? otherwise : values[i % values.size()];
}

// The data of a case, in the shapes of the contract.
class Problem {
 public:
  Problem(const GemmKernel& kernel, const GemmCase& c, Random& random)
      : kernel_(kernel), c_(c), first_(c.panel * kernel.nr), channels_(first_ + c.cols) {
    for (size_t s = 0; s < c.slices.size(); ++s) {
      zero_points_.push_back(pick(c.zero_points, s, static_cast<int32_t>(random.uniform(0, 255))));
    }
    depth_ = c.taps * std::accumulate(c.slices.begin(), c.slices.end(), size_t{0});
    weights_.resize(channels_ * depth_);
    for (size_t i = 0; i < weights_.size(); ++i) {
      weights_[i] = pick(c.weights, i, static_cast<int8_t>(random.uniform(-127, 127)));
    }
    for (size_t j = 0; j < channels_; ++j) {
      bias_.push_back(pick(c.bias, j, static_cast<int32_t>(random.uniform(-5000, 5000))));
      const double spread = 64.0 * 74.0 * std::sqrt(static_cast<double>(depth_));
      const float scale = random.uniform_float(0.2f, 4.0f) * static_cast<float>(64.0 / spread);
      multipliers_.push_back(pick(c.multipliers, j, scale));
      float_bias_.push_back(random.uniform_float(-3.0f, 3.0f));
    }
    fill_lhs(random);
    fill_panel();
  }

  size_t segments() const { return c_.taps * c_.slices.size(); }

  // Sum over all positions of (a - zero_point) * w, plus the bias, as the contract means it.
  int64_t accumulator(size_t row, size_t col) const {
    const int8_t* w = weights_.data() + (first_ + col) * depth_;
    int64_t sum = bias_[first_ + col];
    for (size_t s = 0; s < segments(); ++s) {
      const size_t slice = s % c_.slices.size();
      const uint8_t* a = lhs_of(row / c_.rows)[s * c_.rows + row % c_.rows] + c_.channel_offset;
      for (size_t k = 0; k < c_.slices[slice]; ++k) {
        sum += (int64_t{a[k]} - zero_points_[slice]) * *w++;
      }
    }
    EXPECT_EQ(sum, static_cast<int32_t>(sum)) << "the case itself overflows int32";
    return sum;
  }

  float multiplier(size_t col) const { return multipliers_[first_ + col]; }
  float float_bias(size_t col) const { return float_bias_[first_ + col]; }

  GemmTile tile() {
    GemmTile tile = {};
    tile.tiles = c_.tiles;
    tile.rows = c_.rows;
    tile.cols = c_.cols;
    tile.segments = segments();
    tile.steps = steps_.data();
    tile.lhs = pointers_.data();
    tile.lhs_tile_stride = lhs_tile_stride();
    tile.channel_offset = c_.channel_offset;
    tile.panel = packed_->data() + c_.panel * panel_bytes_;
    if (c_.prefetch) {
      tile.prefetch = packed_->data();
      tile.prefetch_end = packed_->data() + panel_bytes_;
    }
    tile.residual_multiplier = c_.residual_multiplier;
    tile.residual_zero_point = c_.residual_zero_point;
    tile.zero_point = c_.zero_point;
    tile.lo = c_.lo;
    tile.hi = c_.hi;
    return tile;
  }

 private:
  // Pointers between the tiles' are garbage.
  size_t lhs_tile_stride() const { return segments() * c_.rows + c_.tiles % 3; }
  const uint8_t* const* lhs_of(size_t tile) const {
    return pointers_.data() + tile * lhs_tile_stride();
  }

  // The rows lie in random order with gaps, so that none is aligned, and the last one's slack ends
  // at the guard page. Slack bytes hold other rows or rubbish: they must not matter.
  void fill_lhs(Random& random) {
    std::vector<size_t> order(c_.tiles * lhs_tile_stride());
    std::iota(order.begin(), order.end(), size_t{0});
    std::shuffle(order.begin(), order.end(), random.engine());
    std::vector<size_t> offsets(order.size());
    size_t size = c_.channel_offset;
    for (size_t index : order) {
      size += static_cast<size_t>(random.uniform(0, 3));
      offsets[index] = size;
      const size_t channels = c_.slices[index % lhs_tile_stride() / c_.rows % c_.slices.size()];
      size += (channels + kernel_.kr - 1) / kernel_.kr * kernel_.kr;
    }
    lhs_.emplace(size);
    for (size_t i = 0; i < size; ++i) {
      (*lhs_)[i] = pick(c_.activations, i, static_cast<uint8_t>(random.uniform(0, 255)));
    }
    for (size_t offset : offsets) pointers_.push_back(lhs_->data() + offset - c_.channel_offset);
    for (size_t s = 0; s < segments(); ++s) {
      const size_t channels = c_.slices[s % c_.slices.size()];
      steps_.push_back(static_cast<uint32_t>((channels + kernel_.kr - 1) / kernel_.kr));
    }
  }

  void fill_panel() {
    GemmPackInput input = {};
    input.out_channels = channels_;
    input.taps = c_.taps;
    input.slices = c_.slices;
    input.zero_points = zero_points_;
    input.weights = weights_.data();
    input.bias = bias_.data();
    input.multipliers = multipliers_.data();
    input.float_bias = float_bias_.data();
    packed_.emplace(gemm_packed_bytes(kernel_, input));
    gemm_pack(kernel_, input, packed_->data());
    panel_bytes_ = gemm_panel_bytes(kernel_, gemm_total_steps(kernel_.kr, c_.taps, input.slices));
  }

  const GemmKernel& kernel_;
  const GemmCase& c_;
  size_t first_;
  size_t channels_;
  size_t depth_ = 0;
  size_t panel_bytes_ = 0;
  std::vector<int32_t> zero_points_;
  std::vector<int8_t> weights_;
  std::vector<int32_t> bias_;
  std::vector<float> multipliers_;
  std::vector<float> float_bias_;
  std::optional<GuardedBuffer<uint8_t>> lhs_;
  std::optional<GuardedBuffer<std::byte>> packed_;
  std::vector<const uint8_t*> pointers_;
  std::vector<uint32_t> steps_;
};

// Bytes that no row covers: before the first, and between cols and the stride.
inline void check_untouched(GuardedBuffer<uint8_t>& out, const GemmCase& c, size_t row_bytes,
                            size_t stride) {
  for (size_t i = 0; i < kFront; ++i) ASSERT_EQ(out[i], kCanary) << "byte " << i << " in front";
  for (size_t i = 0; i + 1 < c.all_rows(); ++i) {
    for (size_t j = row_bytes; j < stride; ++j) {
      ASSERT_EQ(out[kFront + i * stride + j], kCanary) << "row " << i << ", byte " << j;
    }
  }
}

inline std::string GemmCase::describe() const {
  std::ostringstream text;
  text << tiles << " tiles of " << rows << "x" << cols << ", " << taps << " taps, slices";
  for (uint32_t channels : slices) text << " " << channels;
  text << ", residual " << static_cast<int>(residual) << ", zero point " << zero_point << ", ["
       << lo << ", " << hi << "], channel offset " << channel_offset << ", panel " << panel;
  return text.str();
}

// Runs kernel.run_u8 on buffers that end at a guard page and compares every output, and every byte
// between the rows, with the contract of gemm.h.
inline void check_u8(const GemmKernel& kernel, const GemmCase& c, Random& random) {
  SCOPED_TRACE(std::string(kernel.name) + ": " + c.describe());
  Problem problem(kernel, c, random);
  GemmTile tile = problem.tile();
  tile.out_stride = c.cols + static_cast<size_t>(random.uniform(0, 5));
  tile.residual_stride = c.cols + static_cast<size_t>(random.uniform(0, 5));
  GuardedBuffer<uint8_t> out(kFront + (c.all_rows() - 1) * tile.out_stride + c.cols);
  GuardedBuffer<uint8_t> residual((c.all_rows() - 1) * tile.residual_stride + c.cols);
  tile.out = out.data() + kFront;
  std::vector<std::vector<uint8_t>> shortcut(c.all_rows(), std::vector<uint8_t>(c.cols));
  for (size_t i = 0; i < c.all_rows(); ++i) {
    for (size_t j = 0; j < c.cols; ++j) {
      shortcut[i][j] = pick(c.shortcut, j, static_cast<uint8_t>(random.uniform(0, 255)));
    }
    std::copy(shortcut[i].begin(), shortcut[i].end(), residual.data() + i * tile.residual_stride);
  }
  if (c.residual == Residual::kSeparate) tile.residual = residual.data();
  if (c.residual == Residual::kInPlace) {
    tile.residual = out.data() + kFront;
    tile.residual_stride = tile.out_stride;
    for (size_t i = 0; i < c.all_rows(); ++i) {
      std::copy(shortcut[i].begin(), shortcut[i].end(), out.data() + kFront + i * tile.out_stride);
    }
  }

  std::vector<float> values;
  for (size_t i = 0; i < c.all_rows(); ++i) {
    for (size_t j = 0; j < c.cols; ++j) {
      const auto acc = static_cast<float>(problem.accumulator(i, j));
      float value = expected_product(acc, problem.multiplier(j));
      if (c.residual != Residual::kNone) {
        const auto centred = static_cast<float>(shortcut[i][j] - c.residual_zero_point);
        value = expected_sum(value, expected_product(centred, c.residual_multiplier));
      }
      values.push_back(value);
      tile.wide = tile.wide || std::abs(value) >= 0x1p31f;
    }
  }
  tile.wide = tile.wide || random.one_in(8);

  kernel.run_u8(tile);

  for (size_t i = 0; i < c.all_rows(); ++i) {
    for (size_t j = 0; j < c.cols; ++j) {
      const float value = values[i * c.cols + j];
      ASSERT_EQ(out[kFront + i * tile.out_stride + j],
                expected_round_clamp(value, c.zero_point, c.lo, c.hi))
          << "row " << i << ", column " << j << ", value " << value << ", wide " << tile.wide;
    }
  }
  check_untouched(out, c, c.cols, tile.out_stride);
}

// The same for kernel.run_f32.
inline void check_f32(const GemmKernel& kernel, const GemmCase& c, Random& random) {
  SCOPED_TRACE(std::string(kernel.name) + " f32: " + c.describe());
  Problem problem(kernel, c, random);
  GemmTile tile = problem.tile();
  tile.out_stride = (c.cols + static_cast<size_t>(random.uniform(0, 5))) * sizeof(float);
  const size_t row_bytes = c.cols * sizeof(float);
  GuardedBuffer<uint8_t> out(kFront + (c.all_rows() - 1) * tile.out_stride + row_bytes);
  tile.out = out.data() + kFront;

  kernel.run_f32(tile);

  for (size_t i = 0; i < c.all_rows(); ++i) {
    for (size_t j = 0; j < c.cols; ++j) {
      const int64_t acc = problem.accumulator(i, j);
      const float product = expected_product(static_cast<float>(acc), problem.multiplier(j));
      const float expected = expected_sum(product, problem.float_bias(j));
      float actual;
      std::memcpy(&actual, out.data() + kFront + i * tile.out_stride + j * sizeof(float),
                  sizeof(float));
      ASSERT_EQ(std::bit_cast<uint32_t>(actual), std::bit_cast<uint32_t>(expected))
          << "row " << i << ", column " << j << ", accumulator " << acc << ": " << actual
          << " instead of " << expected;
    }
  }
  check_untouched(out, c, row_bytes, tile.out_stride);
}

}  // namespace wbcq::testing

#endif  // WBCQ_TESTS_KERNELS_GEMM_GEMM_CASE_H_
