// A group of tiles and one panel with random or chosen data, convolved directly in int64.
#ifndef WBCQ_TESTS_KERNELS_WINOGRAD_WINOGRAD_CASE_H_
#define WBCQ_TESTS_KERNELS_WINOGRAD_WINOGRAD_CASE_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <span>
#include <sstream>
#include <string>
#include <vector>

#include "base/checked.h"
#include "kernels/gemm/pack.h"
#include "kernels/winograd/pack.h"
#include "kernels/winograd/winograd.h"
#include "support/expected.h"
#include "support/guarded_buffer.h"
#include "support/random.h"

namespace wbcq::testing {

enum class Residual { kNone, kSeparate, kInPlace };

// Where a function is empty its values are drawn at random.
struct WinogradCase {
  size_t tiles = 1;
  size_t channels = 1;
  size_t cols = 1;
  size_t panel = 0;                       // computes this panel of panel + 1
  size_t positions = kWinogradPositions;  // of each call of multiply()
  Residual residual = Residual::kNone;
  int32_t input_zero_point = 3;
  int32_t zero_point = 128;
  int32_t lo = 0;
  int32_t hi = 255;
  std::function<uint8_t(size_t y, size_t x)> activation = {};
  std::function<int8_t(size_t y, size_t x)> weight = {};

  std::string describe() const {
    std::ostringstream text;
    text << tiles << " tiles, " << channels << " -> " << cols << " channels of panel " << panel
         << ", residual " << static_cast<int>(residual) << ", zero points " << input_zero_point
         << " and " << zero_point << ", [" << lo << ", " << hi << "]";
    return text.str();
  }
};

class WinogradProblem {
 public:
  WinogradProblem(const WinogradKernel& kernel, const WinogradCase& c, Random& random)
      : kernel_(kernel),
        c_(c),
        random_(random),
        first_(c.panel * kernel.nr),
        filters_((first_ + c.cols) * 9 * c.channels),
        pixels_(kWinogradPositions * c.tiles) {
    const size_t outputs = first_ + c.cols;
    for (size_t i = 0; i < filters_.size(); ++i) {
      const size_t tap = i / c.channels % 9;
      filters_[i] =
          c.weight ? c.weight(tap / 3, tap % 3) : static_cast<int8_t>(random.uniform(-127, 127));
    }
    // Most outputs lie inside 0..255.
    const double spread = 74.0 * 64.0 * std::sqrt(9.0 * static_cast<double>(c.channels));
    for (size_t o = 0; o < outputs; ++o) {
      bias_.push_back(static_cast<int32_t>(random.uniform(-5000, 5000)));
      multipliers_.push_back(random.uniform_float(0.2f, 4.0f) * static_cast<float>(64.0 / spread));
    }
    for (size_t i = 0; i < pixels_.size(); ++i) {
      const size_t position = i / c.tiles;
      std::vector<uint8_t>& pixel = data_.emplace_back(c.channels);
      for (uint8_t& value : pixel) {
        value = c.activation ? c.activation(position / 6, position % 6)
                             : static_cast<uint8_t>(random.uniform(0, 255));
      }
    }
  }

  // Every output of the group, and every byte between them, against the definition.
  void check() {
    SCOPED_TRACE(std::string(kernel_.name) + ": " + c_.describe());
    const WinogradPackInput input = pack_input();
    ASSERT_TRUE(winograd_is_exact(input)) << "the case itself is out of bounds";
    constexpr auto kForm = WinogradWeightForm::kTransformed;
    GuardedBuffer<std::byte> packed(winograd_packed_bytes(kernel_, input, kForm));
    winograd_pack(kernel_, input, kForm, packed.data());
    const std::byte* panel =
        packed.data() + c_.panel * winograd_panel_bytes(kernel_, c_.channels, kForm);
    if (kernel_.transform_weights != nullptr && c_.channels % kWinogradFilterStep == 0) {
      check_transformed_weights(panel);
    }
    GuardedBuffer<int32_t> m(c_.tiles * kWinogradPositions * kernel_.nr);
    multiply(panel, m.data());
    check_outputs(panel, m.data());
  }

 private:
  WinogradPackInput pack_input() const {
    return {first_ + c_.cols, c_.channels,  c_.input_zero_point,
            filters_.data(),  bias_.data(), multipliers_.data()};
  }

