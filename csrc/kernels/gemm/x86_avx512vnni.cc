// 14x32 tile for AVX-512 VNNI: 28 accumulators, two vectors of the panel and one of activations
// fill 31 of the 32 registers. A step is 14 broadcasts and two loads for 28 vpdpbusd, so two loads
// a cycle keep two dot products a cycle busy. vpdpbusd does not saturate: sums are exact modulo
// 2^32.
#include <immintrin.h>

#include "kernels/gemm/gemm.h"

namespace wbcq {

extern const GemmKernel gemm_x86_avx512vnni;

namespace {

#define WBCQ_INLINE inline __attribute__((always_inline))

constexpr size_t kMr = 14;
constexpr size_t kNr = 32;
constexpr size_t kKr = 4;
constexpr size_t kLanes = 16;
constexpr size_t kMaxVectors = kNr / kLanes;
constexpr size_t kStepBytes = kNr * kKr;
constexpr size_t kHeaderBytes = kNr * 12;

// Assembly, because GCC 12 copies and spills accumulators around the builtin's tied operand: the
// same loop runs 2.4 times slower with the intrinsic.
WBCQ_INLINE void dot(__m512i& acc, __m512i activations, __m512i weights) {
  __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(activations), "v"(weights));
}

WBCQ_INLINE __m512i broadcast_quad(const uint8_t* p) {
  int32_t quad;
  __builtin_memcpy(&quad, p, sizeof(quad));
  return _mm512_set1_epi32(quad);
}

// vpdpbusd takes four cycles and two start in each: a tile with too few accumulators to fill them
// sends consecutive steps to different chains, which are added at the end.
constexpr size_t chains_for(size_t accumulators) {
  return accumulators >= 10 ? 1 : accumulators >= 5 ? 2 : 4;
}

template <size_t kRows, size_t kVectors>
WBCQ_INLINE void dot_step(const uint8_t* const (&a)[kRows], size_t offset, const int8_t* weights,
                          __m512i (&acc)[kRows][kVectors]) {
  __m512i w[kVectors];
#pragma GCC unroll 2
  for (size_t v = 0; v < kVectors; ++v) w[v] = _mm512_load_si512(weights + v * 64);
#pragma GCC unroll 16
  for (size_t i = 0; i < kRows; ++i) {
    const __m512i quad = broadcast_quad(a[i] + offset);
#pragma GCC unroll 2
    for (size_t v = 0; v < kVectors; ++v) dot(acc[i][v], quad, w[v]);
  }
}

template <size_t kRows, size_t kVectors>
WBCQ_INLINE void accumulate(const GemmTile& tile, __m512i (&sum)[kRows][kVectors]) {
  constexpr size_t kChains = chains_for(kRows * kVectors);
  __m512i acc[kChains][kRows][kVectors];
  const auto* start = static_cast<const int32_t*>(tile.panel);
#pragma GCC unroll 4
  for (size_t c = 0; c < kChains; ++c) {
#pragma GCC unroll 16
    for (size_t i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
      for (size_t v = 0; v < kVectors; ++v) {
        acc[c][i][v] = c == 0 ? _mm512_load_si512(start + v * kLanes) : _mm512_setzero_si512();
      }
    }
  }
  const int8_t* weights = static_cast<const int8_t*>(tile.panel) + kHeaderBytes;
  const uint8_t* const* lhs = tile.lhs;
  // Without a wish the loop prefetches one line again and again, which costs less than a branch.
  const auto* prefetch =
      static_cast<const char*>(tile.prefetch != nullptr ? tile.prefetch : tile.panel);
  const size_t prefetch_bytes = tile.prefetch != nullptr ? kGemmPrefetchBytes : 0;
  for (size_t segment = 0; segment < tile.segments; ++segment, lhs += kRows) {
    const uint8_t* a[kRows];
#pragma GCC unroll 16
    for (size_t i = 0; i < kRows; ++i) a[i] = lhs[i];
    size_t offset = tile.channel_offset;
    const size_t end = offset + size_t{tile.steps[segment]} * kKr;
    for (; offset + kChains * kKr <= end; offset += kChains * kKr) {
#pragma GCC unroll 4
      for (size_t c = 0; c < kChains; ++c) {
        dot_step<kRows, kVectors>(a, offset + c * kKr, weights + c * kStepBytes, acc[c]);
      }
      weights += kChains * kStepBytes;
      if constexpr (kChains == 1) {
        _mm_prefetch(prefetch, _MM_HINT_T1);
        prefetch += prefetch_bytes;
      }
    }
    if constexpr (kChains > 1) {
      for (; offset < end; offset += kKr, weights += kStepBytes) {
        dot_step<kRows, kVectors>(a, offset, weights, acc[0]);
      }
    }
  }
#pragma GCC unroll 16
  for (size_t i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
    for (size_t v = 0; v < kVectors; ++v) {
      sum[i][v] = acc[0][i][v];
#pragma GCC unroll 4
      for (size_t c = 1; c < kChains; ++c) sum[i][v] = _mm512_add_epi32(sum[i][v], acc[c][i][v]);
    }
  }
}

WBCQ_INLINE __mmask16 column_mask(size_t cols, size_t vector) {
  const size_t first = vector * kLanes;
  if (cols >= first + kLanes) return 0xFFFF;
  return static_cast<__mmask16>((1u << (cols - first)) - 1);
}

// The four vectors hold 64 consecutive outputs of the tile in row order. Packs leave dword q of
// vector p at 4 * q + p, which the transposition of a 4x4 matrix of dwords puts right.
WBCQ_INLINE __m512i pack_u8(const __m512i (&v)[4], __m512i zero_point, __m512i lo) {
  const __m512i transpose = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  const __m512i low = _mm512_add_epi16(_mm512_packs_epi32(v[0], v[1]), zero_point);
  const __m512i high = _mm512_add_epi16(_mm512_packs_epi32(v[2], v[3]), zero_point);
  const __m512i bytes = _mm512_max_epu8(_mm512_packus_epi16(low, high), lo);
  return _mm512_permutexvar_epi32(transpose, bytes);
}

// Row `part` of what pack_u8() returned.
template <size_t kVectors, size_t kPart>
WBCQ_INLINE void store_row(uint8_t* out, size_t cols, __m512i bytes) {
  if constexpr (kVectors == 2) {
    const __m256i row = _mm512_extracti64x4_epi64(bytes, kPart);
    if (cols == 2 * kLanes) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), row);
    } else {
      _mm256_mask_storeu_epi8(out, (__mmask32{1} << cols) - 1, row);
    }
  } else {
    const __m128i row = _mm512_extracti32x4_epi32(bytes, kPart);
    if (cols == kLanes) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out), row);
    } else {
      _mm_mask_storeu_epi8(out, static_cast<__mmask16>((1u << cols) - 1), row);
    }
  }
}

