// 14x32 tile for AVX-512 VNNI: 28 accumulators, two vectors of the panel and one of activations
// fill 31 of the 32 registers. A step is 14 broadcasts and two loads for 28 vpdpbusd, so two loads
// a cycle keep two dot products a cycle busy. vpdpbusd does not saturate: sums are exact modulo
// 2^32.
#include <immintrin.h>

#include "kernels/gemm/gemm.h"
#include "kernels/gemm/strip.h"
#include "kernels/gemm/x86_avx512vnni_tile.h"

namespace wbcq {

extern const GemmKernel gemm_x86_avx512vnni;

namespace {

#define WBCQ_INLINE inline __attribute__((always_inline))

constexpr size_t kMr = 14;
constexpr size_t kNr = 32;
constexpr size_t kKr = 4;
constexpr size_t kLanes = 16;
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

// The epilogues of small and of rare tiles, shared by all of them. What is above hi is clamped
// before the conversion. What is below int32 becomes INT32_MIN, which saturates to -32768, stays
// negative with the zero point, saturates to 0 and ends at lo.
__attribute__((noinline)) void store_u8(const GemmTile& tile, const int32_t* sums, size_t vectors) {
  const float* mult = static_cast<const float*>(tile.panel) + kNr;
  const __m512 hi = _mm512_set1_ps(static_cast<float>(tile.hi - tile.zero_point));
  const __m256i zero_point = _mm256_set1_epi16(static_cast<int16_t>(tile.zero_point));
  const __m128i lo = _mm_set1_epi8(static_cast<char>(tile.lo));
  const __m512 residual_mult = _mm512_set1_ps(tile.residual_multiplier);
  const __m512i residual_zero_point = _mm512_set1_epi32(tile.residual_zero_point);
  for (size_t i = 0; i < tile.rows; ++i) {
    auto* out = static_cast<uint8_t*>(tile.out) + i * tile.out_stride;
    for (size_t v = 0; v < vectors; ++v, sums += kLanes) {
      const __mmask16 mask = column_mask(tile.cols, v);
      const __m512 sum = _mm512_cvtepi32_ps(_mm512_load_si512(sums));
      __m512 x = _mm512_mul_ps(sum, _mm512_load_ps(mult + v * kLanes));
      if (tile.residual != nullptr) {
        const uint8_t* residual = tile.residual + i * tile.residual_stride + v * kLanes;
        const __m512i r = _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(mask, residual));
        const __m512 shortcut = _mm512_cvtepi32_ps(_mm512_sub_epi32(r, residual_zero_point));
        x = _mm512_add_ps(x, _mm512_mul_ps(shortcut, residual_mult));
      }
      const __m256i words = _mm512_cvtsepi32_epi16(_mm512_cvtps_epi32(_mm512_min_ps(x, hi)));
      const __m256i shifted = _mm256_add_epi16(words, zero_point);
      const __m128i bytes =
          _mm_packus_epi16(_mm256_castsi256_si128(shifted), _mm256_extracti128_si256(shifted, 1));
      _mm_mask_storeu_epi8(out + v * kLanes, mask, _mm_max_epu8(bytes, lo));
    }
  }
}

__attribute__((noinline)) void store_f32(const GemmTile& tile, const int32_t* sums,
                                         size_t vectors) {
  const float* mult = static_cast<const float*>(tile.panel) + kNr;
  const float* bias = mult + kNr;
  for (size_t i = 0; i < tile.rows; ++i) {
    auto* out = reinterpret_cast<float*>(static_cast<uint8_t*>(tile.out) + i * tile.out_stride);
    for (size_t v = 0; v < vectors; ++v, sums += kLanes) {
      const __m512 sum = _mm512_cvtepi32_ps(_mm512_load_si512(sums));
      const __m512 product = _mm512_mul_ps(sum, _mm512_load_ps(mult + v * kLanes));
      const __m512 value = _mm512_add_ps(product, _mm512_load_ps(bias + v * kLanes));
      _mm512_mask_storeu_ps(out + v * kLanes, column_mask(tile.cols, v), value);
    }
  }
}

enum class Output { kU8, kF32 };

template <size_t kRows, size_t kVectors>
void run_small(const GemmTile& strip, Output output) {
  for_each_tile(
      strip, [&](const GemmTile& tile) __attribute__((always_inline)) {
        __m512i acc[kRows][kVectors];
        accumulate<kRows, kVectors>(tile, acc);
        alignas(64) int32_t sums[kRows * kVectors * kLanes];
#pragma GCC unroll 16
        for (size_t i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
          for (size_t v = 0; v < kVectors; ++v) {
            _mm512_store_si512(sums + (i * kVectors + v) * kLanes, acc[i][v]);
          }
        }
        if (output == Output::kF32) {
          store_f32(tile, sums, kVectors);
        } else {
          store_u8(tile, sums, kVectors);
        }
      });
}

WBCQ_INLINE void fill_frame(const GemmTile& strip, size_t vectors, bool sums, Frame& frame) {
  _mm512_store_si512(frame.zero_point, _mm512_set1_epi16(static_cast<int16_t>(strip.zero_point)));
  _mm512_store_si512(frame.hi, _mm512_set1_epi8(static_cast<char>(strip.hi)));
  _mm512_store_si512(frame.lo, _mm512_set1_epi8(static_cast<char>(strip.lo)));
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  _mm512_store_si512(frame.order, order);
  frame.lhs = strip.lhs;
  frame.panel = strip.panel;
  frame.steps = strip.steps;
  frame.segments = strip.segments;
  frame.channel_offset = strip.channel_offset;
  frame.out = strip.out;
  frame.out_stride = strip.out_stride;
  frame.residual = strip.residual;
  frame.residual_stride = strip.residual_stride;
  frame.output = sums                        ? TileOutput::kSums
                 : strip.residual != nullptr ? TileOutput::kU8Residual
                                             : TileOutput::kU8;
  frame.residual_multiplier = strip.residual_multiplier;
  frame.residual_zero_point = strip.residual_zero_point;
  frame.out_mask = static_cast<uint32_t>((uint64_t{1} << strip.cols) - 1);
  frame.residual_mask = column_mask(strip.cols, vectors - 1);
}

template <size_t kRows, size_t kVectors>
void run_large(const GemmTile& strip, Output output) {
  alignas(64) int32_t sums[kRows * kVectors * kLanes];
  const bool store_sums = output == Output::kF32 || strip.wide;
  Frame frame;
  fill_frame(strip, kVectors, store_sums, frame);
  frame.sums = sums;
  const void* wish = strip.prefetch;
  for_each_tile(
      strip, [&](const GemmTile& tile) __attribute__((always_inline)) {
        frame.lhs = tile.lhs;
        frame.out = tile.out;
        frame.residual = tile.residual;
        // Without a wish the loop prefetches what it reads anyway: that costs less than a branch.
        const bool wished = wish < strip.prefetch_end;
        frame.prefetch = wished ? wish : strip.panel;
        if constexpr (kVectors == 2) {
          wide_tile<kRows>(&frame);
        } else {
          narrow_tile<kRows>(&frame);
        }
        if (wished) wish = frame.prefetch;
        if (output == Output::kF32) {
          store_f32(tile, sums, kVectors);
        } else if (store_sums) {
          store_u8(tile, sums, kVectors);
        }
      });
}

using RunRows = void (*)(const GemmTile&, Output);

// Fewer than eight accumulators need several chains of sums.
constexpr RunRows kNarrow[kMr] = {
    run_small<1, 1>,  run_small<2, 1>,  run_small<3, 1>,  run_small<4, 1>, run_small<5, 1>,
    run_small<6, 1>,  run_small<7, 1>,  run_large<8, 1>,  run_large<9, 1>, run_large<10, 1>,
    run_large<11, 1>, run_large<12, 1>, run_large<13, 1>, run_large<14, 1>};
constexpr RunRows kWide[kMr] = {
    run_small<1, 2>,  run_small<2, 2>,  run_small<3, 2>,  run_small<4, 2>, run_large<5, 2>,
    run_large<6, 2>,  run_large<7, 2>,  run_large<8, 2>,  run_large<9, 2>, run_large<10, 2>,
    run_large<11, 2>, run_large<12, 2>, run_large<13, 2>, run_large<14, 2>};

// A tile of at most 16 columns computes the first half of each step only.
void run(const GemmTile& strip, Output output) {
  const RunRows* table = strip.cols <= kLanes ? kNarrow : kWide;
  table[strip.rows - 1](strip, output);
}

void run_u8(const GemmTile& strip) { run(strip, Output::kU8); }
void run_f32(const GemmTile& strip) { run(strip, Output::kF32); }

}  // namespace

const GemmKernel gemm_x86_avx512vnni = {"gemm_u8_u8_s8c_14x32c4_avx512vnni",
                                        kMr,
                                        kNr,
                                        kLanes,
                                        kKr,
                                        /*lhs_offset=*/0,
                                        run_u8,
                                        run_f32};

}  // namespace wbcq