  // U of a panel of kernels/gemm, against the one that was transformed when it was packed.
  void check_transformed_weights(const std::byte* panel) const {
    GemmKernel gemm = {};
    gemm.nr = kernel_.nr;
    gemm.kr = kWinogradFilterStep;
    const auto channels = static_cast<uint32_t>(c_.channels);
    GemmPackInput input = {};
    input.out_channels = first_ + c_.cols;
    input.taps = 9;
    input.slices = std::span(&channels, 1);
    input.zero_points = std::span(&c_.input_zero_point, 1);
    input.weights = filters_.data();
    input.multipliers = multipliers_.data();
    GuardedBuffer<std::byte> packed(gemm_packed_bytes(gemm, input));
    gemm_pack(gemm, input, packed.data());
    const size_t panel_bytes =
        gemm_panel_bytes(gemm, gemm_total_steps(gemm.kr, input.taps, input.slices));
    const auto* filters = reinterpret_cast<const int8_t*>(packed.data() + c_.panel * panel_bytes +
                                                          gemm_header_bytes(gemm));
    const size_t position = winograd_steps(kernel_, c_.channels) * kernel_.kr * kernel_.nr;
    const auto* expected = reinterpret_cast<const int16_t*>(panel + winograd_header_bytes(kernel_));
    for (size_t part = 0; part < 4; ++part) {
      const size_t positions = kWinogradParts[part + 1] - kWinogradParts[part];
      const size_t stride = round_up(position, 32) + 32 * part;
      GuardedBuffer<int16_t> u((positions - 1) * stride + round_up(position, 32));
      kernel_.transform_weights({c_.channels, filters, part, u.data(), stride});
      for (size_t p = 0; p < positions; ++p, expected += position) {
        for (size_t i = 0; i < position; ++i) {
          ASSERT_EQ(u[p * stride + i], expected[i]) << "part " << part << ", position " << p;
        }
      }
    }
  }

