// Where the steps of a window lie in the buffer of buffered.h, and which of its columns are
// padding. Everything is local to the file that includes it.
#ifndef WBCQ_KERNELS_DWCONV_WINDOW_H_
#define WBCQ_KERNELS_DWCONV_WINDOW_H_

#include "kernels/dwconv/dwconv.h"

#define WBCQ_INLINE inline __attribute__((always_inline))
#define WBCQ_NOINLINE __attribute__((noinline))

namespace wbcq {
namespace {

constexpr size_t kBufferBytes = 24576;
constexpr size_t kLastRowBytes = 8192;
constexpr size_t kMaxSteps = 64;

constexpr size_t at_most(size_t value, size_t most) { return value < most ? value : most; }

// What the buffer holds of a column (DwconvTapOrder::kColumns): steps of some rows each and, if a
// single row is left over, a step of that row's pixels under this tap and those before it.
template <typename Simd>
struct Shape {
  size_t column_steps;
  size_t row_steps;  // 0: no row is left over

  static constexpr Shape of(size_t rows, size_t cols) {
    constexpr size_t kTaps = Simd::kStepTaps;
    const bool single = kTaps > 1 && rows % kTaps == 1;
    const size_t column_steps = single ? rows / kTaps : (rows + kTaps - 1) / kTaps;
    return {column_steps, single ? (cols + kTaps - 1) / kTaps : 0};
  }
  constexpr size_t steps(size_t cols) const { return cols * column_steps + row_steps; }
  constexpr size_t bytes() const {
    const size_t per_column = column_steps + (row_steps > 0 ? 1 : 0);
    return per_column * Simd::kStepBytes + (per_column > 1 ? Simd::kSkewBytes : 0);
  }
};

constexpr size_t window_columns(const DwconvGeometry& g) {
  return (g.kernel_w - 1) * g.dilation_w + 1;
}

// Columns before the first that a row step reaches.
template <typename Simd>
constexpr size_t columns_before(const DwconvGeometry& g) {
  return (Simd::kStepTaps - 1) * g.dilation_w;
}

// Outputs of a stretch that the buffers have room for.
template <typename Simd>
constexpr size_t max_outputs(const DwconvGeometry& g) {
  const size_t in_buffer = kBufferBytes / Shape<Simd>::of(g.kernel_h, g.kernel_w).bytes();
  const size_t in_row = kLastRowBytes / Simd::kBlock;
  const size_t before = columns_before<Simd>(g);
  const size_t columns = at_most(in_buffer, in_row > before ? in_row - before : 0);
  return columns < window_columns(g) ? 0 : (columns - window_columns(g)) / g.stride_w + 1;
}

template <typename Simd>
bool fits_buffer(const DwconvGeometry& g) {
  const Shape<Simd> shape = Shape<Simd>::of(g.kernel_h, g.kernel_w);
  return shape.steps(g.kernel_w) <= kMaxSteps && max_outputs<Simd>(g) >= Simd::kOutputs;
}

// Consecutive columns of a stretch, all inside the picture or all padding.
struct Segment {
  size_t begin;
  size_t count;
  bool inside;
};

// The columns of a stretch: padding, picture, padding.
struct Stretch {
  ptrdiff_t first;  // column 0 in the picture
  size_t columns;
  size_t segments;
  Segment segment[3];

  void divide(const DwconvRow& row, ptrdiff_t first_column, size_t column_count) {
    first = first_column;
    columns = column_count;
    const auto end = static_cast<ptrdiff_t>(columns);
    const ptrdiff_t inside = clamp(-first, 0, end);
    const ptrdiff_t outside = clamp(static_cast<ptrdiff_t>(row.in_width) - first, inside, end);
    segments = 0;
    add(0, inside, false);
    add(inside, outside, true);
    add(outside, end, false);
  }
  // The first pixel of a segment in row ky.
  const uint8_t* pixel(const DwconvRow& row, const Segment& s, size_t ky, size_t channel) const {
    if (!s.inside) return row.padding + channel;
    return row.rows[ky] + (static_cast<size_t>(first) + s.begin) * row.pixel_stride + channel;
  }

 private:
  static ptrdiff_t clamp(ptrdiff_t value, ptrdiff_t lo, ptrdiff_t hi) {
    return value < lo ? lo : value > hi ? hi : value;
  }
  void add(ptrdiff_t begin, ptrdiff_t end, bool inside) {
    if (begin == end) return;
    segment[segments++] = {static_cast<size_t>(begin), static_cast<size_t>(end - begin), inside};
  }
};

// A window that is known when the kernel is compiled: a step of the input is loaded once for all
// outputs that it meets, and the weights stay in registers, which must suffice for them.
template <typename Simd, size_t kKernelH, size_t kKernelW, size_t kStrideW>
struct FixedWindow {
  static constexpr bool kHasResidual = false;
  static constexpr Shape<Simd> kShape = Shape<Simd>::of(kKernelH, kKernelW);
  static constexpr size_t kMostSteps = kShape.steps(kKernelW);

