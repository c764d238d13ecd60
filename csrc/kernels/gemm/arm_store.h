// The epilogue of the NEON kernels, for a row of up to 16 accumulators. Baseline Advanced SIMD
// only, and all of it in an anonymous namespace: every ISA file has its own copy, compiled with its
// flags.
#ifndef WBCQ_KERNELS_GEMM_ARM_STORE_H_
#define WBCQ_KERNELS_GEMM_ARM_STORE_H_

#include <arm_neon.h>

#include "kernels/gemm/gemm.h"
#include "kernels/gemm/strip.h"

#define WBCQ_INLINE inline __attribute__((always_inline))

namespace wbcq {
namespace {

constexpr size_t kLanes = 4;  // int32 or float lanes of a vector

// The first `count` of eight bytes, in pieces that stay inside the row; the others are zero.
WBCQ_INLINE uint8x8_t load_bytes(const uint8_t* p, size_t count) {
  if (count >= 8) return vld1_u8(p);
  uint64_t bytes = 0;
  size_t done = 0;
  if (count & 4) {
    uint32_t piece;
    __builtin_memcpy(&piece, p, sizeof(piece));
    bytes = piece;
    done = 4;
  }
  if (count & 2) {
    uint16_t piece;
    __builtin_memcpy(&piece, p + done, sizeof(piece));
    bytes |= uint64_t{piece} << (8 * done);
    done += 2;
  }
  if (count & 1) bytes |= uint64_t{p[done]} << (8 * done);
  return vcreate_u8(bytes);
}

WBCQ_INLINE void store_bytes(uint8_t* p, uint8x8_t value, size_t count) {
  if (count >= 8) {
    vst1_u8(p, value);
    return;
  }
  uint64_t bytes = vget_lane_u64(vreinterpret_u64_u8(value), 0);
  if (count & 4) {
    __builtin_memcpy(p, &bytes, 4);
    p += 4;
    bytes >>= 32;
  }
  if (count & 2) {
    __builtin_memcpy(p, &bytes, 2);
    p += 2;
    bytes >>= 16;
  }
  if (count & 1) *p = static_cast<uint8_t>(bytes);
}

// Row i of a tile: clamp(rne(acc * mult [+ residual]) + zero_point, lo, hi). Every conversion on
// the way to u8 saturates and is monotone, so clamping at the end equals clamping the float.
template <bool kResidual, size_t kVectors>
WBCQ_INLINE void store_row_u8(const GemmTile& tile, const float* mult, size_t i,
                              const int32x4_t (&acc)[kVectors]) {
  constexpr size_t kHalves = (kVectors + 1) / 2;
  const int16x8_t zero_point = vdupq_n_s16(static_cast<int16_t>(tile.zero_point));
  const uint8x8_t lo = vdup_n_u8(static_cast<uint8_t>(tile.lo));
  const uint8x8_t hi = vdup_n_u8(static_cast<uint8_t>(tile.hi));
  uint8_t* out = static_cast<uint8_t*>(tile.out) + i * tile.out_stride;
#pragma GCC unroll 2
  for (size_t h = 0; h < kHalves; ++h) {
    const size_t first = 8 * h;
    const size_t second = 2 * h + 1 < kVectors ? 2 * h + 1 : 2 * h;
    float32x4_t low = vmulq_f32(vcvtq_f32_s32(acc[2 * h]), vld1q_f32(mult + first));
    float32x4_t high = vmulq_f32(vcvtq_f32_s32(acc[second]), vld1q_f32(mult + second * kLanes));
    if constexpr (kResidual) {
      const uint8_t* residual = tile.residual + i * tile.residual_stride + first;
      const uint16x8_t r = vmovl_u8(load_bytes(residual, tile.cols - first));
      const int16x8_t centred = vsubq_s16(
          vreinterpretq_s16_u16(r), vdupq_n_s16(static_cast<int16_t>(tile.residual_zero_point)));
      const float32x4_t m = vdupq_n_f32(tile.residual_multiplier);
      const int32x4_t centred_low = vmovl_s16(vget_low_s16(centred));
      const int32x4_t centred_high = vmovl_high_s16(centred);
      low = vaddq_f32(low, vmulq_f32(vcvtq_f32_s32(centred_low), m));
      high = vaddq_f32(high, vmulq_f32(vcvtq_f32_s32(centred_high), m));
    }
    const int16x4_t narrow = vqmovn_s32(vcvtnq_s32_f32(low));
    const int16x8_t rounded = vqmovn_high_s32(narrow, vcvtnq_s32_f32(high));
    const uint8x8_t bytes = vqmovun_s16(vqaddq_s16(rounded, zero_point));
    store_bytes(out + first, vmax_u8(vmin_u8(bytes, hi), lo), tile.cols - first);
  }
}

template <size_t kVectors>
WBCQ_INLINE void store_row_f32(const GemmTile& tile, const float* mult, const float* bias, size_t i,
                               const int32x4_t (&acc)[kVectors]) {
  auto* out = reinterpret_cast<float*>(static_cast<uint8_t*>(tile.out) + i * tile.out_stride);
#pragma GCC unroll 4
  for (size_t v = 0; v < kVectors; ++v) {
    const size_t first = v * kLanes;
    const float32x4_t product = vmulq_f32(vcvtq_f32_s32(acc[v]), vld1q_f32(mult + first));
    const float32x4_t value = vaddq_f32(product, vld1q_f32(bias + first));
    if (tile.cols >= first + kLanes) {
      vst1q_f32(out + first, value);
      continue;
    }
    vst1q_lane_f32(out + first, value, 0);
    if (tile.cols > first + 1) vst1q_lane_f32(out + first + 1, value, 1);
    if (tile.cols > first + 2) vst1q_lane_f32(out + first + 2, value, 2);
  }
}

enum class Output { kU8, kF32 };

// Panels of nr columns begin with start[nr], mult[nr] and bias[nr].
template <size_t kNr, size_t kRows, size_t kVectors>
WBCQ_INLINE void store_tile(const GemmTile& tile, const int32x4_t (&acc)[kRows][kVectors],
                            Output output) {
  const float* mult = static_cast<const float*>(tile.panel) + kNr;
#pragma GCC unroll 8
  for (size_t i = 0; i < kRows; ++i) {
    if (output == Output::kF32) {
      store_row_f32<kVectors>(tile, mult, mult + kNr, i, acc[i]);
    } else if (tile.residual == nullptr) {
      store_row_u8<false, kVectors>(tile, mult, i, acc[i]);
    } else {
      store_row_u8<true, kVectors>(tile, mult, i, acc[i]);
    }
  }
}

}  // namespace
}  // namespace wbcq

#endif  // WBCQ_KERNELS_GEMM_ARM_STORE_H_
