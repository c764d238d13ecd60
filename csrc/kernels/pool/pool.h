// Pooling over taps that the caller finds: only those inside the picture, since padding never takes
// part in a maximum, and the average kernel's multiplier and start hold the divisor.
#ifndef WBCQ_KERNELS_POOL_POOL_H_
#define WBCQ_KERNELS_POOL_POOL_H_

#include <cstddef>
#include <cstdint>

namespace wbcq {

// out[p * out_stride + c] = max over taps of rows[tap][p * in_stride + c] for p in [0, pixels), c
// in [0, channels). taps, pixels and channels >= 1; reads and writes exactly these bytes. `out`
// overlaps no row.
//
// A window is pooled in two such steps (ops/max_pool2d.cc): the rows under it, as one long pixel
// where nothing lies between pixels, then the columns of what that gives.
struct MaxPoolRow {
  size_t taps;
  size_t pixels;
  size_t channels;
  const uint8_t* const* rows;
  size_t in_stride;
  uint8_t* out;
  size_t out_stride;
};

// One output pixel over all its channels:
// out[c] = clamp(rne(float(start + sum over taps of rows[tap][c]) * multiplier) + zero_point, lo,
// hi), start = -taps * input_zero_point. taps <= 2^22, so the int32 sum is exact.
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
  void (*max_pool)(const MaxPoolRow& row);
  void (*avg_pool)(const AvgPoolPixel& pixel);
};

}  // namespace wbcq

#endif  // WBCQ_KERNELS_POOL_POOL_H_