  explicit FixedWindow(const DwconvGeometry&) {}
  static constexpr Shape<Simd> shape() { return kShape; }
  static constexpr size_t steps() { return kMostSteps; }
  static constexpr size_t stride_bytes() { return kStrideW * kShape.bytes(); }
  // Where a step lies, seen from the first column of an output.
  static constexpr size_t offset(size_t step) {
    constexpr size_t kInColumns = kKernelW * kShape.column_steps;
    if (step < kInColumns) {
      return step / kShape.column_steps * kShape.bytes() +
             step % kShape.column_steps * Simd::kStepBytes;
    }
    return (kKernelW - 1 - Simd::kStepTaps * (step - kInColumns)) * kShape.bytes() +
           kShape.column_steps * Simd::kStepBytes;
  }

  // acc[o] += the steps of output o, counted from `columns`, times the weights.
  template <size_t kCount, typename Vector>
  WBCQ_INLINE void accumulate(const std::byte* columns, const std::byte* weights,
                              Vector (&acc)[kCount]) const {
    constexpr size_t kInColumns = kKernelW * kShape.column_steps;
    Vector w[kMostSteps];
#pragma GCC unroll 16
    for (size_t s = 0; s < kMostSteps; ++s) w[s] = Simd::load(weights + s * Simd::kWeightBytes);
#pragma GCC unroll 16
    for (size_t t = 0; t < (kCount - 1) * kStrideW + kKernelW; ++t) {
#pragma GCC unroll 4
      for (size_t i = 0; i < kShape.column_steps; ++i) {
        const auto v = Simd::load(columns + t * kShape.bytes() + i * Simd::kStepBytes);
#pragma GCC unroll 4
        for (size_t o = 0; o < kCount; ++o) {
          const size_t kx = t - o * kStrideW;
          if (kx < kKernelW) Simd::multiply_add(acc[o], v, w[kx * kShape.column_steps + i]);
        }
      }
      if constexpr (kShape.row_steps > 0) {
        const auto v =
            Simd::load(columns + t * kShape.bytes() + kShape.column_steps * Simd::kStepBytes);
#pragma GCC unroll 4
        for (size_t o = 0; o < kCount; ++o) {
          const size_t from_right = kKernelW - 1 + o * kStrideW - t;
          if (from_right < kKernelW && from_right % Simd::kStepTaps == 0) {
            Simd::multiply_add(acc[o], v, w[kInColumns + from_right / Simd::kStepTaps]);
          }
        }
      }
    }
  }
};

// Any other.
template <typename Simd>
class AnyWindow {
 public:
  static constexpr bool kHasResidual = true;
  static constexpr size_t kMostSteps = kMaxSteps;

  explicit AnyWindow(const DwconvGeometry& g)
      : shape_(Shape<Simd>::of(g.kernel_h, g.kernel_w)),
        steps_(0),
        stride_bytes_(g.stride_w * shape_.bytes()) {
    const size_t column = g.dilation_w * shape_.bytes();
    for (size_t kx = 0; kx < g.kernel_w; ++kx) {
      for (size_t step = 0; step < shape_.column_steps; ++step) {
        offsets_[steps_++] = kx * column + step * Simd::kStepBytes;
      }
    }
    for (size_t i = 0; i < shape_.row_steps; ++i) {
      offsets_[steps_++] =
          (g.kernel_w - 1 - Simd::kStepTaps * i) * column + shape_.column_steps * Simd::kStepBytes;
    }
  }
  Shape<Simd> shape() const { return shape_; }
  size_t steps() const { return steps_; }
  size_t stride_bytes() const { return stride_bytes_; }
  // Where a step lies, seen from the first column of an output.
  size_t offset(size_t step) const { return offsets_[step]; }

  template <size_t kCount, typename Vector>
  WBCQ_INLINE void accumulate(const std::byte* columns, const std::byte* weights,
                              Vector (&acc)[kCount]) const {
    for (size_t s = 0; s < steps_; ++s, weights += Simd::kWeightBytes) {
      const auto w = Simd::load(weights);
      const std::byte* step = columns + offsets_[s];
#pragma GCC unroll 4
      for (size_t o = 0; o < kCount; ++o) {
        Simd::multiply_add(acc[o], Simd::load(step + o * stride_bytes_), w);
      }
    }
  }

 private:
  Shape<Simd> shape_;
  size_t steps_;
  size_t stride_bytes_;
  size_t offsets_[kMaxSteps];
};

}  // namespace
}  // namespace wbcq

#endif  // WBCQ_KERNELS_DWCONV_WINDOW_H_
