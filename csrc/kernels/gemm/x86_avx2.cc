// 3x32 tile for AVX2 without VNNI. The product of a u8 and an s8 pair saturates vpmaddubsw
// (2 * 255 * 127 > 32767), so activations are taken as s8 = u8 - 128 and the sign moves to the
// weights: x * w = |x| * (sign(x) * w). The largest pair is then 2 * 128 * 127 = 32512, which int16
// holds.
//
// Twelve accumulators, x, |x|, the product and one constant fill the 16 registers. Wide and low
// rather than square, because each row costs two instructions (x and |x|) whatever its width.
#include <immintrin.h>

#include "kernels/gemm/gemm.h"
#include "kernels/gemm/strip.h"

namespace wbcq {

extern const GemmKernel gemm_x86_avx2;

namespace {

#define WBCQ_INLINE inline __attribute__((always_inline))

constexpr size_t kMr = 3;
constexpr size_t kNr = 32;
constexpr size_t kKr = 4;
constexpr size_t kLanes = 8;
constexpr size_t kStepBytes = kNr * kKr;
constexpr size_t kHeaderBytes = kNr * 12;

template <typename T>
WBCQ_INLINE __m256i load(const T* p) {
  return _mm256_load_si256(reinterpret_cast<const __m256i*>(p));
}

// Four activations minus 128, as s8, in every lane.
WBCQ_INLINE __m256i broadcast_quad(const uint8_t* p) {
  int32_t quad;
  __builtin_memcpy(&quad, p, sizeof(quad));
  return _mm256_xor_si256(_mm256_set1_epi32(quad), _mm256_set1_epi8(-128));
}

template <size_t kRows, size_t kVectors>
WBCQ_INLINE void dot_step(const uint8_t* const (&a)[kRows], size_t offset, const int8_t* weights,
                          __m256i (&acc)[kRows][kVectors]) {
  const __m256i ones = _mm256_set1_epi16(1);
  __m256i w[kVectors];
#pragma GCC unroll 4
  for (size_t v = 0; v < kVectors; ++v) w[v] = load(weights + v * 32);
#pragma GCC unroll 4
  for (size_t i = 0; i < kRows; ++i) {
    const __m256i x = broadcast_quad(a[i] + offset);
    const __m256i magnitude = _mm256_abs_epi8(x);
#pragma GCC unroll 4
    for (size_t v = 0; v < kVectors; ++v) {
      const __m256i pairs = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(w[v], x));
      acc[i][v] = _mm256_add_epi32(acc[i][v], _mm256_madd_epi16(pairs, ones));
    }
  }
}

template <size_t kRows, size_t kVectors>
WBCQ_INLINE void accumulate(const GemmTile& tile, __m256i (&acc)[kRows][kVectors]) {
  const auto* start = static_cast<const int32_t*>(tile.panel);
#pragma GCC unroll 4
  for (size_t i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (size_t v = 0; v < kVectors; ++v) acc[i][v] = load(start + v * kLanes);
  }
  const int8_t* weights = static_cast<const int8_t*>(tile.panel) + kHeaderBytes;
  const uint8_t* const* lhs = tile.lhs;
  for (size_t segment = 0; segment < tile.segments; ++segment, lhs += kRows) {
    const uint8_t* a[kRows];
#pragma GCC unroll 4
    for (size_t i = 0; i < kRows; ++i) a[i] = lhs[i];
    const size_t end = tile.channel_offset + size_t{tile.steps[segment]} * kKr;
    for (size_t offset = tile.channel_offset; offset < end; offset += kKr, weights += kStepBytes) {
      dot_step<kRows, kVectors>(a, offset, weights, acc);
    }
  }
}

// AVX2 has no byte masks: the ragged right edge moves in pieces of 8, 4, 2 and 1.
WBCQ_INLINE __m128i load_partial(const uint8_t* p, size_t count) {
  alignas(8) uint8_t bytes[8] = {};
  for (size_t done = 0, piece = 4; piece != 0; piece /= 2) {
    if ((count & piece) == 0) continue;
    __builtin_memcpy(bytes + done, p + done, piece);
    done += piece;
  }
  return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes));
}

WBCQ_INLINE void store_partial(uint8_t* p, int64_t bytes, size_t count) {
  for (size_t piece = 4; piece != 0; piece /= 2) {
    if ((count & piece) == 0) continue;
    __builtin_memcpy(p, &bytes, piece);
    p += piece;
    bytes >>= 8 * piece;
  }
}

// `first` is the column of the vector's first lane.
WBCQ_INLINE __m256i load_residual(const uint8_t* row, size_t first, size_t cols) {
  const __m128i bytes = first + kLanes <= cols
                            ? _mm_loadl_epi64(reinterpret_cast<const __m128i*>(row + first))
                            : load_partial(row + first, cols - first);
  return _mm256_cvtepu8_epi32(bytes);
}

WBCQ_INLINE void store_eight(uint8_t* row, size_t first, size_t cols, int64_t bytes) {
  if (first + kLanes <= cols) {
    __builtin_memcpy(row + first, &bytes, sizeof(bytes));
  } else {
    store_partial(row + first, bytes, cols - first);
  }
}

