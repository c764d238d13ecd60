// THE definition of rounding. Every kernel of every ISA produces these bits;
// docs/design/numerics.md gives the reasons. Scalar, header-only; compiled with -ffp-contract=off.
// ISA files must not include this header (its inline functions would be compiled for that ISA and
// merged into generic code).
#ifndef WBCQ_QUANT_REQUANT_H_
#define WBCQ_QUANT_REQUANT_H_

#include <cmath>
#include <cstdint>

namespace wbcq {

// Rounds to nearest, ties to even, saturates to [lo, hi] and offsets by zero_point:
// clamp(rne(value) + zero_point, lo, hi). The clamp happens in float, before the conversion, so
// that no ISA's overflow behaviour is ever seen. NaN gives lo.
inline uint8_t round_clamp(float value, int32_t zero_point, int32_t lo, int32_t hi) {
  const float lo_f = static_cast<float>(lo - zero_point);
  const float hi_f = static_cast<float>(hi - zero_point);
  if (!(value > lo_f)) value = lo_f;
  if (value > hi_f) value = hi_f;
  return static_cast<uint8_t>(static_cast<int32_t>(std::nearbyintf(value)) + zero_point);
}

// acc * m, rounded once to binary32 and then once to an integer.
inline uint8_t requantize(int32_t acc, float multiplier, int32_t zero_point, int32_t lo,
                          int32_t hi) {
  return round_clamp(static_cast<float>(acc) * multiplier, zero_point, lo, hi);
}

// acc * m + (r - z_r) * m_r: two multiplications and one addition, each rounded to binary32.
inline uint8_t requantize_add(int32_t acc, float multiplier, int32_t residual,
                              float residual_multiplier, int32_t zero_point, int32_t lo,
                              int32_t hi) {
  const float product = static_cast<float>(acc) * multiplier;
  const float shortcut = static_cast<float>(residual) * residual_multiplier;
  return round_clamp(product + shortcut, zero_point, lo, hi);
}

// clamp(rne(x * inverse_scale) + z): torch.quantize_per_tensor's own order of operations.
inline uint8_t quantize_value(float value, float inverse_scale, int32_t zero_point) {
  return round_clamp(value * inverse_scale, zero_point, 0, 255);
}

inline float dequantize_value(uint8_t value, float scale, int32_t zero_point) {
  return static_cast<float>(static_cast<int32_t>(value) - zero_point) * scale;
}

}  // namespace wbcq

#endif  // WBCQ_QUANT_REQUANT_H_
