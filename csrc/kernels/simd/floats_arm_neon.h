// Four floats, for kernel files of Advanced SIMD: what the shared algorithms of the FP32 families
// are written in. Everything is local to the file that includes it.
#ifndef WBCQ_KERNELS_SIMD_FLOATS_ARM_NEON_H_
#define WBCQ_KERNELS_SIMD_FLOATS_ARM_NEON_H_

#include <arm_neon.h>

#include <cstddef>

namespace wbcq {
namespace {

struct Floats {
  static constexpr size_t kLanes = 4;

  static Floats of(float value) { return {vdupq_n_f32(value)}; }
  static Floats load(const float* p) { return {vld1q_f32(p)}; }
  void store(float* p) const { vst1q_f32(p, v); }
  // The first n lanes, n in [1, kLanes); the others are filled, and neither read nor written.
  static Floats load_first(const float* p, size_t n, Floats fill) {
    float32x4_t lanes = vld1q_lane_f32(p, fill.v, 0);
    if (n > 1) lanes = vld1q_lane_f32(p + 1, lanes, 1);
    if (n > 2) lanes = vld1q_lane_f32(p + 2, lanes, 2);
    return {lanes};
  }
  void store_first(float* p, size_t n) const {
    vst1q_lane_f32(p, v, 0);
    if (n > 1) vst1q_lane_f32(p + 1, v, 1);
    if (n > 2) vst1q_lane_f32(p + 2, v, 2);
  }

  friend Floats operator+(Floats a, Floats b) { return {vaddq_f32(a.v, b.v)}; }
  friend Floats operator-(Floats a, Floats b) { return {vsubq_f32(a.v, b.v)}; }
  friend Floats operator*(Floats a, Floats b) { return {vmulq_f32(a.v, b.v)}; }
  friend Floats operator/(Floats a, Floats b) { return {vdivq_f32(a.v, b.v)}; }
  Floats operator-() const { return {vnegq_f32(v)}; }
  // a * b + c, rounded once.
  static Floats fma(Floats a, Floats b, Floats c) { return {vfmaq_f32(c.v, a.v, b.v)}; }
  // The result is NaN where b is.
  static Floats max(Floats a, Floats b) { return {vmaxq_f32(a.v, b.v)}; }
  static Floats min(Floats a, Floats b) { return {vminq_f32(a.v, b.v)}; }
  // a < b ? yes : no
  static Floats if_less(Floats a, Floats b, Floats yes, Floats no) {
    return {vbslq_f32(vcltq_f32(a.v, b.v), yes.v, no.v)};
  }
  Floats abs() const { return {vabsq_f32(v)}; }
  Floats sqrt() const { return {vsqrtq_f32(v)}; }
  Floats round() const { return {vrndnq_f32(v)}; }
  // times 2^n; n holds integers of [-252, 252]. Two factors, as one has too small an exponent.
  Floats scale(Floats n) const {
    const int32x4_t exponent = vcvtq_s32_f32(n.v);
    const int32x4_t half = vshrq_n_s32(exponent, 1);
    const Floats once = *this * power_of_two(half);
    return once * power_of_two(vsubq_s32(exponent, half));
  }
  static Floats power_of_two(int32x4_t n) {
    return {vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(n, vdupq_n_s32(127)), 23))};
  }

  float32x4_t v;
};

}  // namespace
}  // namespace wbcq

#endif  // WBCQ_KERNELS_SIMD_FLOATS_ARM_NEON_H_
