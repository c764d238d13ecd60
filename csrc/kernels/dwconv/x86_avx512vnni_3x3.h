// 3x3 windows of AVX-512 VNNI: the columns under the window stay in registers, interleaved.
// For x86_avx512vnni.cc alone.
#ifndef WBCQ_KERNELS_DWCONV_X86_AVX512VNNI_3X3_H_
#define WBCQ_KERNELS_DWCONV_X86_AVX512VNNI_3X3_H_

#include "kernels/dwconv/x86_avx512vnni_lanes.h"

namespace wbcq {
namespace {

struct Parts {
  __m512i v[4];
};

// Reads the columns of a row one after another; a column outside the picture is padding.
template <typename L>
class Columns {
 public:
  Columns(const DwconvRow& row, const L& lanes, size_t channel)
      : lanes_(lanes),
        rows_{row.rows[0] + channel, row.rows[1] + channel, row.rows[2] + channel},
        padding_(row.padding + channel),
        in_width_(row.in_width),
        pixel_stride_(row.pixel_stride) {}

  void seek(size_t piece, ptrdiff_t column) {
    column_[piece] = static_cast<size_t>(column);
    offset_[piece] = static_cast<size_t>(column) * pixel_stride_;
  }
  void next_group() {
    for (const uint8_t*& row : rows_) row += kBlock;
    padding_ += kBlock;
  }

  // How many columns follow that are inside the picture, for every piece.
  size_t inside() const {
    size_t count = in_width_;
    for (size_t piece = 0; piece < L::kPieces; ++piece) {
      count = at_most(in_width_ - at_most(column_[piece], in_width_), count);
    }
    return count;
  }

  // A column that is.
  WBCQ_INLINE Parts next_inside() {
    const uint8_t* top[L::kPieces];
    const uint8_t* middle[L::kPieces];
    const uint8_t* bottom[L::kPieces];
#pragma GCC unroll 4
    for (size_t piece = 0; piece < L::kPieces; ++piece) {
      top[piece] = rows_[0] + offset_[piece];
      middle[piece] = rows_[1] + offset_[piece];
      bottom[piece] = rows_[2] + offset_[piece];
      offset_[piece] += pixel_stride_;
    }
    return interleave(top, middle, bottom);
  }
  void skip(size_t count) {
    for (size_t& column : column_) column += count;
  }

  // Any other.
  WBCQ_INLINE Parts next() {
    const uint8_t* top[L::kPieces];
    const uint8_t* middle[L::kPieces];
    const uint8_t* bottom[L::kPieces];
#pragma GCC unroll 4
    for (size_t piece = 0; piece < L::kPieces; ++piece) {
      const bool inside = column_[piece] < in_width_;
      top[piece] = inside ? rows_[0] + offset_[piece] : padding_;
      middle[piece] = inside ? rows_[1] + offset_[piece] : padding_;
      bottom[piece] = inside ? rows_[2] + offset_[piece] : padding_;
      ++column_[piece];
      offset_[piece] += pixel_stride_;
    }
    return interleave(top, middle, bottom);
  }

 private:
  using Pixels = const uint8_t * [L::kPieces];

  WBCQ_INLINE Parts interleave(const Pixels& top, const Pixels& middle,
                               const Pixels& bottom) const {
    const __m512i v0 = lanes_.join(top);
    const __m512i v1 = lanes_.join(middle);
    const __m512i v2 = lanes_.join(bottom);
    const __m512i low01 = _mm512_unpacklo_epi8(v0, v1);
    const __m512i high01 = _mm512_unpackhi_epi8(v0, v1);
    // The fourth weight of a column is zero: any byte will do.
    const __m512i low2 = _mm512_unpacklo_epi8(v2, v2);
    const __m512i high2 = _mm512_unpackhi_epi8(v2, v2);
    return {{_mm512_unpacklo_epi16(low01, low2), _mm512_unpackhi_epi16(low01, low2),
             _mm512_unpacklo_epi16(high01, high2), _mm512_unpackhi_epi16(high01, high2)}};
  }

  L lanes_;
  const uint8_t* rows_[3];
  const uint8_t* padding_;
  size_t in_width_;
  size_t pixel_stride_;
  size_t column_[L::kPieces];
  size_t offset_[L::kPieces];  // column * pixel_stride
};

WBCQ_INLINE __m512i dot_3x3(const Parts& c0, const Parts& c1, const Parts& c2,
                            const std::byte* group, size_t part) {
  __m512i acc = load_start(group, part);
  acc = _mm512_dpbusd_epi32(acc, c0.v[part], load_weights(group, 0, part));
  acc = _mm512_dpbusd_epi32(acc, c1.v[part], load_weights(group, 1, part));
  return _mm512_dpbusd_epi32(acc, c2.v[part], load_weights(group, 2, part));
}

// The columns under a window, and the accumulators of the output that has not been written yet. The
// epilogue of an output goes with the dot products of the next one, part by part: two dependence
// chains side by side fill the pipes that one leaves idle.
template <int kStride>
struct Window3x3 {
  Parts c0;
  Parts c1;
  Parts c2;
  __m512i acc0;
  __m512i acc1;
  __m512i acc2;
  __m512i acc3;

