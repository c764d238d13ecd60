// One call of a depthwise kernel: random operands in buffers that end at unreadable pages, and the
// result computed another way than csrc does.
#ifndef WBCQ_TESTS_KERNELS_DWCONV_DWCONV_CASE_H_
#define WBCQ_TESTS_KERNELS_DWCONV_DWCONV_CASE_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "kernels/dwconv/dwconv.h"
#include "kernels/dwconv/pack.h"
#include "support/expected.h"
#include "support/guarded_buffer.h"
#include "support/random.h"

namespace wbcq::testing {

struct DwconvShape {
  DwconvGeometry geometry;
  size_t channels;
  size_t width;            // outputs
  size_t in_width;         // the picture's columns; 0: as many as the outputs reach
  ptrdiff_t first_column;  // negative: left padding
  size_t height = 1;       // output rows
  size_t row_step = 1;     // input rows between them

  // Columns from the first tap of the first output to the last tap of the last one.
  size_t reach() const {
    return (width - 1) * geometry.stride_w + (geometry.kernel_w - 1) * geometry.dilation_w + 1;
  }
};

inline std::ostream& operator<<(std::ostream& os, const DwconvShape& shape) {
  const DwconvGeometry& g = shape.geometry;
  return os << g.kernel_h << "x" << g.kernel_w << " stride " << g.stride_w << " dilation "
            << g.dilation_w << ", " << shape.channels << " channels, " << shape.height << " rows "
            << shape.row_step << " apart of " << shape.width << " outputs from column "
            << shape.first_column << " of " << shape.in_width;
}

class DwconvCase {
 public:
  DwconvCase(const DwconvShape& shape, Random& random) : shape_(shape), random_(random) {
    if (shape_.in_width == 0) {
      const auto end = static_cast<ptrdiff_t>(shape_.reach()) + shape_.first_column;
      shape_.in_width = static_cast<size_t>(std::max<ptrdiff_t>(end, 1));
    }
    const DwconvGeometry& g = shape_.geometry;
    pixel_stride_ = shape_.channels + static_cast<size_t>(random.uniform(0, 3));
    out_stride_ = shape_.channels + static_cast<size_t>(random.uniform(0, 3));
    residual_stride_ = shape_.channels + static_cast<size_t>(random.uniform(0, 3));
    zero_point = static_cast<int32_t>(random.uniform(0, 255));
    in_zero_point = static_cast<int32_t>(random.uniform(0, 255));
    out_row_stride_ = shape_.width * out_stride_ + static_cast<size_t>(random.uniform(0, 99));
    for (size_t i = 0; i < (shape_.height - 1) * shape_.row_step + g.kernel_h; ++i) {
      rows_.push_back(buffer(shape_.in_width, pixel_stride_));
      fill_bytes(*rows_.back(), 0, 255);
    }
    residual_ = buffer(shape_.width, residual_stride_);
    fill_bytes(*residual_, 0, 255);
    const size_t taps = g.kernel_h * g.kernel_w;
    weights.resize(shape_.channels * taps);
    for (int8_t& w : weights) w = static_cast<int8_t>(random.uniform(-127, 127));
    bias.resize(shape_.channels);
    for (int32_t& b : bias) b = static_cast<int32_t>(random.uniform(-20000, 20000));
    // About as many results inside [0, 255] as clamped.
    const float scale = 150.0f / (127.0f * 127.0f * std::sqrt(static_cast<float>(taps)));
    multipliers.resize(shape_.channels);
    for (float& m : multipliers) m = random.uniform_float(0.3f, 2.0f) * scale;
    float_bias.resize(shape_.channels);
    for (float& b : float_bias) b = random.uniform_float(-3, 3);
  }

  // Sets every input byte, and every weight.
  void set_inputs(int value) {
    for (auto& row : rows_) fill_bytes(*row, value, value);
  }
  void set_weights(int value) {
    std::fill(weights.begin(), weights.end(), static_cast<int8_t>(value));
  }
  // Inputs and weights from the ends of their ranges only.
  void set_extremes() {
    for (auto& row : rows_) {
      for (size_t i = 0; i < row->size(); ++i) (*row)[i] = random_.one_in(2) ? 0 : 255;
    }
    for (int8_t& w : weights) w = static_cast<int8_t>(random_.one_in(2) ? -127 : 127);
  }

