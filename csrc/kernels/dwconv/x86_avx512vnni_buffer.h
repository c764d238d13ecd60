// Any window of AVX-512 VNNI: the input under a stretch of outputs is interleaved into a buffer
// that stays in L1, where padding, tails and dilation are dealt with; multiplying then reads
// nothing but aligned vectors at known distances. For x86_avx512vnni.cc alone.
#ifndef WBCQ_KERNELS_DWCONV_X86_AVX512VNNI_BUFFER_H_
#define WBCQ_KERNELS_DWCONV_X86_AVX512VNNI_BUFFER_H_

#include "kernels/dwconv/x86_avx512vnni_lanes.h"

namespace wbcq {
namespace {

constexpr size_t kBufferBytes = 24576;
constexpr size_t kRowBytes = 8192;
constexpr size_t kMaxSteps = 64;

// What the buffer holds of a column: quads of four rows and, if a single row is left over, a quad
// of that row's pixels under this tap and the three before it (DwconvTapOrder::kColumns).
struct Shape {
  size_t column_quads;
  size_t row_steps;  // 0: no row is left over

  static constexpr Shape of(size_t rows, size_t cols) {
    return {rows / 4 + (rows % 4 > 1 ? 1 : 0), rows % 4 == 1 ? (cols + 3) / 4 : 0};
  }
  constexpr size_t quads() const { return column_quads + (row_steps > 0 ? 1 : 0); }
  constexpr size_t steps(size_t cols) const { return cols * column_quads + row_steps; }
  // 64 more than needed where two columns would be 1024 bytes apart: such loads take twice as long.
  constexpr size_t bytes() const { return quads() * kStepBytes + (quads() > 1 ? kVectorBytes : 0); }
};

constexpr size_t window_columns(const DwconvGeometry& g) {
  return (g.kernel_w - 1) * g.dilation_w + 1;
}

// Outputs of a stretch that the buffers have room for.
constexpr size_t max_outputs(const DwconvGeometry& g) {
  const size_t in_buffer = kBufferBytes / Shape::of(g.kernel_h, g.kernel_w).bytes();
  const size_t before = 3 * g.dilation_w;
  const size_t in_row = kRowBytes / kVectorBytes > before ? kRowBytes / kVectorBytes - before : 0;
  const size_t columns = in_buffer < in_row ? in_buffer : in_row;
  return columns < window_columns(g) ? 0 : (columns - window_columns(g)) / g.stride_w + 1;
}

constexpr bool fits_buffer(const DwconvGeometry& g) {
  return Shape::of(g.kernel_h, g.kernel_w).steps(g.kernel_w) <= kMaxSteps && max_outputs(g) >= 4;
}

// Consecutive columns of a stretch, all inside the picture or all padding.
struct Segment {
  size_t begin;
  size_t count;
  bool inside;
};

// The columns of a stretch of one piece: padding, picture, padding.
struct Stretch {
  ptrdiff_t first;  // column 0 in the picture
  size_t columns;
  size_t segments = 0;
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

