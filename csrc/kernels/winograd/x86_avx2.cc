// Exact Winograd on AVX2: products of 6 tiles by 16 output channels, twelve accumulators, two
// vectors of U, one pair of V and the product in the 16 registers. vpmaddwd adds two int16
// products; it would overflow for factors of -32768 alone.
#include <immintrin.h>

#include "kernels/winograd/winograd.h"

namespace wbcq {

extern const WinogradKernel winograd_x86_avx2;

namespace {

#define WBCQ_INLINE inline __attribute__((always_inline))

constexpr size_t kMr = 6;
constexpr size_t kNr = 16;
constexpr size_t kKr = 2;
constexpr size_t kRun = 16;
constexpr size_t kRunSteps = kRun / kKr;
constexpr size_t kLanes = 8;
constexpr size_t kVectors = kNr / kLanes;
constexpr size_t kStep = kNr * kKr;  // int16 of U
constexpr size_t kStartPosition = 7;
constexpr size_t kTileStride = kWinogradPositions * kNr;  // int32 of M

template <typename T>
WBCQ_INLINE __m256i load(const T* p) {
  return _mm256_load_si256(reinterpret_cast<const __m256i*>(p));
}

template <typename T>
WBCQ_INLINE void store(T* p, __m256i value) {
  _mm256_store_si256(reinterpret_cast<__m256i*>(p), value);
}

WBCQ_INLINE __m256i sub16(__m256i a, __m256i b) { return _mm256_sub_epi16(a, b); }
WBCQ_INLINE __m256i add16(__m256i a, __m256i b) { return _mm256_add_epi16(a, b); }

// out = B^T d, modulo 2^16 within, exact at the end.
WBCQ_INLINE void transform_six(const __m256i (&d)[6], __m256i (&out)[6]) {
  const __m256i a = sub16(d[4], _mm256_slli_epi16(d[2], 2));
  const __m256i b = sub16(d[3], _mm256_slli_epi16(d[1], 2));
  const __m256i c = sub16(d[4], d[2]);
  const __m256i f = sub16(d[3], d[1]);
  const __m256i e = add16(f, f);
  out[0] = add16(_mm256_slli_epi16(sub16(d[0], d[2]), 2), c);
  out[1] = add16(a, b);
  out[2] = sub16(a, b);
  out[3] = add16(c, e);
  out[4] = sub16(c, e);
  out[5] = sub16(sub16(d[5], d[3]), add16(e, e));
}

WBCQ_INLINE void transform_tile(const uint8_t* const* pixels, size_t tiles, size_t first,
                                int16_t* v, size_t position_stride) {
  alignas(32) int16_t columns[6][6][kRun];
#pragma GCC unroll 6
  for (size_t x = 0; x < 6; ++x) {
    __m256i d[6], t[6];
#pragma GCC unroll 6
    for (size_t y = 0; y < 6; ++y) {
      const uint8_t* pixel = pixels[(y * 6 + x) * tiles] + first;
      d[y] = _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(pixel)));
    }
    transform_six(d, t);
#pragma GCC unroll 6
    for (size_t y = 0; y < 6; ++y) store(columns[y][x], t[y]);
  }
  for (size_t y = 0; y < 6; ++y) {
    __m256i d[6], out[6];
#pragma GCC unroll 6
    for (size_t x = 0; x < 6; ++x) d[x] = load(columns[y][x]);
    transform_six(d, out);
#pragma GCC unroll 6
    for (size_t x = 0; x < 6; ++x, v += position_stride) store(v, out[x]);
  }
}

void transform_input(const WinogradInputTiles& args) {
  int16_t* v = args.v;
  for (size_t first = 0; first < args.channels; first += kRun) {
    for (size_t tile = 0; tile < args.tiles; ++tile, v += kRun) {
      transform_tile(args.pixels + tile, args.tiles, first, v, args.position_stride);
    }
  }
}

WBCQ_INLINE __m256i broadcast_pair(const int16_t* p) {
  int32_t pair;
  __builtin_memcpy(&pair, p, sizeof(pair));
  return _mm256_set1_epi32(pair);
}