  void check_u8(const DwconvKernel& kernel) {
    GuardedBuffer<uint8_t> out(out_elements());
    const std::vector<uint8_t> expected = expected_bytes(out);
    pack(kernel);
    run(kernel.run_u8, out.data(), out_stride_, 0, shape_.width, 0, shape_.channels, 0);
    compare(out, expected, kernel.name);
  }

  void check_f32(const DwconvKernel& kernel) {
    GuardedBuffer<float> out(out_elements());
    std::vector<float> expected(out.data(), out.data() + out.size());
    for (size_t x = 0; x < shape_.width; ++x) {
      for (size_t c = 0; c < shape_.channels; ++c) {
        const float product = expected_product(static_cast<float>(sum(0, x, c)), multipliers[c]);
        expected[x * out_stride_ + c] = expected_sum(product, float_bias[c]);
      }
    }
    pack(kernel);
    run(kernel.run_f32, out.data(), out_stride_ * sizeof(float), 0, shape_.width, 0,
        shape_.channels, 0);
    compare(out, expected, kernel.name);
  }

  // The row in pieces, outputs and channel groups apart, gives what one call gives.
  void check_pieces(const DwconvKernel& kernel) {
    GuardedBuffer<uint8_t> out(out_elements());
    const std::vector<uint8_t> expected = expected_bytes(out);
    pack(kernel);
    const size_t group_bytes = dwconv_group_bytes(kernel.layout, shape_.geometry);
    const size_t block = kernel.layout.block();
    for (size_t group = 0; group * block < shape_.channels;) {
      const auto groups = static_cast<size_t>(random_.uniform(1, 2));
      const size_t first = group * block;
      const size_t channels = std::min(groups * block, shape_.channels - first);
      for (size_t x = 0; x < shape_.width;) {
        const size_t width = std::min<size_t>(random_.uniform(1, 5), shape_.width - x);
        run(kernel.run_u8, out.data() + x * out_stride_ + first, out_stride_, x, width, first,
            channels, group * group_bytes);
        x += width;
      }
      group += groups;
    }
    compare(out, expected, kernel.name);
  }

  bool use_residual = false;
  float residual_multiplier = 0.7f;
  int32_t residual_zero_point = 13;
  int32_t in_zero_point;
  int32_t zero_point;
  int32_t lo = 0;
  int32_t hi = 255;
  std::vector<int8_t> weights;  // [channels][kernel_h][kernel_w]
  std::vector<int32_t> bias;
  std::vector<float> multipliers;
  std::vector<float> float_bias;

 private:
  // `pixels` pixels, the last one without its gap, so that its last channel ends at the page.
  std::unique_ptr<GuardedBuffer<uint8_t>> buffer(size_t pixels, size_t stride) const {
    return std::make_unique<GuardedBuffer<uint8_t>>((pixels - 1) * stride + shape_.channels);
  }
  void fill_bytes(GuardedBuffer<uint8_t>& bytes, int lo_value, int hi_value) {
    for (size_t i = 0; i < bytes.size(); ++i) {
      bytes[i] = static_cast<uint8_t>(random_.uniform(lo_value, hi_value));
    }
  }

  size_t out_elements() const {
    return (shape_.height - 1) * out_row_stride_ + (shape_.width - 1) * out_stride_ +
           shape_.channels;
  }
  std::vector<uint8_t> expected_bytes(GuardedBuffer<uint8_t>& out) {
    std::vector<uint8_t> expected(out.data(), out.data() + out.size());
    for (size_t y = 0; y < shape_.height; ++y) {
      for (size_t x = 0; x < shape_.width; ++x) {
        for (size_t c = 0; c < shape_.channels; ++c) {
          expected[y * out_row_stride_ + x * out_stride_ + c] = expected_u8(y, x, c);
        }
      }
    }
    return expected;
  }

  // (in - z) * w summed up as real numbers would be: nothing is folded.
  int64_t sum(size_t y, size_t x, size_t c) {
    const DwconvGeometry& g = shape_.geometry;
    int64_t total = bias[c];
    for (size_t ky = 0; ky < g.kernel_h; ++ky) {
      for (size_t kx = 0; kx < g.kernel_w; ++kx) {
        const ptrdiff_t column =
            shape_.first_column + static_cast<ptrdiff_t>(x * g.stride_w + kx * g.dilation_w);
        if (column < 0 || column >= static_cast<ptrdiff_t>(shape_.in_width)) continue;
        const int64_t value =
            (*rows_[y * shape_.row_step + ky])[static_cast<size_t>(column) * pixel_stride_ + c];
        total += (value - in_zero_point) * weights[(c * g.kernel_h + ky) * g.kernel_w + kx];
      }
    }
    return total;
  }