 private:
  static ptrdiff_t clamp(ptrdiff_t value, ptrdiff_t lo, ptrdiff_t hi) {
    return value < lo ? lo : value > hi ? hi : value;
  }
  void add(ptrdiff_t begin, ptrdiff_t end, bool inside) {
    if (begin == end) return;
    segment[segments++] = {static_cast<size_t>(begin), static_cast<size_t>(end - begin), inside};
  }
};

// Bytes of four pixels of each column next to each other, pixel t of row i at rows[i] + t * stride.
template <typename L>
WBCQ_NOINLINE void interleave(const L lanes, const uint8_t* const (&rows)[4], size_t stride,
                              size_t count, std::byte* to, size_t to_stride) {
  const uint8_t* p0 = rows[0];
  const uint8_t* p1 = rows[1];
  const uint8_t* p2 = rows[2];
  const uint8_t* p3 = rows[3];
  for (; count > 0; --count, to += to_stride) {
    const auto v0 = lanes.load(p0);
    const auto v1 = lanes.load(p1);
    const auto v2 = lanes.load(p2);
    const auto v3 = lanes.load(p3);
    const auto low01 = L::unpacklo8(v0, v1);
    const auto high01 = L::unpackhi8(v0, v1);
    const auto low23 = L::unpacklo8(v2, v3);
    const auto high23 = L::unpackhi8(v2, v3);
    L::save(to, L::unpacklo16(low01, low23));
    L::save(to + kVectorBytes, L::unpackhi16(low01, low23));
    L::save(to + 2 * kVectorBytes, L::unpacklo16(high01, high23));
    L::save(to + 3 * kVectorBytes, L::unpackhi16(high01, high23));
    p0 += stride;
    p1 += stride;
    p2 += stride;
    p3 += stride;
  }
}

template <typename L>
WBCQ_NOINLINE void copy(const L lanes, const uint8_t* from, size_t stride, size_t count,
                        uint8_t* to) {
  for (; count > 0; --count, from += stride, to += kVectorBytes) {
    L::save(reinterpret_cast<std::byte*>(to), lanes.load(from));
  }
}

// Interleaves the columns of a stretch, `channel` and following, into the buffer.
template <typename L>
void fill(const DwconvRow& row, const L& lanes, const Shape& shape, const Stretch& stretch,
          size_t channel, std::byte* buffer) {
  const size_t last_row = row.geometry.kernel_h - 1;
  const auto pixel = [&](const Segment& segment, size_t ky) {
    if (!segment.inside) return row.padding + channel;
    const auto column = static_cast<size_t>(stretch.first) + segment.begin;
    return row.rows[ky] + column * row.pixel_stride + channel;
  };
  for (size_t i = 0; i < stretch.segments; ++i) {
    const Segment& segment = stretch.segment[i];
    for (size_t quad = 0; quad < shape.column_quads; ++quad) {
      const uint8_t* rows[4];
      for (size_t r = 0; r < 4; ++r) {
        // The weights of rows that the window lacks are zero: any pixel will do.
        rows[r] = pixel(segment, 4 * quad + r < last_row ? 4 * quad + r : last_row);
      }
      interleave(lanes, rows, segment.inside ? row.pixel_stride : 0, segment.count,
                 buffer + segment.begin * shape.bytes() + quad * kStepBytes, shape.bytes());
    }
  }
  if (shape.row_steps == 0) return;
  const size_t shift = row.geometry.dilation_w * kVectorBytes;
  alignas(64) uint8_t last[kRowBytes];
  // Before the first column: met by weights of zero only.
  for (size_t i = 0; i < 3 * shift; i += kVectorBytes) {
    _mm512_store_si512(last + i, _mm512_setzero_si512());
  }
  uint8_t* const begin = last + 3 * shift;
  for (size_t i = 0; i < stretch.segments; ++i) {
    const Segment& segment = stretch.segment[i];
    copy(lanes, pixel(segment, last_row), segment.inside ? row.pixel_stride : 0, segment.count,
         begin + segment.begin * kVectorBytes);
  }
  interleave(lanes, {begin, begin - shift, begin - 2 * shift, begin - 3 * shift}, kVectorBytes,
             stretch.columns, buffer + shape.column_quads * kStepBytes, shape.bytes());
}

// A window that is known when the kernel is compiled.
template <size_t kKernelH, size_t kKernelW, size_t kStrideW>
struct FixedWindow {
  static constexpr bool kResidual = false;
  static constexpr Shape kShape = Shape::of(kKernelH, kKernelW);
  static constexpr size_t kMostSteps = kShape.steps(kKernelW);

  explicit FixedWindow(const DwconvGeometry&) {}
  static constexpr Shape shape() { return kShape; }
  static constexpr size_t steps() { return kMostSteps; }
  static constexpr size_t stride_bytes() { return kStrideW * kShape.bytes(); }
  // Where a step's quad lies, seen from the first column of an output.
  static constexpr size_t offset(size_t step) {
    if (step < kKernelW * kShape.column_quads) {
      return step / kShape.column_quads * kShape.bytes() + step % kShape.column_quads * kStepBytes;
    }
    return (kKernelW - 1 - 4 * (step - kKernelW * kShape.column_quads)) * kShape.bytes() +
           kShape.column_quads * kStepBytes;
  }
};

// Any other.
class AnyWindow {
 public:
  static constexpr bool kResidual = true;
  static constexpr size_t kMostSteps = kMaxSteps;

