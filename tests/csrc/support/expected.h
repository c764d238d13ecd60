// The numeric contract (docs/design/numerics.md) computed another way than csrc does, for tests to
// compare with: in binary64 and integers, and with the clamp after the rounding.
#ifndef WBCQ_TESTS_SUPPORT_EXPECTED_H_
#define WBCQ_TESTS_SUPPORT_EXPECTED_H_

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace wbcq::testing {

// Rounds to the nearest integer, ties to even; infinities pass through.
inline double round_half_even(double value) {
  const double floor = std::floor(value);
  const double fraction = value - floor;
  if (fraction != 0.5) return fraction < 0.5 ? floor : floor + 1;
  return std::fmod(floor, 2.0) == 0 ? floor : floor + 1;
}

// clamp(rne(value) + zero_point, lo, hi); NaN gives lo.
inline uint8_t expected_round_clamp(float value, int32_t zero_point, int32_t lo, int32_t hi) {
  if (std::isnan(value)) return static_cast<uint8_t>(lo);
  if (std::isinf(value)) return static_cast<uint8_t>(value < 0 ? lo : hi);
  const double rounded = round_half_even(value) + zero_point;
  return static_cast<uint8_t>(std::clamp<double>(rounded, lo, hi));
}

// One binary32 operation. A binary64 product of two floats is exact, and a binary64 sum has enough
// digits (53 >= 2 * 24 + 2) for the second rounding to be harmless.
inline float expected_product(float a, float b) {
  return static_cast<float>(static_cast<double>(a) * static_cast<double>(b));
}
inline float expected_sum(float a, float b) {
  return static_cast<float>(static_cast<double>(a) + static_cast<double>(b));
}

}  // namespace wbcq::testing

#endif  // WBCQ_TESTS_SUPPORT_EXPECTED_H_
