#include <arm_neon.h>

#include "kernels/elementwise/elementwise.h"

namespace wbcq {
namespace {

constexpr size_t kLanes = 16;

struct Constants {
  uint8x8_t a_zero_point;
  uint8x8_t b_zero_point;
  int32x4_t zero_point;
  float32x4_t a_multiplier;
  float32x4_t b_multiplier;
  float32x4_t lo;
  float32x4_t hi;
};

// FMAXNM and FMINNM return the number where one operand is NaN, as round_clamp() does.
uint16x4_t add_quad(int16x4_t a, int16x4_t b, const Constants& k) {
  const float32x4_t left = vmulq_f32(vcvtq_f32_s32(vmovl_s16(a)), k.a_multiplier);
  const float32x4_t right = vmulq_f32(vcvtq_f32_s32(vmovl_s16(b)), k.b_multiplier);
  const float32x4_t sum = vminnmq_f32(vmaxnmq_f32(vaddq_f32(left, right), k.lo), k.hi);
  return vmovn_u32(vreinterpretq_u32_s32(vaddq_s32(vcvtnq_s32_f32(sum), k.zero_point)));
}

uint8x8_t add_octet(uint8x8_t a, uint8x8_t b, const Constants& k) {
  const int16x8_t left = vreinterpretq_s16_u16(vsubl_u8(a, k.a_zero_point));
  const int16x8_t right = vreinterpretq_s16_u16(vsubl_u8(b, k.b_zero_point));
  const uint16x4_t low = add_quad(vget_low_s16(left), vget_low_s16(right), k);
  const uint16x4_t high = add_quad(vget_high_s16(left), vget_high_s16(right), k);
  return vmovn_u16(vcombine_u16(low, high));
}

uint8x16_t add_bytes(uint8x16_t a, uint8x16_t b, const Constants& k) {
  return vcombine_u8(add_octet(vget_low_u8(a), vget_low_u8(b), k),
                     add_octet(vget_high_u8(a), vget_high_u8(b), k));
}

void add_u8(const AddU8& args) {
  if (args.size == 0) return;
  const Constants k = {vdup_n_u8(static_cast<uint8_t>(args.a_zero_point)),
                       vdup_n_u8(static_cast<uint8_t>(args.b_zero_point)),
                       vdupq_n_s32(args.zero_point),
                       vdupq_n_f32(args.a_multiplier),
                       vdupq_n_f32(args.b_multiplier),
                       vdupq_n_f32(static_cast<float>(args.lo - args.zero_point)),
                       vdupq_n_f32(static_cast<float>(args.hi - args.zero_point))};
  if (args.size < kLanes) {
    uint8_t a[kLanes] = {};
    uint8_t b[kLanes] = {};
    __builtin_memcpy(a, args.a, args.size);
    __builtin_memcpy(b, args.b, args.size);
    vst1q_u8(a, add_bytes(vld1q_u8(a), vld1q_u8(b), k));
    __builtin_memcpy(args.out, a, args.size);
    return;
  }
  // The last vector may overlap the one before it. It is computed first and stored last, because
  // out may be a or b.
  const size_t last = args.size - kLanes;
  const uint8x16_t last_sum = add_bytes(vld1q_u8(args.a + last), vld1q_u8(args.b + last), k);
  for (size_t i = 0; i < last; i += kLanes) {
    vst1q_u8(args.out + i, add_bytes(vld1q_u8(args.a + i), vld1q_u8(args.b + i), k));
  }
  vst1q_u8(args.out + last, last_sum);
}

}  // namespace

extern const ElementwiseKernels elementwise_arm_neon = {"elementwise_arm_neon", add_u8};

}  // namespace wbcq