template <size_t kRows>
WBCQ_INLINE void multiply_position(const int16_t* v, const int16_t* u, size_t steps,
                                   const int32_t* start, int32_t* m) {
  __m256i acc[kRows][kVectors];
#pragma GCC unroll 6
  for (size_t i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
    for (size_t j = 0; j < kVectors; ++j) {
      acc[i][j] = start == nullptr ? _mm256_setzero_si256() : load(start + j * kLanes);
    }
  }
  for (; steps != 0; v += kRows * kRun) {
    const size_t count = steps < kRunSteps ? steps : kRunSteps;
    const int16_t* row = v;
    steps -= count;
    for (size_t s = 0; s < count; ++s, row += kKr, u += kStep) {
      const __m256i u0 = load(u);
      const __m256i u1 = load(u + kStep / kVectors);
#pragma GCC unroll 6
      for (size_t i = 0; i < kRows; ++i) {
        const __m256i pair = broadcast_pair(row + i * kRun);
        acc[i][0] = _mm256_add_epi32(acc[i][0], _mm256_madd_epi16(pair, u0));
        acc[i][1] = _mm256_add_epi32(acc[i][1], _mm256_madd_epi16(pair, u1));
      }
    }
  }
#pragma GCC unroll 6
  for (size_t i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
    for (size_t j = 0; j < kVectors; ++j) store(m + i * kTileStride + j * kLanes, acc[i][j]);
  }
}

template <size_t kRows>
void multiply_rows(const WinogradProduct& args) {
  const size_t steps = (args.channels + kKr - 1) / kKr;
  const int16_t* u = args.u;
  for (size_t p = args.first_position; p < args.first_position + args.positions; ++p) {
    const int16_t* v = args.v + p * args.position_stride;
    const int32_t* start = p == kStartPosition ? args.start : nullptr;
    multiply_position<kRows>(v, u, steps, start, args.m + p * kNr);
    u += steps * kStep;
  }
}

constexpr void (*kMultiply[kMr])(const WinogradProduct&) = {multiply_rows<1>, multiply_rows<2>,
                                                            multiply_rows<3>, multiply_rows<4>,
                                                            multiply_rows<5>, multiply_rows<6>};

void multiply(const WinogradProduct& args) { kMultiply[args.tiles - 1](args); }

// out = A^T m, modulo 2^32.
WBCQ_INLINE void transform_four(const __m256i (&m)[6], __m256i (&out)[4]) {
  const __m256i s12 = _mm256_add_epi32(m[1], m[2]);
  const __m256i d12 = _mm256_sub_epi32(m[1], m[2]);
  const __m256i s34 = _mm256_add_epi32(m[3], m[4]);
  const __m256i d34 = _mm256_sub_epi32(m[3], m[4]);
  out[0] = _mm256_add_epi32(_mm256_add_epi32(m[0], s34), _mm256_slli_epi32(s12, 2));
  out[1] = _mm256_add_epi32(_mm256_add_epi32(d12, d12), d34);
  out[2] = _mm256_add_epi32(s12, s34);
  out[3] = _mm256_add_epi32(_mm256_add_epi32(m[5], d12), _mm256_add_epi32(d34, d34));
}

// Where the exponent of row or column i of D begins among a panel's multipliers.
constexpr size_t kTwos[4] = {2, 1, 0, 0};

// AVX2 has no byte masks: the ragged right edge moves in pieces of 4, 2 and 1.
WBCQ_INLINE __m128i load_partial(const uint8_t* p, size_t count) {
  alignas(8) uint8_t bytes[8] = {};
  for (size_t done = 0, piece = 4; piece != 0; piece /= 2) {
    if ((count & piece) == 0) continue;
    __builtin_memcpy(bytes + done, p + done, piece);
    done += piece;
  }
  return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes));
}

WBCQ_INLINE void store_pixel(uint8_t* p, int64_t bytes, size_t count) {
  if (count >= kLanes) {
    __builtin_memcpy(p, &bytes, sizeof(bytes));
    return;
  }
  for (size_t piece = 4; piece != 0; piece /= 2) {
    if ((count & piece) == 0) continue;
    __builtin_memcpy(p, &bytes, piece);
    p += piece;
    bytes >>= 8 * piece;
  }
}

WBCQ_INLINE __m256i load_residual(const uint8_t* p, size_t count) {
  const __m128i bytes = count >= kLanes ? _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))
                                        : load_partial(p, count);
  return _mm256_cvtepu8_epi32(bytes);
}