  explicit AnyWindow(const DwconvGeometry& g)
      : shape_(Shape::of(g.kernel_h, g.kernel_w)),
        steps_(0),
        stride_bytes_(g.stride_w * shape_.bytes()) {
    const size_t column = g.dilation_w * shape_.bytes();
    for (size_t kx = 0; kx < g.kernel_w; ++kx) {
      for (size_t quad = 0; quad < shape_.column_quads; ++quad) {
        offsets_[steps_++] = kx * column + quad * kStepBytes;
      }
    }
    for (size_t i = 0; i < shape_.row_steps; ++i) {
      offsets_[steps_++] = (g.kernel_w - 1 - 4 * i) * column + shape_.column_quads * kStepBytes;
    }
  }
  Shape shape() const { return shape_; }
  size_t steps() const { return steps_; }
  size_t stride_bytes() const { return stride_bytes_; }
  size_t offset(size_t step) const { return offsets_[step]; }

 private:
  Shape shape_;
  size_t steps_;
  size_t stride_bytes_;
  size_t offsets_[kMaxSteps];
};

// Assembly, because GCC 12 copies and spills accumulators around the builtin's tied operand.
WBCQ_INLINE void dot(__m512i& acc, __m512i activations, __m512i weights) {
  __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(activations), "v"(weights));
}

// Pixels of 64 channels: output x at out + x * out_stride, and its shortcut if there is one.
struct Target {
  uint8_t* out;
  size_t out_stride;
  const uint8_t* residual;
  size_t residual_stride;
};

// The shortcut's share of a result.
class Residual {
 public:
  explicit Residual(const DwconvRow& row)
      : zero_point_(_mm512_set1_epi32(row.residual_zero_point)),
        multiplier_(_mm512_set1_ps(row.residual_multiplier)) {}

  WBCQ_INLINE __m512 part(__m512i bytes, int p) const {
    const __m512i zero = _mm512_setzero_si512();
    const __m512i words =
        p < 2 ? _mm512_unpacklo_epi8(bytes, zero) : _mm512_unpackhi_epi8(bytes, zero);
    const __m512i value =
        p % 2 == 0 ? _mm512_unpacklo_epi16(words, zero) : _mm512_unpackhi_epi16(words, zero);
    return _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(value, zero_point_)), multiplier_);
  }

 private:
  __m512i zero_point_;
  __m512 multiplier_;
};

// kOutputs outputs next to each other.
template <int kOutputs, bool kResidual, typename W>
WBCQ_INLINE void multiply(const W& window, const Epilogue& epilogue, const Residual& residual,
                          const std::byte* columns, const std::byte* group, const Target& target) {
  __m512i q[4][kOutputs];
#pragma GCC unroll 4
  for (int p = 0; p < 4; ++p) {
    __m512i acc[kOutputs];
#pragma GCC unroll 4
    for (int o = 0; o < kOutputs; ++o) acc[o] = load_start(group, p);
    for (size_t s = 0; s < window.steps(); ++s) {
      const __m512i weights = load_weights(group, s, p);
      const std::byte* quad = columns + window.offset(s) + p * kVectorBytes;
#pragma GCC unroll 4
      for (int o = 0; o < kOutputs; ++o) {
        dot(acc[o], _mm512_load_si512(quad + o * window.stride_bytes()), weights);
      }
    }
    const __m512i mult = load_mult(group, p);
#pragma GCC unroll 4
    for (int o = 0; o < kOutputs; ++o) {
      __m512 value = Epilogue::product(acc[o], mult);
      if constexpr (kResidual) {
        const __m512i bytes = _mm512_loadu_si512(target.residual + o * target.residual_stride);
        value = _mm512_add_ps(value, residual.part(bytes, p));
      }
      q[p][o] = epilogue.round(value);
      if (p % 2 == 1) q[p][o] = _mm512_packs_epi32(q[p - 1][o], q[p][o]);
    }
  }
#pragma GCC unroll 4
  for (int o = 0; o < kOutputs; ++o) {
    _mm512_storeu_si512(target.out + o * target.out_stride, epilogue.narrow(q[1][o], q[3][o]));
  }
}

template <bool kResidual, typename W>
WBCQ_NOINLINE void multiply_stretch(const W& window, const Epilogue epilogue,
                                    const Residual residual, const std::byte* columns,
                                    const std::byte* group, size_t width, Target target) {
  for (; width >= 4; width -= 4) {
    multiply<4, kResidual>(window, epilogue, residual, columns, group, target);
    columns += 4 * window.stride_bytes();
    target.out += 4 * target.out_stride;
    if (kResidual) target.residual += 4 * target.residual_stride;
  }
  if (width == 3) multiply<3, kResidual>(window, epilogue, residual, columns, group, target);
  if (width == 2) multiply<2, kResidual>(window, epilogue, residual, columns, group, target);
  if (width == 1) multiply<1, kResidual>(window, epilogue, residual, columns, group, target);
}