// What is above hi is clamped before the conversion. What is below int32 becomes INT32_MIN, which
// saturates to -32768, stays negative with the zero point, saturates to 0 and ends at lo.
template <bool kResidual, size_t kRows, size_t kVectors>
WBCQ_INLINE void store_u8(const GemmTile& tile, const __m512i (&acc)[kRows][kVectors]) {
  constexpr size_t kGroupRows = 4 / kVectors;
  const float* mult = static_cast<const float*>(tile.panel) + kNr;
  const __m512 hi = _mm512_set1_ps(static_cast<float>(tile.hi - tile.zero_point));
  const __m512i zero_point = _mm512_set1_epi16(static_cast<int16_t>(tile.zero_point));
  const __m512i lo = _mm512_set1_epi8(static_cast<char>(tile.lo));
  const __m512 residual_mult = _mm512_set1_ps(tile.residual_multiplier);
  const __m512i residual_zero_point = _mm512_set1_epi32(tile.residual_zero_point);
  const __mmask16 last_mask = column_mask(tile.cols, kVectors - 1);
  auto* out = static_cast<uint8_t*>(tile.out);
#pragma GCC unroll 16
  for (size_t first = 0; first < kRows; first += kGroupRows) {
    __m512i group[4];
#pragma GCC unroll 4
    for (size_t p = 0; p < 4; ++p) {
      const size_t i = first + p / kVectors;
      const size_t v = p % kVectors;
      if (i >= kRows) {
        group[p] = group[v];
        continue;
      }
      const __m512 m = _mm512_load_ps(mult + v * kLanes);
      __m512 x = _mm512_mul_ps(_mm512_cvtepi32_ps(acc[i][v]), m);
      if constexpr (kResidual) {
        const uint8_t* residual = tile.residual + i * tile.residual_stride + v * kLanes;
        const __mmask16 mask = v + 1 == kVectors ? last_mask : 0xFFFF;
        const __m512i r = _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(mask, residual));
        const __m512 shortcut = _mm512_cvtepi32_ps(_mm512_sub_epi32(r, residual_zero_point));
        x = _mm512_add_ps(x, _mm512_mul_ps(shortcut, residual_mult));
      }
      group[p] = _mm512_cvtps_epi32(_mm512_min_ps(x, hi));
    }
    const __m512i bytes = pack_u8(group, zero_point, lo);
    uint8_t* row = out + first * tile.out_stride;
    store_row<kVectors, 0>(row, tile.cols, bytes);
    if (first + 1 < kRows) store_row<kVectors, 1>(row + tile.out_stride, tile.cols, bytes);
    if constexpr (kGroupRows == 4) {
      if (first + 2 < kRows) store_row<kVectors, 2>(row + 2 * tile.out_stride, tile.cols, bytes);
      if (first + 3 < kRows) store_row<kVectors, 3>(row + 3 * tile.out_stride, tile.cols, bytes);
    }
  }
}

