// What the sparse kernels of Advanced SIMD share: all but the products. In an anonymous namespace:
// every ISA file has its own copy, compiled with its flags.
#ifndef WBCQ_KERNELS_SPARSE_ARM_LANES_H_
#define WBCQ_KERNELS_SPARSE_ARM_LANES_H_

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

#include "kernels/simd/floats_arm_neon.h"
#include "kernels/sparse/sparse.h"

#define WBCQ_INLINE inline __attribute__((always_inline))

namespace wbcq {
namespace {

constexpr size_t kLanes = 4;

using Ints = int32x4_t;
using Bytes = uint8x16_t;
using Quads = int8x16_t;

WBCQ_INLINE Ints load_ints(const int32_t* p) { return vld1q_s32(p); }
WBCQ_INLINE Ints broadcast_ints(int32_t value) { return vdupq_n_s32(value); }
WBCQ_INLINE void store_ints(int32_t* p, Ints a) { vst1q_s32(p, a); }

using FloatWeights = float32x4_t;
WBCQ_INLINE FloatWeights load_float_weights(const int32_t* p) {
  return vreinterpretq_f32_s32(vld1q_s32(p));
}
template <size_t kOutput>
WBCQ_INLINE Floats float_weight(FloatWeights four) {
  return {vdupq_laneq_f32(four, kOutput)};
}

class Requantizer {
 public:
  WBCQ_INLINE explicit Requantizer(const SparseTile& tile)
      : zero_point_(vdupq_n_s16(static_cast<int16_t>(tile.zero_point))),
        lo_(vdupq_n_u8(static_cast<uint8_t>(tile.lo))),
        hi_(vdupq_n_u8(static_cast<uint8_t>(tile.hi))),
        residual_zero_point_(vdupq_n_s32(tile.residual_zero_point)),
        residual_mult_(vdupq_n_f32(tile.residual_multiplier)) {}

  WBCQ_INLINE void store(const Ints (&acc)[kSparseGroup], const float* mult,
                         const uint32_t* residual, uint32_t* out) const {
    float32x4_t x[kSparseGroup];
#pragma GCC unroll 4
    for (size_t o = 0; o < kSparseGroup; ++o) x[o] = vmulq_n_f32(vcvtq_f32_s32(acc[o]), mult[o]);
    if (residual != nullptr) {
      const uint32x4_t r = vld1q_u32(residual);
      const uint32x4_t low = vdupq_n_u32(255);
      x[0] = add_shortcut(x[0], vandq_u32(r, low));
      x[1] = add_shortcut(x[1], vandq_u32(vshrq_n_u32(r, 8), low));
      x[2] = add_shortcut(x[2], vandq_u32(vshrq_n_u32(r, 16), low));
      x[3] = add_shortcut(x[3], vshrq_n_u32(r, 24));
    }
    const uint8x16_t bytes = vcombine_u8(narrow(x[0], x[1]), narrow(x[2], x[3]));
    const uint8x16_t clamped = vmaxq_u8(vminq_u8(bytes, hi_), lo_);
    static constexpr uint8_t kByPixel[16] = {0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15};
    vst1q_u8(reinterpret_cast<uint8_t*>(out), vqtbl1q_u8(clamped, vld1q_u8(kByPixel)));
  }

 private:
  WBCQ_INLINE float32x4_t add_shortcut(float32x4_t x, uint32x4_t residual) const {
    const int32x4_t centred = vsubq_s32(vreinterpretq_s32_u32(residual), residual_zero_point_);
    return vaddq_f32(x, vmulq_f32(vcvtq_f32_s32(centred), residual_mult_));
  }
  WBCQ_INLINE uint8x8_t narrow(float32x4_t a, float32x4_t b) const {
    const int16x8_t words = vqmovn_high_s32(vqmovn_s32(vcvtnq_s32_f32(a)), vcvtnq_s32_f32(b));
    return vqmovun_s16(vqaddq_s16(words, zero_point_));
  }

  int16x8_t zero_point_;
  uint8x16_t lo_;
  uint8x16_t hi_;
  int32x4_t residual_zero_point_;
  float32x4_t residual_mult_;
};

WBCQ_INLINE void store_float(Ints acc, float mult, float bias, float* out) {
  vst1q_f32(out, vaddq_f32(vmulq_n_f32(vcvtq_f32_s32(acc), mult), vdupq_n_f32(bias)));
}

WBCQ_INLINE Bytes load_bytes(const void* p) { return vld1q_u8(static_cast<const uint8_t*>(p)); }
WBCQ_INLINE void store_bytes(void* p, Bytes a) { vst1q_u8(static_cast<uint8_t*>(p), a); }
WBCQ_INLINE Bytes centred(Bytes a) { return veorq_u8(a, vdupq_n_u8(128)); }

WBCQ_INLINE void transpose(Bytes (&v)[kLanes]) {
  const uint32x4_t a = vreinterpretq_u32_u8(v[0]);
  const uint32x4_t b = vreinterpretq_u32_u8(v[1]);
  const uint32x4_t c = vreinterpretq_u32_u8(v[2]);
  const uint32x4_t d = vreinterpretq_u32_u8(v[3]);
  const uint64x2_t ab_even = vreinterpretq_u64_u32(vtrn1q_u32(a, b));
  const uint64x2_t ab_odd = vreinterpretq_u64_u32(vtrn2q_u32(a, b));
  const uint64x2_t cd_even = vreinterpretq_u64_u32(vtrn1q_u32(c, d));
  const uint64x2_t cd_odd = vreinterpretq_u64_u32(vtrn2q_u32(c, d));
  v[0] = vreinterpretq_u8_u64(vtrn1q_u64(ab_even, cd_even));
  v[1] = vreinterpretq_u8_u64(vtrn1q_u64(ab_odd, cd_odd));
  v[2] = vreinterpretq_u8_u64(vtrn2q_u64(ab_even, cd_even));
  v[3] = vreinterpretq_u8_u64(vtrn2q_u64(ab_odd, cd_odd));
}

class Places {
 public:
  explicit Places(const uint8_t* order) : order_(order) {}
  WBCQ_INLINE void apply(uint8_t* chunk) const {
    const uint8x16x4_t bytes = vld1q_u8_x4(chunk);
    for (size_t i = 0; i < kSparseChunk; i += 16) {
      vst1q_u8(chunk + i, vqtbl4q_u8(bytes, vld1q_u8(order_ + i)));
    }
  }

 private:
  const uint8_t* order_;
};

}  // namespace
}  // namespace wbcq

#endif  // WBCQ_KERNELS_SPARSE_ARM_LANES_H_
