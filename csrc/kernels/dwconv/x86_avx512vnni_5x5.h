// 5x5 windows of AVX-512 VNNI, several output rows at a time. For x86_avx512vnni.cc alone.
#ifndef WBCQ_KERNELS_DWCONV_X86_AVX512VNNI_5X5_H_
#define WBCQ_KERNELS_DWCONV_X86_AVX512VNNI_5X5_H_

#include "kernels/dwconv/buffered.h"
#include "kernels/dwconv/x86_avx512vnni_lanes.h"

namespace wbcq {
namespace {

constexpr size_t kBandRows = 8;

// The weights of one column of the window for an output row that starts `shift` rows below the
// first of the band's eight: they are moved down inside the two dwords that meet those rows.
class ShiftedWeights {
 public:
  explicit ShiftedWeights(size_t shift)
      : down_(_mm_cvtsi64_si128(static_cast<long long>(8 * shift))),
        up_(_mm_cvtsi64_si128(static_cast<long long>(32 - 8 * shift))) {}

  // A packed group whose steps are those of FixedWindow<Simd, 8, 5, stride>: two for each column.
  WBCQ_NOINLINE void write(const std::byte* group, std::byte* to) const {
    for (size_t i = 0; i < 2 * kStepBytes; i += kVectorBytes) {
      _mm512_store_si512(to + i, _mm512_load_si512(group + i));
    }
    for (size_t kx = 0; kx < 5; ++kx) {
      // The fifth row's taps are packed in steps of their own, from the right to the left.
      const size_t from_right = 4 - kx;
      const __m512i fifth_row = slot_to_front(from_right % 4);
      for (size_t part = 0; part < 4; ++part) {
        const __m512i four = load_weights(group, kx, part);
        const __m512i fifth = _mm512_maskz_shuffle_epi8(
            kFirstBytes, load_weights(group, 5 + from_right / 4, part), fifth_row);
        std::byte* step = to + group_bytes(2 * kx) + part * kVectorBytes;
        _mm512_store_si512(step, _mm512_sll_epi32(four, down_));
        _mm512_store_si512(step + kStepBytes, _mm512_or_si512(_mm512_srl_epi32(four, up_),
                                                              _mm512_sll_epi32(fifth, down_)));
      }
    }
  }

 private:
  static constexpr __mmask64 kFirstBytes = 0x1111111111111111;
  // Byte `slot` of every dword for its byte 0.
  static __m512i slot_to_front(size_t slot) {
    const __m512i dwords = _mm512_broadcast_i32x4(_mm_setr_epi32(0, 4, 8, 12));
    return _mm512_add_epi32(dwords, _mm512_set1_epi32(static_cast<int>(slot)));
  }

  __m128i down_;
  __m128i up_;
};

// The window of a band's output row: two steps for each column. Five sums of each step, one after
// the other, would take longer than all other work on four outputs; so each step has sums of its
// own.
template <typename Simd, size_t kStride>
struct BandWindow : FixedWindow<Simd, kBandRows, 5, kStride> {
  using Base = FixedWindow<Simd, kBandRows, 5, kStride>;
  using Base::Base;

  template <size_t kCount>
  WBCQ_INLINE void accumulate(const std::byte* columns, const std::byte* weights,
                              __m512i (&acc)[kCount]) const {
    constexpr size_t kColumn = Base::kShape.bytes();
    __m512i lower[kCount];
    __m512i w[10];
#pragma GCC unroll 10
    for (size_t s = 0; s < 10; ++s) w[s] = Simd::load(weights + s * kStepBytes);
#pragma GCC unroll 4
    for (size_t o = 0; o < kCount; ++o) lower[o] = _mm512_setzero_si512();
#pragma GCC unroll 16
    for (size_t t = 0; t < (kCount - 1) * kStride + 5; ++t) {
      const __m512i v0 = Simd::load(columns + t * kColumn);
      const __m512i v1 = Simd::load(columns + t * kColumn + kStepBytes);
#pragma GCC unroll 4
      for (size_t o = 0; o < kCount; ++o) {
        const size_t kx = t - o * kStride;
        if (kx >= 5) continue;
        Simd::multiply_add(acc[o], v0, w[2 * kx]);
        Simd::multiply_add(lower[o], v1, w[2 * kx + 1]);
      }
    }
#pragma GCC unroll 4
    for (size_t o = 0; o < kCount; ++o) acc[o] = _mm512_add_epi32(acc[o], lower[o]);
  }
};

// The rows under a band are interleaved once for all its output rows: eight rows make two steps of
// a column, and any five of them in a row are met by these two with the weights shifted. Ten dot
// products then replace seven, and a quarter of the unpacks is left.
template <typename Simd, size_t kStride>
struct Run5x5 : RunBuffered<Simd, BandWindow<Simd, kStride>> {
  using Window = BandWindow<Simd, kStride>;
  using Buffered = RunBuffered<Simd, Window>;
  static constexpr size_t kGroupBytes = group_bytes(7);

  template <typename L>
  static void run(const DwconvRow& args, const L lanes, size_t first, size_t channels) {
    DwconvRow row = args;
    row.geometry.kernel_h = (args.height - 1) * args.row_step + 5;
    constexpr size_t kColumns = kBufferBytes / Window::kShape.bytes();
    constexpr size_t kMost = ((kColumns - 5) / kStride + 1) / Simd::kOutputs * Simd::kOutputs;
    const size_t row_width = (row.width + L::kPieces - 1) / L::kPieces;
    alignas(64) std::byte repeated[L::kPieces == 1 ? 1 : kGroupBytes];
    const auto* groups = static_cast<const std::byte*>(row.packed) + first / kBlock * kGroupBytes;
    if constexpr (L::kPieces > 1) groups = repeat_group(lanes, groups, kGroupBytes, repeated);
    for (size_t begin = 0; begin < row_width; begin += kMost) {
      run_stretch(row, lanes, begin, at_most(row_width - begin, kMost), row_width, first, channels,
                  groups);
    }
  }

 private:
  template <typename L>
  static void run_stretch(const DwconvRow& row, const L& lanes, size_t begin, size_t width,
                          size_t row_width, size_t first, size_t channels, const std::byte* group) {
    const Window window(row.geometry);
    alignas(64) std::byte buffer[kBufferBytes];
    alignas(64) std::byte shifted[group_bytes(10)];
    Stretch stretch[L::kPieces];
    size_t x[L::kPieces];
    for (size_t piece = 0; piece < L::kPieces; ++piece) {
      x[piece] = piece_begin(piece, row_width, row.width) + begin;
      stretch[piece].divide(row, row.first_column + static_cast<ptrdiff_t>(x[piece] * kStride),
                            (width - 1) * kStride + 5);
    }
    for (size_t c = first; c < first + channels; c += kBlock, group += kGroupBytes) {
      for (size_t piece = 0; piece < L::kPieces; ++piece) {
        fill<Simd>(row, lanes, window.shape(), stretch[piece], c,
                   buffer + piece * (kBlock / L::kPieces));
      }
      DwconvRow out_row = row;
      for (size_t y = 0; y < row.height; ++y) {
        ShiftedWeights(y * row.row_step).write(group, shifted);
        Buffered::multiply(out_row, lanes, window, buffer, shifted, x, width, c);
        out_row.out = static_cast<uint8_t*>(out_row.out) + row.out_row_stride;
      }
    }
  }
};

}  // namespace
}  // namespace wbcq

#endif  // WBCQ_KERNELS_DWCONV_X86_AVX512VNNI_5X5_H_