// Channels [first, first + channels): whole groups, or the last one.
template <typename W>
struct RunBuffered {
  template <typename L>
  static void run(const DwconvRow& row, const L lanes, size_t first, size_t channels) {
    const W window(row.geometry);
    const size_t group_size = group_bytes(window.steps());
    const size_t row_width = (row.width + L::kPieces - 1) / L::kPieces;
    const size_t most = max_outputs(row.geometry) / 4 * 4;
    alignas(64) std::byte repeated[L::kPieces == 1 ? 1 : group_bytes(W::kMostSteps)];
    const auto* packed = static_cast<const std::byte*>(row.packed) + first / kBlock * group_size;
    const std::byte* groups = repeat_group<L>(packed, group_size, repeated);
    for (size_t begin = 0; begin < row_width; begin += most) {
      const size_t width = row_width - begin < most ? row_width - begin : most;
      run_stretch(row, lanes, window, begin, width, row_width, first, channels, groups);
    }
  }

 private:
  template <typename L>
  static void run_stretch(const DwconvRow& row, const L& lanes, const W& window, size_t begin,
                          size_t width, size_t row_width, size_t first, size_t channels,
                          const std::byte* group) {
    const DwconvGeometry& g = row.geometry;
    const size_t columns = (width - 1) * g.stride_w + window_columns(g);
    alignas(64) std::byte buffer[kBufferBytes];
    Stretch stretch[L::kPieces];
    size_t x[L::kPieces];
    for (int piece = 0; piece < L::kPieces; ++piece) {
      x[piece] = piece_begin(piece, row_width, row.width) + begin;
      stretch[piece].divide(row, row.first_column + static_cast<ptrdiff_t>(x[piece] * g.stride_w),
                            columns);
    }
    for (size_t c = first; c < first + channels; c += kBlock) {
      for (int piece = 0; piece < L::kPieces; ++piece) {
        fill(row, lanes, window.shape(), stretch[piece], c,
             buffer + static_cast<size_t>(piece) * (kVectorBytes / L::kPieces));
      }
      multiply_columns(row, lanes, window, buffer, group, x, width, c);
      group += group_bytes(window.steps());
    }
  }

  // Whole pixels go straight to the output; others by way of a row of whole ones.
  template <typename L>
  static void multiply_columns(const DwconvRow& row, const L& lanes, const W& window,
                               const std::byte* columns, const std::byte* group,
                               const size_t (&x)[L::kPieces], size_t width, size_t channel) {
    const bool has_residual = row.residual != nullptr;
    const auto run = [&](const Target& target) {
      if constexpr (W::kResidual) {
        if (has_residual) {
          multiply_stretch<true>(window, Epilogue(row), Residual(row), columns, group, width,
                                 target);
          return;
        }
      }
      multiply_stretch<false>(window, Epilogue(row), Residual(row), columns, group, width, target);
    };
    uint8_t* const out = static_cast<uint8_t*>(row.out) + channel;
    const uint8_t* const residual = has_residual ? row.residual + channel : nullptr;
    if constexpr (L::kWhole) {
      const uint8_t* shortcut = has_residual ? residual + x[0] * row.residual_stride : nullptr;
      run({out + x[0] * row.out_stride, row.out_stride, shortcut, row.residual_stride});
    } else {
      alignas(64) uint8_t pixels[kBufferBytes / kStepBytes * kVectorBytes];
      const uint8_t* from[L::kPieces];
      Output<L> output;
      output.stride = row.out_stride;
      for (int piece = 0; piece < L::kPieces; ++piece) {
        output.pixels[piece] = out + x[piece] * row.out_stride;
        if (has_residual) from[piece] = residual + x[piece] * row.residual_stride;
      }
      for (size_t i = 0; has_residual && i < width; ++i) {
        _mm512_store_si512(pixels + i * kVectorBytes, lanes.load_pieces(from));
        for (const uint8_t*& p : from) p += row.residual_stride;
      }
      run({pixels, kVectorBytes, pixels, kVectorBytes});
      for (size_t i = 0; i < width; ++i) {
        output.write(lanes, _mm512_load_si512(pixels + i * kVectorBytes));
      }
    }
  }
};

}  // namespace
}  // namespace wbcq

#endif  // WBCQ_KERNELS_DWCONV_X86_AVX512VNNI_BUFFER_H_
