// What a model file may hold at most. Small enough that no offset, product or sum of a validated
// file overflows int64, and that a damaged count is refused before anything is allocated.
// wbcq/engine/validate.py has the same numbers.
#ifndef WBCQ_FORMAT_LIMITS_H_
#define WBCQ_FORMAT_LIMITS_H_

#include <cstdint>

namespace wbcq::format {

inline constexpr uint32_t kMaxRecords = 1u << 20;  // of one section
inline constexpr uint32_t kMaxNameBytes = 1024;
inline constexpr uint32_t kMaxInputs = 256;  // of one operator
inline constexpr int32_t kMaxDim = 1 << 24;
inline constexpr int64_t kMaxElements =
    (int64_t{1} << 31) - 1;                      // of a blob, or a tensor and picture
inline constexpr int32_t kMaxKernel = 1024;      // also strides, dilations and padding
inline constexpr int32_t kMaxDivisor = 1 << 24;  // float(divisor) is exact

// Requantization multipliers stay below it, so that no product with an int32 overflows binary32.
inline constexpr float kMultiplierBound = 0x1p96f;

}  // namespace wbcq::format

#endif  // WBCQ_FORMAT_LIMITS_H_
