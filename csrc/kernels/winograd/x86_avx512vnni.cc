// Exact Winograd on AVX-512 VNNI: products of 14 tiles by 32 output channels, 28 accumulators, two
// vectors of U and one pair of V in 31 of the 32 registers, as in kernels/gemm. vpdpwssd adds two
// int16 products and wraps around.
//
// Rows of V that a product reads are 64 bytes apart, so that all addresses of its loop are one
// register and constants.
#include <immintrin.h>

#include "kernels/winograd/winograd.h"

namespace wbcq {

extern const WinogradKernel winograd_x86_avx512vnni;

namespace {

#define WBCQ_INLINE inline __attribute__((always_inline))

constexpr size_t kMr = 14;
constexpr size_t kNr = 32;
constexpr size_t kKr = 2;
constexpr size_t kRun = 32;
constexpr size_t kRunSteps = kRun / kKr;
constexpr size_t kLanes = 16;
constexpr size_t kVectors = kNr / kLanes;
constexpr size_t kStep = kNr * kKr;  // int16 of U
constexpr size_t kStartPosition = 7;
constexpr size_t kTileStride = kWinogradPositions * kNr;  // int32 of M

WBCQ_INLINE __m512i sub16(__m512i a, __m512i b) { return _mm512_sub_epi16(a, b); }
WBCQ_INLINE __m512i add16(__m512i a, __m512i b) { return _mm512_add_epi16(a, b); }

// out = B^T d, modulo 2^16 within, exact at the end.
WBCQ_INLINE void transform_six(const __m512i (&d)[6], __m512i (&out)[6]) {
  const __m512i d2_4 = _mm512_slli_epi16(d[2], 2);
  const __m512i a = sub16(d[4], d2_4);
  const __m512i b = sub16(d[3], _mm512_slli_epi16(d[1], 2));
  const __m512i c = sub16(d[4], d[2]);
  const __m512i f = sub16(d[3], d[1]);
  const __m512i e = add16(f, f);
  out[0] = add16(_mm512_slli_epi16(sub16(d[0], d[2]), 2), c);
  out[1] = add16(a, b);
  out[2] = sub16(a, b);
  out[3] = add16(c, e);
  out[4] = sub16(c, e);
  out[5] = sub16(sub16(d[5], d[3]), add16(e, e));
}

WBCQ_INLINE void transform_tile(const uint8_t* const* pixels, size_t tiles, size_t first,
                                __mmask32 mask, int16_t* v, size_t position_stride) {
  __m512i columns[6][6];
#pragma GCC unroll 6
  for (size_t x = 0; x < 6; ++x) {
    __m512i d[6];
#pragma GCC unroll 6
    for (size_t y = 0; y < 6; ++y) {
      const uint8_t* pixel = pixels[(y * 6 + x) * tiles] + first;
      d[y] = _mm512_cvtepu8_epi16(_mm256_maskz_loadu_epi8(mask, pixel));
    }
    __m512i t[6];
    transform_six(d, t);
#pragma GCC unroll 6
    for (size_t y = 0; y < 6; ++y) columns[y][x] = t[y];
  }
#pragma GCC unroll 6
  for (size_t y = 0; y < 6; ++y) {
    __m512i out[6];
    transform_six(columns[y], out);
#pragma GCC unroll 6
    for (size_t x = 0; x < 6; ++x, v += position_stride) _mm512_store_si512(v, out[x]);
  }
}

void transform_input(const WinogradInputTiles& args) {
  int16_t* v = args.v;
  for (size_t first = 0; first < args.channels; first += kRun) {
    const size_t left = args.channels - first;
    const __mmask32 mask = left >= kRun ? ~__mmask32{0} : (__mmask32{1} << left) - 1;
    for (size_t tile = 0; tile < args.tiles; ++tile, v += kRun) {
      transform_tile(args.pixels + tile, args.tiles, first, mask, v, args.position_stride);
    }
  }
}

// Three taps along an axis to the six rows of G.
WBCQ_INLINE __m512i times6(__m512i a) { return _mm512_mullo_epi16(a, _mm512_set1_epi16(6)); }

WBCQ_INLINE void store_row(const __m512i (&g)[3], int16_t* u, size_t stride) {
  const __m512i minus_s = sub16(_mm512_setzero_si512(), add16(g[0], g[2]));
  const __m512i t = add16(g[0], _mm512_slli_epi16(g[2], 2));
  const __m512i twice = add16(g[1], g[1]);
  _mm512_store_si512(u, times6(g[0]));
  _mm512_store_si512(u + stride, sub16(minus_s, g[1]));
  _mm512_store_si512(u + 2 * stride, add16(minus_s, g[1]));
  _mm512_store_si512(u + 3 * stride, add16(t, twice));
  _mm512_store_si512(u + 4 * stride, sub16(t, twice));
  _mm512_store_si512(u + 5 * stride, times6(g[2]));
}

// Four channels of sixteen columns from each tap.
struct FilterStep {
  const int8_t* taps;
  size_t tap_stride;

