// Sixteen floats, for kernel files of AVX-512: what the shared algorithms of the FP32 families are
// written in. Everything is local to the file that includes it.
#ifndef WBCQ_KERNELS_SIMD_FLOATS_X86_AVX512VNNI_H_
#define WBCQ_KERNELS_SIMD_FLOATS_X86_AVX512VNNI_H_

#include <immintrin.h>

#include <cstddef>

namespace wbcq {
namespace {

struct Floats {
  static constexpr size_t kLanes = 16;

  static Floats of(float value) { return {_mm512_set1_ps(value)}; }
  static Floats load(const float* p) { return {_mm512_loadu_ps(p)}; }
  void store(float* p) const { _mm512_storeu_ps(p, v); }
  // The first n lanes, n in [1, kLanes); the others are filled, and neither read nor written.
  static Floats load_first(const float* p, size_t n, Floats fill) {
    return {_mm512_mask_loadu_ps(fill.v, first(n), p)};
  }
  void store_first(float* p, size_t n) const { _mm512_mask_storeu_ps(p, first(n), v); }
  static __mmask16 first(size_t n) { return static_cast<__mmask16>((1u << n) - 1); }

  friend Floats operator+(Floats a, Floats b) { return {_mm512_add_ps(a.v, b.v)}; }
  friend Floats operator-(Floats a, Floats b) { return {_mm512_sub_ps(a.v, b.v)}; }
  friend Floats operator*(Floats a, Floats b) { return {_mm512_mul_ps(a.v, b.v)}; }
  friend Floats operator/(Floats a, Floats b) { return {_mm512_div_ps(a.v, b.v)}; }
  Floats operator-() const { return {_mm512_xor_ps(v, _mm512_set1_ps(-0.0f))}; }
  // a * b + c, rounded once.
  static Floats fma(Floats a, Floats b, Floats c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
  // The result is NaN where b is.
  static Floats max(Floats a, Floats b) { return {_mm512_max_ps(a.v, b.v)}; }
  static Floats min(Floats a, Floats b) { return {_mm512_min_ps(a.v, b.v)}; }
  // a < b ? yes : no
  static Floats if_less(Floats a, Floats b, Floats yes, Floats no) {
    return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ), no.v, yes.v)};
  }
  Floats abs() const { return {_mm512_andnot_ps(_mm512_set1_ps(-0.0f), v)}; }
  Floats sqrt() const { return {_mm512_sqrt_ps(v)}; }
  Floats round() const {
    return {_mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
  }
  // times 2^n; n holds integers of [-252, 252].
  Floats scale(Floats n) const { return {_mm512_scalef_ps(v, n.v)}; }

  __m512 v;
};

}  // namespace
}  // namespace wbcq

#endif  // WBCQ_KERNELS_SIMD_FLOATS_X86_AVX512VNNI_H_
