// FP32 pooling of one output pixel over all its channels. The caller passes only the taps that lie
// inside the picture.
#ifndef WBCQ_KERNELS_POOL_F32_POOL_F32_H_
#define WBCQ_KERNELS_POOL_F32_POOL_F32_H_

#include <cstddef>

namespace wbcq {

// out[c] = max over taps of rows[tap][c]. taps >= 1, channels >= 1; reads and writes exactly
// `channels` floats of each row. `out` overlaps no row. Where a tap is NaN the result is
// unspecified.
struct MaxPoolPixelF32 {
  size_t taps;
  size_t channels;
  const float* const* rows;
  float* out;
};

// out[c] = clamp((rows[0][c] + rows[1][c] + ...) / divisor, lo, hi), summed in the order of the
// taps, each operation rounded to binary32: every ISA gives the same bits. lo and hi may be
// infinite.
struct AvgPoolPixelF32 {
  size_t taps;
  size_t channels;
  const float* const* rows;
  float* out;
  float divisor;
  float lo;
  float hi;
};

struct PoolF32Kernels {
  const char* name;
  void (*max_pool)(const MaxPoolPixelF32& pixel);
  void (*avg_pool)(const AvgPoolPixelF32& pixel);
};

}  // namespace wbcq

#endif  // WBCQ_KERNELS_POOL_F32_POOL_F32_H_