// What is above hi is clamped before the conversion. What is below int32 becomes INT32_MIN, which
// saturates to -32768, stays negative with the zero point, saturates to 0 and ends at lo.
template <bool kResidual, size_t kRows, size_t kVectors>
WBCQ_INLINE void store_u8(const GemmTile& tile, const __m256i (&acc)[kRows][kVectors]) {
  const float* mult = static_cast<const float*>(tile.panel) + kNr;
  const __m256 hi = _mm256_set1_ps(static_cast<float>(tile.hi - tile.zero_point));
  const __m256i zero_point = _mm256_set1_epi16(static_cast<int16_t>(tile.zero_point));
  const __m256i lo = _mm256_set1_epi8(static_cast<char>(tile.lo));
  const __m256 residual_mult = _mm256_set1_ps(tile.residual_multiplier);
  const __m256i residual_zero_point = _mm256_set1_epi32(tile.residual_zero_point);
  // Packs leave dword q of vector p at 4 * q + p.
  const __m256i transpose = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
#pragma GCC unroll 4
  for (size_t i = 0; i < kRows; ++i) {
    __m256i group[4];
#pragma GCC unroll 4
    for (size_t v = 0; v < 4; ++v) {
      if (v >= kVectors) {
        group[v] = group[0];
        continue;
      }
      const __m256 m = _mm256_load_ps(mult + v * kLanes);
      __m256 x = _mm256_mul_ps(_mm256_cvtepi32_ps(acc[i][v]), m);
      if constexpr (kResidual) {
        const uint8_t* row = tile.residual + i * tile.residual_stride;
        const __m256i r = load_residual(row, v * kLanes, tile.cols);
        const __m256 shortcut = _mm256_cvtepi32_ps(_mm256_sub_epi32(r, residual_zero_point));
        x = _mm256_add_ps(x, _mm256_mul_ps(shortcut, residual_mult));
      }
      group[v] = _mm256_cvtps_epi32(_mm256_min_ps(x, hi));
    }
    const __m256i low = _mm256_add_epi16(_mm256_packs_epi32(group[0], group[1]), zero_point);
    const __m256i high = _mm256_add_epi16(_mm256_packs_epi32(group[2], group[3]), zero_point);
    const __m256i packed = _mm256_max_epu8(_mm256_packus_epi16(low, high), lo);
    const __m256i bytes = _mm256_permutevar8x32_epi32(packed, transpose);
    uint8_t* row = static_cast<uint8_t*>(tile.out) + i * tile.out_stride;
    if (kVectors == 4 && tile.cols == kNr) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(row), bytes);
      continue;
    }
    store_eight(row, 0, tile.cols, _mm256_extract_epi64(bytes, 0));
    if (kVectors > 1) store_eight(row, kLanes, tile.cols, _mm256_extract_epi64(bytes, 1));
    if (kVectors > 2) store_eight(row, 2 * kLanes, tile.cols, _mm256_extract_epi64(bytes, 2));
    if (kVectors > 3) store_eight(row, 3 * kLanes, tile.cols, _mm256_extract_epi64(bytes, 3));
  }
}

template <size_t kRows, size_t kVectors>
WBCQ_INLINE void store_f32(const GemmTile& tile, const __m256i (&acc)[kRows][kVectors]) {
  const float* mult = static_cast<const float*>(tile.panel) + kNr;
  const float* bias = mult + kNr;
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
#pragma GCC unroll 4
  for (size_t i = 0; i < kRows; ++i) {
    auto* row = reinterpret_cast<float*>(static_cast<uint8_t*>(tile.out) + i * tile.out_stride);
#pragma GCC unroll 4
    for (size_t v = 0; v < kVectors; ++v) {
      const size_t first = v * kLanes;
      const __m256 product =
          _mm256_mul_ps(_mm256_cvtepi32_ps(acc[i][v]), _mm256_load_ps(mult + first));
      const __m256 value = _mm256_add_ps(product, _mm256_load_ps(bias + first));
      const auto count = static_cast<int32_t>(tile.cols - first);
      _mm256_maskstore_ps(row + first, _mm256_cmpgt_epi32(_mm256_set1_epi32(count), lane), value);
    }
  }
}

enum class Output { kU8, kF32 };

template <size_t kRows, size_t kVectors>
void run_rows(const GemmTile& tile, Output output) {
  __m256i acc[kRows][kVectors];
  accumulate<kRows, kVectors>(tile, acc);
  if (output == Output::kF32) {
    store_f32<kRows, kVectors>(tile, acc);
  } else if (tile.residual == nullptr) {
    store_u8<false, kRows, kVectors>(tile, acc);
  } else {
    store_u8<true, kRows, kVectors>(tile, acc);
  }
}

using RunRows = void (*)(const GemmTile&, Output);

// By rows, and by the number of vectors that hold the columns.
constexpr RunRows kRunRows[kMr][kNr / kLanes] = {
    {run_rows<1, 1>, run_rows<1, 2>, run_rows<1, 3>, run_rows<1, 4>},
    {run_rows<2, 1>, run_rows<2, 2>, run_rows<2, 3>, run_rows<2, 4>},
    {run_rows<3, 1>, run_rows<3, 2>, run_rows<3, 3>, run_rows<3, 4>}};

void run(const GemmTile& strip, Output output) {
  const RunRows run_rows = kRunRows[strip.rows - 1][(strip.cols - 1) / kLanes];
  for_each_tile(strip, [&](const GemmTile& tile) { run_rows(tile, output); });
}

void run_u8(const GemmTile& tile) { run(tile, Output::kU8); }
void run_f32(const GemmTile& tile) { run(tile, Output::kF32); }

}  // namespace

const GemmKernel gemm_x86_avx2 = {"gemm_u8_u8_s8c_3x32c4_avx2", kMr,    kNr,    kLanes, kKr,
                                  /*lhs_offset=*/128,           run_u8, run_f32};

}  // namespace wbcq
