// Functions of a vector of floats, for the kernel files of every ISA: Floats is one of
// kernels/simd. Everything is local to the file that includes it.
#ifndef WBCQ_KERNELS_ELEMENTWISE_F32_FUNCTIONS_H_
#define WBCQ_KERNELS_ELEMENTWISE_F32_FUNCTIONS_H_

#include <cstddef>

namespace wbcq {
namespace {

// The polynomial with the given coefficients, the constant first.
template <typename F, size_t kCount>
F polynomial(F x, const float (&coefficients)[kCount]) {
  F value = F::of(coefficients[kCount - 1]);
  for (size_t i = kCount - 1; i-- > 0;) value = F::fma(value, x, F::of(coefficients[i]));
  return value;
}

template <typename F>
F clamp(F x, F lo, F hi) {
  return F::min(hi, F::max(lo, x));
}

// 2^n e^r with |r| <= ln(2) / 2; e^r = 1 + r + r^2 q(r), q a minimax polynomial (3e-9, relative to
// e^r). Beyond the clamp the result is 0 or infinite anyway.
template <typename F>
F exp(F x) {
  static constexpr float kQ[] = {0x1.fffffcp-2f, 0x1.555490p-3f, 0x1.5558f4p-5f, 0x1.123a6cp-7f,
                                 0x1.6a234ep-10f};
  x = clamp(x, F::of(-105.0f), F::of(89.0f));
  const F n = (x * F::of(0x1.715476p+0f)).round();
  F r = F::fma(n, F::of(-0x1.62e4p-1f), x);   // ln(2) in two parts; the product with the first
  r = F::fma(n, F::of(-0x1.7f7d1cp-20f), r);  // is exact
  const F tail = F::fma(r * r, polynomial(r, kQ), r);
  return (F::of(1.0f) + tail).scale(n);
}

template <typename F>
F sigmoid(F x) {
  return F::of(1.0f) / (F::of(1.0f) + exp(-x));
}

template <typename F>
F silu(F x) {
  return x / (F::of(1.0f) + exp(-x));
}

template <typename F>
F hardsigmoid(F x) {
  return clamp(x + F::of(3.0f), F::of(0.0f), F::of(6.0f)) / F::of(6.0f);
}

template <typename F>
F hardswish(F x) {
  return x * clamp(x + F::of(3.0f), F::of(0.0f), F::of(6.0f)) / F::of(6.0f);
}

// x times the normal distribution function at x. With z = |x| / sqrt(2) and t = 1 / (1 + z / 2),
// erfc(z) = exp(-z^2) t g(t), g a minimax polynomial (4e-8, relative) for z up to 10.
template <typename F>
F gelu(F x) {
  static constexpr float kG[] = {
      0.28208640217781067f, 0.2823753356933594f,   0.24310360848903656f,
      0.2026875615119934f,  -0.02662738412618637f, 0.27806979417800903f,
      -0.4872022867202759f, 0.2845761775970459f,   -0.05906921625137329f};
  const F z = x.abs() * F::of(0.70710678f);
  const F t = F::of(1.0f) / F::fma(z, F::of(0.5f), F::of(1.0f));
  const F below = exp(-(z * z)) * t * polynomial(t, kG) * F::of(0.5f);
  return x * F::if_less(x, F::of(0.0f), below, F::of(1.0f) - below);
}

// (1 + tanh(u)) / 2 = 1 / (1 + exp(-2 u)).
template <typename F>
F gelu_tanh(F x) {
  const F cubic = F::fma(x * x * x, F::of(0.044715f), x);
  return x / (F::of(1.0f) + exp(cubic * F::of(-2.0f * 0.79788456f)));
}

// With e = exp(x) and n = e (e + 2), tanh(log(1 + e)) = n / (n + 2); it is 1 from x = 20 on.
template <typename F>
F mish(F x) {
  const F e = exp(F::min(F::of(20.0f), x));
  const F n = e * (e + F::of(2.0f));
  return x * (n / (n + F::of(2.0f)));
}

}  // namespace
}  // namespace wbcq

#endif  // WBCQ_KERNELS_ELEMENTWISE_F32_FUNCTIONS_H_