// Only layers that end a graph come here, so the code is shared by all tile heights.
__attribute__((noinline)) void store_f32(const GemmTile& tile, const int32_t* acc, size_t vectors) {
  const float* mult = static_cast<const float*>(tile.panel) + kNr;
  const float* bias = mult + kNr;
  for (size_t i = 0; i < tile.rows; ++i) {
    auto* out = reinterpret_cast<float*>(static_cast<uint8_t*>(tile.out) + i * tile.out_stride);
    for (size_t v = 0; v < vectors; ++v, acc += kLanes) {
      const __m512 sum = _mm512_cvtepi32_ps(_mm512_load_si512(acc));
      const __m512 product = _mm512_mul_ps(sum, _mm512_load_ps(mult + v * kLanes));
      const __m512 value = _mm512_add_ps(product, _mm512_load_ps(bias + v * kLanes));
      _mm512_mask_storeu_ps(out + v * kLanes, column_mask(tile.cols, v), value);
    }
  }
}

enum class Output { kU8, kF32 };

template <size_t kRows, size_t kVectors>
void run_rows(const GemmTile& tile, Output output) {
  __m512i acc[kRows][kVectors];
  accumulate<kRows, kVectors>(tile, acc);
  if (output == Output::kF32) {
    alignas(64) int32_t sums[kRows * kVectors * kLanes];
#pragma GCC unroll 16
    for (size_t i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
      for (size_t v = 0; v < kVectors; ++v) {
        _mm512_store_si512(sums + (i * kVectors + v) * kLanes, acc[i][v]);
      }
    }
    store_f32(tile, sums, kVectors);
  } else if (tile.residual == nullptr) {
    store_u8<false, kRows, kVectors>(tile, acc);
  } else {
    store_u8<true, kRows, kVectors>(tile, acc);
  }
}

using RunRows = void (*)(const GemmTile&, Output);

template <size_t kVectors>
constexpr RunRows kRunRows[kMr] = {
    run_rows<1, kVectors>,  run_rows<2, kVectors>,  run_rows<3, kVectors>,  run_rows<4, kVectors>,
    run_rows<5, kVectors>,  run_rows<6, kVectors>,  run_rows<7, kVectors>,  run_rows<8, kVectors>,
    run_rows<9, kVectors>,  run_rows<10, kVectors>, run_rows<11, kVectors>, run_rows<12, kVectors>,
    run_rows<13, kVectors>, run_rows<14, kVectors>};

// A tile of at most 16 columns computes the first half of each step only.
void run(const GemmTile& tile, Output output) {
  const RunRows* table = tile.cols <= kLanes ? kRunRows<1> : kRunRows<kMaxVectors>;
  table[tile.rows - 1](tile, output);
}

void run_u8(const GemmTile& tile) { run(tile, Output::kU8); }
void run_f32(const GemmTile& tile) { run(tile, Output::kF32); }

}  // namespace

const GemmKernel gemm_x86_avx512vnni = {
    "gemm_u8_u8_s8c_14x32c4_avx512vnni", kMr, kNr, kLanes, kKr, /*lhs_offset=*/0, run_u8, run_f32};

}  // namespace wbcq
