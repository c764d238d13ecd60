#include <arm_neon.h>

#include "kernels/elementwise/elementwise.h"

namespace wbcq {
namespace {

constexpr size_t kLanes = 16;

// What all operations share. FMAXNM and FMINNM return the number where one operand is NaN, as
// round_clamp() does.
struct Operation {
  template <typename Args>
  explicit Operation(const Args& args)
      : a_zero_point(vdup_n_u8(static_cast<uint8_t>(args.a_zero_point))),
        b_zero_point(vdup_n_u8(static_cast<uint8_t>(args.b_zero_point))),
        zero_point(vdupq_n_s32(args.zero_point)),
        lo(vdupq_n_f32(static_cast<float>(args.lo - args.zero_point))),
        hi(vdupq_n_f32(static_cast<float>(args.hi - args.zero_point))) {}
  uint16x4_t round(float32x4_t value) const {
    const float32x4_t clamped = vminnmq_f32(vmaxnmq_f32(value, lo), hi);
    return vmovn_u32(vreinterpretq_u32_s32(vaddq_s32(vcvtnq_s32_f32(clamped), zero_point)));
  }
  uint8x8_t a_zero_point;
  uint8x8_t b_zero_point;
  int32x4_t zero_point;
  float32x4_t lo;
  float32x4_t hi;
};

// An operation on four values from which the zero points have been subtracted.
struct Add : Operation {
  explicit Add(const AddU8& args)
      : Operation(args),
        a_multiplier(vdupq_n_f32(args.a_multiplier)),
        b_multiplier(vdupq_n_f32(args.b_multiplier)) {}
  uint16x4_t operator()(int16x4_t a, int16x4_t b) const {
    const float32x4_t left = vmulq_f32(vcvtq_f32_s32(vmovl_s16(a)), a_multiplier);
    const float32x4_t right = vmulq_f32(vcvtq_f32_s32(vmovl_s16(b)), b_multiplier);
    return round(vaddq_f32(left, right));
  }
  float32x4_t a_multiplier;
  float32x4_t b_multiplier;
};

struct Mul : Operation {
  explicit Mul(const MulU8& args) : Operation(args), multiplier(vdupq_n_f32(args.multiplier)) {}
  uint16x4_t operator()(int16x4_t a, int16x4_t b) const {
    return round(vmulq_f32(vcvtq_f32_s32(vmull_s16(a, b)), multiplier));
  }
  float32x4_t multiplier;
};

template <typename Op>
uint8x8_t apply_octet(uint8x8_t a, uint8x8_t b, const Op& op) {
  const int16x8_t left = vreinterpretq_s16_u16(vsubl_u8(a, op.a_zero_point));
  const int16x8_t right = vreinterpretq_s16_u16(vsubl_u8(b, op.b_zero_point));
  const uint16x4_t low = op(vget_low_s16(left), vget_low_s16(right));
  const uint16x4_t high = op(vget_high_s16(left), vget_high_s16(right));
  return vmovn_u16(vcombine_u16(low, high));
}

template <typename Op>
uint8x16_t apply(uint8x16_t a, uint8x16_t b, const Op& op) {
  return vcombine_u8(apply_octet(vget_low_u8(a), vget_low_u8(b), op),
                     apply_octet(vget_high_u8(a), vget_high_u8(b), op));
}

template <typename Op>
void run_pixel(const uint8_t* a, const uint8_t* b, uint8_t* out, size_t size, const Op& op) {
  if (size < kLanes) {
    uint8_t left[kLanes] = {};
    uint8_t right[kLanes] = {};
    __builtin_memcpy(left, a, size);
    __builtin_memcpy(right, b, size);
    vst1q_u8(left, apply(vld1q_u8(left), vld1q_u8(right), op));
    __builtin_memcpy(out, left, size);
    return;
  }
  // The last vector may overlap the one before it. It is computed first and stored last, because
  // out may be a or b.
  const size_t last = size - kLanes;
  const uint8x16_t last_bytes = apply(vld1q_u8(a + last), vld1q_u8(b + last), op);
  for (size_t i = 0; i < last; i += kLanes) {
    vst1q_u8(out + i, apply(vld1q_u8(a + i), vld1q_u8(b + i), op));
  }
  vst1q_u8(out + last, last_bytes);
}

// Pixels without gaps and one pixel of b, repeated: long runs instead of many short ones.
constexpr size_t kRunBytes = 1024;

template <typename Op, typename Args>
void run_repeated(const Args& args, const Op& op) {
  uint8_t b[kRunBytes];
  const size_t size = args.pixels * args.channels;
  const size_t whole = kRunBytes / args.channels * args.channels;
  const size_t run = size < whole ? size : whole;
  for (size_t i = 0; i < run; i += args.channels) __builtin_memcpy(b + i, args.b, args.channels);
  for (size_t i = 0; i < size; i += run) {
    run_pixel(args.a + i, b, args.out + i, size - i < run ? size - i : run, op);
  }
}

template <typename Op, typename Args>
void run(const Args& args) {
  if (args.pixels == 0 || args.channels == 0) return;
  const Op op(args);
  const size_t channels = args.channels;
  if (args.a_stride == channels && args.out_stride == channels) {
    if (args.b_stride == channels) {
      return run_pixel(args.a, args.b, args.out, args.pixels * channels, op);
    }
    if (args.b_stride == 0 && channels <= kRunBytes / 2) return run_repeated(args, op);
  }
  for (size_t p = 0; p < args.pixels; ++p) {
    run_pixel(args.a + p * args.a_stride, args.b + p * args.b_stride,
              args.out + p * args.out_stride, channels, op);
  }
}

void add_u8(const AddU8& args) { run<Add>(args); }

void mul_u8(const MulU8& args) { run<Mul>(args); }

}  // namespace

extern const ElementwiseKernels elementwise_arm_neon = {"elementwise_arm_neon", add_u8, mul_u8};

}  // namespace wbcq