// Four pixels of eight channels. Packs leave dword q of vector p at 4 * q + p.
WBCQ_INLINE void store_pixels(uint8_t* out, size_t stride, size_t pixels, size_t count,
                              const __m256i (&v)[4], __m256i zero_point, __m256i lo) {
  const __m256i transpose = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  const __m256i low = _mm256_add_epi16(_mm256_packs_epi32(v[0], v[1]), zero_point);
  const __m256i high = _mm256_add_epi16(_mm256_packs_epi32(v[2], v[3]), zero_point);
  const __m256i packed = _mm256_max_epu8(_mm256_packus_epi16(low, high), lo);
  const __m256i bytes = _mm256_permutevar8x32_epi32(packed, transpose);
  store_pixel(out, _mm256_extract_epi64(bytes, 0), count);
  if (pixels > 1) store_pixel(out + stride, _mm256_extract_epi64(bytes, 1), count);
  if (pixels > 2) store_pixel(out + 2 * stride, _mm256_extract_epi64(bytes, 2), count);
  if (pixels > 3) store_pixel(out + 3 * stride, _mm256_extract_epi64(bytes, 3), count);
}

// The columns of M, transformed: four rows of six.
WBCQ_INLINE void transform_columns(const int32_t* m, int32_t (&columns)[4][6][kLanes]) {
#pragma GCC unroll 6
  for (size_t x = 0; x < 6; ++x) {
    __m256i t[6], column[4];
#pragma GCC unroll 6
    for (size_t y = 0; y < 6; ++y) t[y] = load(m + (y * 6 + x) * kNr);
    transform_four(t, column);
#pragma GCC unroll 4
    for (size_t y = 0; y < 4; ++y) store(columns[y][x], column[y]);
  }
}

// What is above hi is clamped before the conversion. What is below int32 becomes INT32_MIN, which
// saturates to -32768, stays negative with the zero point, saturates to 0 and ends at lo.
template <bool kResidual>
void transform_back(const WinogradOutputTiles& args, const WinogradPlace& place, const int32_t* m,
                    size_t first) {
  const __m256i inverse_of_9 = _mm256_set1_epi32(0x38E38E39);
  const __m256 hi = _mm256_set1_ps(static_cast<float>(args.hi - args.zero_point));
  const __m256i zero_point = _mm256_set1_epi16(static_cast<int16_t>(args.zero_point));
  const __m256i lo = _mm256_set1_epi8(static_cast<char>(args.lo));
  const float* mult = static_cast<const float*>(args.panel) + kNr + first;
  const size_t count = args.channels - first;
  alignas(32) int32_t columns[4][6][kLanes];
  transform_columns(m, columns);
  for (size_t y = 0; y < place.rows; ++y) {
    __m256i t[6], acc[4];
#pragma GCC unroll 6
    for (size_t x = 0; x < 6; ++x) t[x] = load(columns[y][x]);
    transform_four(t, acc);
#pragma GCC unroll 4
    for (size_t x = 0; x < 4; ++x) {
      const __m256i scaled = _mm256_mullo_epi32(acc[x], inverse_of_9);
      const __m256 multiplier = _mm256_load_ps(mult + (kTwos[y] + kTwos[x]) * kNr);
      __m256 value = _mm256_mul_ps(_mm256_cvtepi32_ps(scaled), multiplier);
      // Pixels outside the picture are not stored, and none of theirs is read.
      if (kResidual && x < place.cols) {
        const uint8_t* residual = args.residual + place.residual + y * args.residual_row_stride +
                                  x * args.residual_pixel_stride + first;
        const __m256i r = _mm256_sub_epi32(load_residual(residual, count),
                                           _mm256_set1_epi32(args.residual_zero_point));
        value = _mm256_add_ps(
            value, _mm256_mul_ps(_mm256_cvtepi32_ps(r), _mm256_set1_ps(args.residual_multiplier)));
      }
      acc[x] = _mm256_cvtps_epi32(_mm256_min_ps(value, hi));
    }
    store_pixels(args.out + place.out + y * args.out_row_stride + first, args.out_pixel_stride,
                 place.cols, count, acc, zero_point, lo);
  }
}

void transform_output(const WinogradOutputTiles& args) {
  for (size_t tile = 0; tile < args.tiles; ++tile) {
    for (size_t first = 0; first < args.channels; first += kLanes) {
      const int32_t* m = args.m + tile * kTileStride + first;
      if (args.residual == nullptr) {
        transform_back<false>(args, args.places[tile], m, first);
      } else {
        transform_back<true>(args, args.places[tile], m, first);
      }
    }
  }
}

}  // namespace

const WinogradKernel winograd_x86_avx2 = {"winograd_u8_u8_s8c_6x16c2_avx2",
                                          kMr,
                                          kNr,
                                          kKr,
                                          kRun,
                                          /*transform_weights=*/nullptr,
                                          transform_input,
                                          multiply,
                                          transform_output};

}  // namespace wbcq