  uint8_t expected_u8(size_t y, size_t x, size_t c) {
    float value = expected_product(static_cast<float>(sum(y, x, c)), multipliers[c]);
    if (use_residual) {
      const int32_t residual = (*residual_)[x * residual_stride_ + c] - residual_zero_point;
      value =
          expected_sum(value, expected_product(static_cast<float>(residual), residual_multiplier));
    }
    return expected_round_clamp(value, zero_point, lo, hi);
  }

  void pack(const DwconvKernel& kernel) {
    const DwconvPackInput input = {shape_.geometry,  shape_.channels, in_zero_point,
                                   weights.data(),   bias.data(),     multipliers.data(),
                                   float_bias.data()};
    packed_.emplace(dwconv_packed_bytes(kernel.layout, input));
    dwconv_pack(kernel.layout, input, packed_->data());
  }

  void run(DwconvRowFn fn, void* out, size_t out_stride_bytes, size_t first_x, size_t width,
           size_t first_channel, size_t channels, size_t packed_offset) {
    const DwconvGeometry& g = shape_.geometry;
    const ptrdiff_t end = shape_.first_column + static_cast<ptrdiff_t>(shape_.reach());
    const bool padded = shape_.first_column < 0 || end > static_cast<ptrdiff_t>(shape_.in_width);
    // Where there is no padding its value must not matter.
    GuardedBuffer<uint8_t> padding(channels);
    const int32_t padding_value = padded ? in_zero_point : in_zero_point ^ 0x55;
    fill_bytes(padding, padding_value, padding_value);
    std::vector<const uint8_t*> rows;
    for (auto& row : rows_) rows.push_back(row->data() + first_channel);
    const ptrdiff_t first_column =
        shape_.first_column + static_cast<ptrdiff_t>(first_x * g.stride_w);
    DwconvRow row = {};
    row.geometry = g;
    row.width = width;
    row.height = shape_.height;
    row.row_step = shape_.row_step;
    row.channels = channels;
    row.rows = rows.data();
    row.in_width = shape_.in_width;
    row.pixel_stride = pixel_stride_;
    row.first_column = first_column;
    row.padding = padding.data();
    row.packed = packed_->data() + packed_offset;
    row.out = out;
    row.out_stride = out_stride_bytes;
    row.out_row_stride = out_row_stride_;
    if (use_residual) {
      row.residual = residual_->data() + first_x * residual_stride_ + first_channel;
    }
    row.residual_stride = residual_stride_;
    row.residual_multiplier = residual_multiplier;
    row.residual_zero_point = residual_zero_point;
    row.zero_point = zero_point;
    row.lo = lo;
    row.hi = hi;
    fn(row);
  }

  template <typename T>
  void compare(GuardedBuffer<T>& out, const std::vector<T>& expected, const char* name) {
    for (size_t i = 0; i < expected.size(); ++i) {
      // As bits: the untouched gaps of a float output need not be numbers.
      ASSERT_EQ(std::memcmp(&out[i], &expected[i], sizeof(T)), 0)
          << name << ", " << shape_ << ": output " << i % out_row_stride_ / out_stride_
          << " of row " << i / out_row_stride_ << ", channel " << i % out_row_stride_ % out_stride_
          << " is " << +out[i] << ", expected " << +expected[i] << "; zero points " << in_zero_point
          << " and " << zero_point << ", clamp " << lo << " to " << hi
          << (use_residual ? ", with residual" : "");
    }
  }

  DwconvShape shape_;
  Random& random_;
  size_t pixel_stride_;
  size_t out_stride_;
  size_t out_row_stride_;
  size_t residual_stride_;
  std::vector<std::unique_ptr<GuardedBuffer<uint8_t>>> rows_;
  std::unique_ptr<GuardedBuffer<uint8_t>> residual_;
  std::optional<GuardedBuffer<std::byte>> packed_;
};

}  // namespace wbcq::testing

#endif  // WBCQ_TESTS_KERNELS_DWCONV_DWCONV_CASE_H_
