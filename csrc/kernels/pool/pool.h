// Pooling of one output pixel over all its channels. The caller passes only the taps that lie
// inside the picture: padding never takes part in a maximum, and the average kernel's multiplier
// and start hold the divisor.
#ifndef WBCQ_KERNELS_POOL_POOL_H_
#define WBCQ_KERNELS_POOL_POOL_H_

#include <cstddef>
#include <cstdint>

namespace wbcq {

// out[c] = max over taps of rows[tap][c]. taps >= 1, channels >= 1; reads and writes exactly
// `channels` bytes of each row. `out` overlaps no row.
struct MaxPoolPixel {
  size_t taps;
  size_t channels;
  const uint8_t* const* rows;
  uint8_t* out;
};

// out[c] = clamp(rne(float(start + sum over taps of rows[tap][c]) * multiplier) + zero_point, lo,
// hi) start = -taps * input_zero_point. taps <= 2^22, so the int32 sum is exact.
struct AvgPoolPixel {
  size_t taps;
  size_t channels;
  const uint8_t* const* rows;
  uint8_t* out;
  int32_t start;
  float multiplier;
  int32_t zero_point;
  int32_t lo;
  int32_t hi;
};

struct PoolKernels {
  const char* name;
  void (*max_pool)(const MaxPoolPixel& pixel);
  void (*avg_pool)(const AvgPoolPixel& pixel);
};

}  // namespace wbcq

#endif  // WBCQ_KERNELS_POOL_POOL_H_