  template <typename Next>
  WBCQ_INLINE void move(Next next) {
    c0 = kStride == 1 ? c1 : c2;
    c1 = kStride == 1 ? c2 : next();
    c2 = next();
  }
  WBCQ_INLINE void multiply(const std::byte* group) {
    acc0 = dot_3x3(c0, c1, c2, group, 0);
    acc1 = dot_3x3(c0, c1, c2, group, 1);
    acc2 = dot_3x3(c0, c1, c2, group, 2);
    acc3 = dot_3x3(c0, c1, c2, group, 3);
  }
  // Bytes of the output before.
  WBCQ_INLINE __m512i finish_and_multiply(const Epilogue& epilogue, const std::byte* group) {
    const __m512i q0 = epilogue.scale(acc0, load_mult(group, 0));
    acc0 = dot_3x3(c0, c1, c2, group, 0);
    const __m512i q1 = epilogue.scale(acc1, load_mult(group, 1));
    acc1 = dot_3x3(c0, c1, c2, group, 1);
    const __m512i q2 = epilogue.scale(acc2, load_mult(group, 2));
    acc2 = dot_3x3(c0, c1, c2, group, 2);
    const __m512i q3 = epilogue.scale(acc3, load_mult(group, 3));
    acc3 = dot_3x3(c0, c1, c2, group, 3);
    return epilogue.narrow(q0, q1, q2, q3);
  }
  WBCQ_INLINE __m512i finish(const Epilogue& epilogue, const std::byte* group) const {
    return epilogue.narrow(
        epilogue.scale(acc0, load_mult(group, 0)), epilogue.scale(acc1, load_mult(group, 1)),
        epilogue.scale(acc2, load_mult(group, 2)), epilogue.scale(acc3, load_mult(group, 3)));
  }
};

// One group of channels.
template <int kStride, typename L>
WBCQ_NOINLINE void run_3x3_group(const L lanes, const Columns<L>& first, const Epilogue epilogue,
                                 const std::byte* group, Output<L> output, size_t width) {
  Columns<L> columns = first;
  Window3x3<kStride> window;
  window.c0 = columns.next();
  window.c1 = columns.next();
  window.c2 = columns.next();
  window.multiply(group);
  const auto write_one = [&](auto next) __attribute__((always_inline)) {
    // GCC would otherwise move loads of weights out of the loop, into registers that it needs.
    __asm__("" : "+r"(group));
    window.move(next);
    output.write(lanes, window.finish_and_multiply(epilogue, group));
  };
  const auto next = [&]() __attribute__((always_inline)) { return columns.next(); };
  const auto next_inside = [&]() __attribute__((always_inline)) { return columns.next_inside(); };
  size_t left = width - 1;
  if constexpr (L::kPieces == 1 && kStride == 1) {
    // A single check for each output costs nothing.
#pragma GCC unroll 3
    for (; left > 0; --left) write_one(next);
  } else {
    const size_t inside = at_most(columns.inside() / kStride, left);
#pragma GCC unroll 3
    for (size_t i = 0; i < inside; ++i) write_one(next_inside);
    columns.skip(inside * kStride);
#pragma GCC unroll 1
    for (left -= inside; left > 0; --left) write_one(next);
  }
  output.write(lanes, window.finish(epilogue, group));
}

// Channels [first, first + channels): whole groups, or the last one.
template <int kStride>
struct Run3x3 {
  template <typename L>
  static void run(const DwconvRow& row, const L lanes, size_t first, size_t channels) {
    constexpr size_t kGroupBytes = group_bytes(3);
    const Epilogue epilogue(row);
    const size_t width = (row.width + L::kPieces - 1) / L::kPieces;
    Columns<L> columns(row, lanes, first);
    Output<L> output;
    output.stride = row.out_stride;
    for (size_t piece = 0; piece < L::kPieces; ++piece) {
      const size_t x = piece_begin(piece, width, row.width);
      columns.seek(piece, row.first_column + static_cast<ptrdiff_t>(x * kStride));
      output.pixels[piece] = static_cast<uint8_t*>(row.out) + x * row.out_stride + first;
    }
    const auto* group = static_cast<const std::byte*>(row.packed) + first / kBlock * kGroupBytes;
    alignas(64) std::byte repeated[L::kPieces == 1 ? 1 : kGroupBytes];
    if constexpr (L::kPieces > 1) group = repeat_group(lanes, group, kGroupBytes, repeated);
    for (size_t c = 0; c < channels; c += kBlock, group += kGroupBytes) {
      run_3x3_group<kStride>(lanes, columns, epilogue, group, output, width);
      columns.next_group();
      for (uint8_t*& pixel : output.pixels) pixel += kBlock;
    }
  }
};

}  // namespace
}  // namespace wbcq

#endif  // WBCQ_KERNELS_DWCONV_X86_AVX512VNNI_3X3_H_