  // Channels 2 * half and 2 * half + 1: their bytes become the high ones of 16 bits.
  WBCQ_INLINE __m512i load(size_t y, size_t x, __m512i half) const {
    const __m512i bytes = _mm512_load_si512(taps + (y * 3 + x) * tap_stride);
    return _mm512_srai_epi16(_mm512_shuffle_epi8(bytes, half), 8);
  }
};

WBCQ_INLINE __m512i half_of_step(size_t half) {
  const __m128i low = _mm_setr_epi8(-1, 0, -1, 1, -1, 4, -1, 5, -1, 8, -1, 9, -1, 12, -1, 13);
  const __m128i high = _mm_setr_epi8(-1, 2, -1, 3, -1, 6, -1, 7, -1, 10, -1, 11, -1, 14, -1, 15);
  return _mm512_broadcast_i32x4(half == 0 ? low : high);
}

// Every sixteen columns of two channels of a panel: Rows::transform(filters, half, u, stride).
template <typename Rows>
WBCQ_INLINE void transform_panel(const WinogradWeights& args) {
  const size_t tap_stride = args.channels * kNr;
  const __m512i halves[2] = {half_of_step(0), half_of_step(1)};
  int16_t* u = args.u;
  for (size_t first = 0; first < tap_stride; first += kNr * kWinogradFilterStep) {
#pragma GCC unroll 2
    for (size_t half = 0; half < 2; ++half, u += kStep) {
#pragma GCC unroll 2
      for (size_t j = 0; j < kVectors; ++j) {
        const FilterStep filters = {args.filters + first + j * 64, tap_stride};
        Rows::transform(filters, halves[half], u + j * kStep / kVectors, args.position_stride);
      }
    }
  }
}

// Rows 0 and 5 of positions have one row of taps.
template <size_t kTapRow>
struct OuterRow {
  static WBCQ_INLINE void transform(const FilterStep& filters, __m512i half, int16_t* u,
                                    size_t stride) {
    __m512i g[3];
#pragma GCC unroll 3
    for (size_t x = 0; x < 3; ++x) g[x] = times6(filters.load(kTapRow, x, half));
    store_row(g, u, stride);
  }
};

// Rows 1 and 2, and rows 3 and 4, are sums and differences of the same two vectors.
template <bool kFirstPair>
struct InnerRows {
  static WBCQ_INLINE void transform(const FilterStep& filters, __m512i half, int16_t* u,
                                    size_t stride) {
    __m512i sums[3], differences[3];
#pragma GCC unroll 3
    for (size_t x = 0; x < 3; ++x) {
      const __m512i g0 = filters.load(0, x, half);
      const __m512i g1 = filters.load(1, x, half);
      const __m512i g2 = filters.load(2, x, half);
      const __m512i even = kFirstPair ? sub16(_mm512_setzero_si512(), add16(g0, g2))
                                      : add16(g0, _mm512_slli_epi16(g2, 2));
      const __m512i odd = kFirstPair ? sub16(_mm512_setzero_si512(), g1) : add16(g1, g1);
      sums[x] = add16(even, odd);
      differences[x] = sub16(even, odd);
    }
    store_row(sums, u, stride);
    store_row(differences, u + 6 * stride, stride);
  }
};

void transform_weights(const WinogradWeights& args) {
  switch (args.part) {
    case 0:
      return transform_panel<OuterRow<0>>(args);
    case 1:
      return transform_panel<InnerRows<true>>(args);
    case 2:
      return transform_panel<InnerRows<false>>(args);
    default:
      return transform_panel<OuterRow<2>>(args);
  }
}

// Assembly, because GCC 12 copies and spills accumulators around the builtin's tied operand.
WBCQ_INLINE void dot(__m512i& acc, __m512i a, __m512i b) {
  __asm__("vpdpwssd %2, %1, %0" : "+v"(acc) : "v"(a), "v"(b));
}

WBCQ_INLINE __m512i broadcast_pair(const int16_t* p) {
  int32_t pair;
  __builtin_memcpy(&pair, p, sizeof(pair));
  return _mm512_set1_epi32(pair);
}

template <size_t kRows>
WBCQ_INLINE void multiply_position(const int16_t* v, const int16_t* u, size_t steps,
                                   const int32_t* start, int32_t* m, const char* prefetch) {
  __m512i acc[kRows][kVectors];
#pragma GCC unroll 16
  for (size_t i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
    for (size_t j = 0; j < kVectors; ++j) {
      acc[i][j] = start == nullptr ? _mm512_setzero_si512() : _mm512_load_si512(start + j * kLanes);
    }
  }
  for (; steps != 0; v += kRows * kRun) {
    const size_t count = steps < kRunSteps ? steps : kRunSteps;
    const int16_t* row = v;
    steps -= count;
    for (size_t s = 0; s < count; ++s, row += kKr, u += kStep, prefetch += 64) {
      _mm_prefetch(prefetch, _MM_HINT_T1);
      const __m512i u0 = _mm512_load_si512(u);
      const __m512i u1 = _mm512_load_si512(u + kStep / kVectors);
#pragma GCC unroll 16
      for (size_t i = 0; i < kRows; ++i) {
        const __m512i pair = broadcast_pair(row + i * kRun);
        dot(acc[i][0], pair, u0);
        dot(acc[i][1], pair, u1);
      }
    }
  }
#pragma GCC unroll 16
  for (size_t i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
    for (size_t j = 0; j < kVectors; ++j) {
      _mm512_store_si512(m + i * kTileStride + j * kLanes, acc[i][j]);
    }
  }
}

template <size_t kRows>
void multiply_rows(const WinogradProduct& args) {
  const size_t steps = (args.channels + kKr - 1) / kKr;
  const int16_t* u = args.u;
  const auto* prefetch =
      static_cast<const char*>(args.prefetch != nullptr ? args.prefetch : args.u);
  for (size_t p = args.first_position; p < args.first_position + args.positions; ++p) {
    const int16_t* v = args.v + p * args.position_stride;
    const int32_t* start = p == kStartPosition ? args.start : nullptr;
    multiply_position<kRows>(v, u, steps, start, args.m + p * kNr, prefetch);
    u += steps * kStep;
    prefetch += args.prefetch_stride;
  }
}

constexpr void (*kMultiply[kMr])(const WinogradProduct&) = {
    multiply_rows<1>,  multiply_rows<2>,  multiply_rows<3>,  multiply_rows<4>, multiply_rows<5>,
    multiply_rows<6>,  multiply_rows<7>,  multiply_rows<8>,  multiply_rows<9>, multiply_rows<10>,
    multiply_rows<11>, multiply_rows<12>, multiply_rows<13>, multiply_rows<14>};

void multiply(const WinogradProduct& args) { kMultiply[args.tiles - 1](args); }

// out = A^T m, modulo 2^32.
WBCQ_INLINE void transform_four(const __m512i (&m)[6], __m512i (&out)[4]) {
  const __m512i s12 = _mm512_add_epi32(m[1], m[2]);
  const __m512i d12 = _mm512_sub_epi32(m[1], m[2]);
  const __m512i s34 = _mm512_add_epi32(m[3], m[4]);
  const __m512i d34 = _mm512_sub_epi32(m[3], m[4]);
  out[0] = _mm512_add_epi32(_mm512_add_epi32(m[0], s34), _mm512_slli_epi32(s12, 2));
  out[1] = _mm512_add_epi32(_mm512_add_epi32(d12, d12), d34);
  out[2] = _mm512_add_epi32(s12, s34);
  out[3] = _mm512_add_epi32(_mm512_add_epi32(m[5], d12), _mm512_add_epi32(d34, d34));
}

// Where the exponent of row or column i of D begins among a panel's multipliers.
constexpr size_t kTwos[4] = {2, 1, 0, 0};

// The four vectors hold four pixels of 16 channels. Packs leave dword q of vector p at 4 * q + p,
// which the transposition of a 4x4 matrix of dwords puts right.
WBCQ_INLINE __m512i pack_u8(const __m512i (&v)[4], __m512i zero_point, __m512i lo) {
  const __m512i transpose = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  const __m512i low = _mm512_add_epi16(_mm512_packs_epi32(v[0], v[1]), zero_point);
  const __m512i high = _mm512_add_epi16(_mm512_packs_epi32(v[2], v[3]), zero_point);
  const __m512i bytes = _mm512_max_epu8(_mm512_packus_epi16(low, high), lo);
  return _mm512_permutexvar_epi32(transpose, bytes);
}

WBCQ_INLINE void store_pixels(uint8_t* out, size_t stride, size_t count, __mmask16 mask,
                              __m512i bytes) {
  _mm_mask_storeu_epi8(out, mask, _mm512_castsi512_si128(bytes));
  if (count > 1) _mm_mask_storeu_epi8(out + stride, mask, _mm512_extracti32x4_epi32(bytes, 1));
  if (count > 2) _mm_mask_storeu_epi8(out + 2 * stride, mask, _mm512_extracti32x4_epi32(bytes, 2));
  if (count > 3) _mm_mask_storeu_epi8(out + 3 * stride, mask, _mm512_extracti32x4_epi32(bytes, 3));
}

// What is above hi is clamped before the conversion. What is below int32 becomes INT32_MIN, which
// saturates to -32768, stays negative with the zero point, saturates to 0 and ends at lo.
template <bool kResidual>
WBCQ_INLINE void transform_back(const WinogradOutputTiles& args, const WinogradPlace& place,
                                const int32_t* m, size_t first, __mmask16 mask) {
  const __m512i inverse_of_9 = _mm512_set1_epi32(0x38E38E39);
  const __m512 hi = _mm512_set1_ps(static_cast<float>(args.hi - args.zero_point));
  const __m512i zero_point = _mm512_set1_epi16(static_cast<int16_t>(args.zero_point));
  const __m512i lo = _mm512_set1_epi8(static_cast<char>(args.lo));
  const __m512 residual_mult = _mm512_set1_ps(args.residual_multiplier);
  const __m512i residual_zero_point = _mm512_set1_epi32(args.residual_zero_point);
  const float* mult = static_cast<const float*>(args.panel) + kNr + first;
  __m512i columns[4][6];
#pragma GCC unroll 6
  for (size_t x = 0; x < 6; ++x) {
    __m512i t[6];
#pragma GCC unroll 6
    for (size_t y = 0; y < 6; ++y) t[y] = _mm512_load_si512(m + (y * 6 + x) * kNr + first);
    __m512i column[4];
    transform_four(t, column);
#pragma GCC unroll 4
    for (size_t y = 0; y < 4; ++y) columns[y][x] = column[y];
  }
#pragma GCC unroll 4
  for (size_t y = 0; y < 4; ++y) {
    if (y == place.rows) break;
    __m512i acc[4];
    transform_four(columns[y], acc);
#pragma GCC unroll 4
    for (size_t x = 0; x < 4; ++x) {
      const __m512i scaled = _mm512_mullo_epi32(acc[x], inverse_of_9);
      __m512 value = _mm512_mul_ps(_mm512_cvtepi32_ps(scaled),
                                   _mm512_load_ps(mult + (kTwos[y] + kTwos[x]) * kNr));
      if constexpr (kResidual) {
        // Pixels outside the picture are not stored, and none of theirs is read.
        const uint8_t* residual = args.residual + place.residual + y * args.residual_row_stride +
                                  x * args.residual_pixel_stride + first;
        const __mmask16 inside = x < place.cols ? mask : __mmask16{0};
        const __m512i r = _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(inside, residual));
        const __m512 shortcut = _mm512_cvtepi32_ps(_mm512_sub_epi32(r, residual_zero_point));
        value = _mm512_add_ps(value, _mm512_mul_ps(shortcut, residual_mult));
      }
      acc[x] = _mm512_cvtps_epi32(_mm512_min_ps(value, hi));
    }
    store_pixels(args.out + place.out + y * args.out_row_stride + first, args.out_pixel_stride,
                 place.cols, mask, pack_u8(acc, zero_point, lo));
  }
}

template <bool kResidual>
void transform_tiles(const WinogradOutputTiles& args) {
  for (size_t tile = 0; tile < args.tiles; ++tile) {
    for (size_t first = 0; first < args.channels; first += kLanes) {
      const size_t left = args.channels - first;
      const __mmask16 mask = static_cast<__mmask16>(left >= kLanes ? 0xFFFFu : (1u << left) - 1);
      transform_back<kResidual>(args, args.places[tile], args.m + tile * kTileStride, first, mask);
    }
  }
}

void transform_output(const WinogradOutputTiles& args) {
  if (args.residual == nullptr) {
    transform_tiles<false>(args);
  } else {
    transform_tiles<true>(args);
  }
}

}  // namespace

const WinogradKernel winograd_x86_avx512vnni = {"winograd_u8_u8_s8c_14x32c2_avx512vnni",
                                                kMr,
                                                kNr,
                                                kKr,
                                                kRun,
                                                transform_weights,
                                                transform_input,
                                                multiply,
                                                transform_output};

}  // namespace wbcq