  // Pixels lie in random order without alignment; the last one ends at the guard page.
  void multiply(const std::byte* panel, int32_t* m) {
    std::vector<size_t> order(data_.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::shuffle(order.begin(), order.end(), random_.engine());
    GuardedBuffer<uint8_t> memory(order.size() * c_.channels, 15);
    for (size_t i = 0; i < order.size(); ++i) {
      uint8_t* pixel = memory.data() + i * c_.channels;
      std::copy(data_[order[i]].begin(), data_[order[i]].end(), pixel);
      pixels_[order[i]] = pixel;
    }
    const size_t stride = round_up(c_.tiles * round_up(c_.channels, kernel_.channel_run), 32);
    GuardedBuffer<int16_t> v(kWinogradPositions * stride);
    kernel_.transform_input({c_.tiles, c_.channels, pixels_.data(), v.data(), stride});
    const auto* start = reinterpret_cast<const int32_t*>(panel);
    const auto* u = reinterpret_cast<const int16_t*>(panel + winograd_header_bytes(kernel_));
    const size_t position = winograd_steps(kernel_, c_.channels) * kernel_.kr * kernel_.nr;
    for (size_t p = 0; p < kWinogradPositions; p += c_.positions) {
      const size_t positions = std::min(c_.positions, kWinogradPositions - p);
      const void* prefetch = random_.one_in(2) ? panel : nullptr;
      kernel_.multiply({c_.tiles, c_.channels, v.data(), stride, start, u + p * position, p,
                        positions, m, prefetch, static_cast<size_t>(random_.uniform(0, 4096))});
    }
  }

  int64_t accumulator(size_t tile, size_t y, size_t x, size_t o) const {
    int64_t sum = bias_[first_ + o];
    for (size_t tap = 0; tap < 9; ++tap) {
      const std::vector<uint8_t>& pixel =
          data_[((y + tap / 3) * 6 + x + tap % 3) * c_.tiles + tile];
      const int8_t* w = filters_.data() + ((first_ + o) * 9 + tap) * c_.channels;
      for (size_t k = 0; k < c_.channels; ++k)
        sum += int64_t{w[k]} * (pixel[k] - c_.input_zero_point);
    }
    return sum;
  }

  void check_outputs(const std::byte* panel, const int32_t* m) {
    // 4x4 pixels a tile, one tile after another, with gaps.
    WinogradOutputTiles args = {};
    args.tiles = c_.tiles;
    args.channels = c_.cols;
    args.m = m;
    args.panel = panel;
    args.out_pixel_stride = c_.cols + static_cast<size_t>(random_.uniform(0, 3));
    args.out_row_stride = 4 * args.out_pixel_stride + static_cast<size_t>(random_.uniform(0, 3));
    const bool in_place = c_.residual != Residual::kSeparate;
    args.residual_pixel_stride = in_place ? args.out_pixel_stride : c_.cols + 1;
    args.residual_row_stride = in_place ? args.out_row_stride : 4 * c_.cols + 5;
    args.residual_multiplier = 0.37f;
    args.residual_zero_point = 101;
    args.zero_point = c_.zero_point;
    args.lo = c_.lo;
    args.hi = c_.hi;
    std::vector<WinogradPlace> places(c_.tiles);
    for (size_t t = 0; t < c_.tiles; ++t) {
      places[t] = {t * 4 * args.out_row_stride, t * 4 * args.residual_row_stride,
                   static_cast<uint32_t>(random_.uniform(1, 4)),
                   static_cast<uint32_t>(random_.uniform(1, 4))};
    }
    args.places = places.data();
    // Both end with the last tile's last pixel.
    const auto end = [&](size_t row_stride, size_t pixel_stride) {
      return (c_.tiles * 4 - 5 + places.back().rows) * row_stride +
             (places.back().cols - 1) * pixel_stride + c_.cols;
    };
    GuardedBuffer<uint8_t> out(end(args.out_row_stride, args.out_pixel_stride));
    GuardedBuffer<uint8_t> separate(end(args.residual_row_stride, args.residual_pixel_stride));
    args.out = out.data();
    if (c_.residual == Residual::kSeparate) args.residual = separate.data();
    if (c_.residual == Residual::kInPlace) args.residual = out.data();
    std::vector<uint8_t> expected(out.data(), out.data() + out.size());
    for (size_t t = 0; t < c_.tiles; ++t) {
      for (size_t y = 0; y < places[t].rows; ++y) {
        for (size_t x = 0; x < places[t].cols; ++x) {
          for (size_t o = 0; o < c_.cols; ++o) {
            const size_t at =
                places[t].out + y * args.out_row_stride + x * args.out_pixel_stride + o;
            const auto shortcut = static_cast<uint8_t>(random_.uniform(0, 255));
            if (c_.residual == Residual::kInPlace) out[at] = shortcut;
            if (c_.residual == Residual::kSeparate) {
              separate[places[t].residual + y * args.residual_row_stride +
                       x * args.residual_pixel_stride + o] = shortcut;
            }
            expected[at] = expect(accumulator(t, y, x, o), o, shortcut, args);
          }
        }
      }
    }
    kernel_.transform_output(args);
    for (size_t i = 0; i < expected.size(); ++i) {
      ASSERT_EQ(out[i], expected[i]) << "byte " << i << ", row stride " << args.out_row_stride
                                     << ", pixel stride " << args.out_pixel_stride;
    }
  }

  uint8_t expect(int64_t acc, size_t o, uint8_t shortcut, const WinogradOutputTiles& args) const {
    float value = expected_product(static_cast<float>(acc), multipliers_[first_ + o]);
    if (args.residual != nullptr) {
      const auto centred = static_cast<float>(shortcut - args.residual_zero_point);
      value = expected_sum(value, expected_product(centred, args.residual_multiplier));
    }
    return expected_round_clamp(value, args.zero_point, args.lo, args.hi);
  }

  const WinogradKernel& kernel_;
  const WinogradCase& c_;
  Random& random_;
  size_t first_;
  std::vector<int8_t> filters_;
  std::vector<int32_t> bias_;
  std::vector<float> multipliers_;
  std::vector<std::vector<uint8_t>> data_;  // [36 * tiles][channels]
  std::vector<const uint8_t*> pixels_;
};

inline void check(const WinogradKernel& kernel, const WinogradCase& c, Random& random) {
  WinogradProblem(kernel, c, random).check();
}

}  // namespace wbcq::testing

#endif  // WBCQ_TESTS_KERNELS_WINOGRAD_WINOGRAD_CASE_H_
