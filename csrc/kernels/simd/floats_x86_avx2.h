// Eight floats, for kernel files of AVX2: what the shared algorithms of the FP32 families are
// written in. Everything is local to the file that includes it.
#ifndef WBCQ_KERNELS_SIMD_FLOATS_X86_AVX2_H_
#define WBCQ_KERNELS_SIMD_FLOATS_X86_AVX2_H_

#include <immintrin.h>

#include <cstddef>

namespace wbcq {
namespace {

struct Floats {
  static constexpr size_t kLanes = 8;

  static Floats of(float value) { return {_mm256_set1_ps(value)}; }
  static Floats load(const float* p) { return {_mm256_loadu_ps(p)}; }
  void store(float* p) const { _mm256_storeu_ps(p, v); }
  // The first n lanes, n in [1, kLanes); the others are filled, and neither read nor written.
  static Floats load_first(const float* p, size_t n, Floats fill) {
    const __m256i mask = first(n);
    return {_mm256_blendv_ps(fill.v, _mm256_maskload_ps(p, mask), _mm256_castsi256_ps(mask))};
  }
  void store_first(float* p, size_t n) const { _mm256_maskstore_ps(p, first(n), v); }
  static __m256i first(size_t n) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lane);
  }

  friend Floats operator+(Floats a, Floats b) { return {_mm256_add_ps(a.v, b.v)}; }
  friend Floats operator-(Floats a, Floats b) { return {_mm256_sub_ps(a.v, b.v)}; }
  friend Floats operator*(Floats a, Floats b) { return {_mm256_mul_ps(a.v, b.v)}; }
  friend Floats operator/(Floats a, Floats b) { return {_mm256_div_ps(a.v, b.v)}; }
  Floats operator-() const { return {_mm256_xor_ps(v, _mm256_set1_ps(-0.0f))}; }
  // a * b + c, rounded once.
  static Floats fma(Floats a, Floats b, Floats c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
  // The result is NaN where b is.
  static Floats max(Floats a, Floats b) { return {_mm256_max_ps(a.v, b.v)}; }
  static Floats min(Floats a, Floats b) { return {_mm256_min_ps(a.v, b.v)}; }
  // a < b ? yes : no
  static Floats if_less(Floats a, Floats b, Floats yes, Floats no) {
    return {_mm256_blendv_ps(no.v, yes.v, _mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ))};
  }
  Floats abs() const { return {_mm256_andnot_ps(_mm256_set1_ps(-0.0f), v)}; }
  Floats sqrt() const { return {_mm256_sqrt_ps(v)}; }
  Floats round() const {
    return {_mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
  }
  // times 2^n; n holds integers of [-252, 252]. Two factors, as one has too small an exponent.
  Floats scale(Floats n) const {
    const __m256i exponent = _mm256_cvtps_epi32(n.v);
    const __m256i half = _mm256_srai_epi32(exponent, 1);
    const Floats once = *this * power_of_two(half);
    return once * power_of_two(_mm256_sub_epi32(exponent, half));
  }
  static Floats power_of_two(__m256i n) {
    const __m256i biased = _mm256_add_epi32(n, _mm256_set1_epi32(127));
    return {_mm256_castsi256_ps(_mm256_slli_epi32(biased, 23))};
  }

  __m256 v;
};

}  // namespace
}  // namespace wbcq

#endif  // WBCQ_KERNELS_SIMD_FLOATS_X86_AVX2_H_
