// Depthwise FP32 convolution of a run of output pixels of one picture row.
//
//   out[x][c] = clamp(bias[c] + sum over ky, kx of in(ky, column)[c] * w[c][ky][kx] [+ res[x][c]],
//                     lo, hi),
//   column    = first_column + x * stride_w + kx * dilation_w
//   in(ky, i) = rows[ky] + i * pixel_stride if 0 <= i < in_width, else padding
//
// The sum starts at bias[c] and takes the taps row by row; a kernel may fuse each multiplication
// with its addition. So an output's bits depend on the kernel, but not on the run that the output
// falls into. Between kernels results agree to rounding error. The clamp lets NaN through.
#ifndef WBCQ_KERNELS_DWCONV_F32_DWCONV_F32_H_
#define WBCQ_KERNELS_DWCONV_F32_DWCONV_F32_H_

#include <cstddef>

#include "kernels/dwconv/geometry.h"

namespace wbcq {

// The members mean what they mean in DwconvRow (dwconv.h), with floats: a padding row and `padding`
// hold zeros, strides count floats, and a run over some of a layer's channels starts at a multiple
// of the kernel's block and dwconv_f32_group_bytes() further in packed per block.
//
// Exactly `channels` elements of each pixel are read and written, and of the input no pixel that
// has no tap on it. `out` overlaps nothing that is read. packed is 64-byte aligned, the rest
// aligned to float. Sizes: width, channels, in_width and every member of geometry >= 1. lo <= hi;
// no clamp is -infinity and infinity.
struct DwconvF32Row {
  DwconvGeometry geometry;
  size_t width;
  size_t channels;
  const float* const* rows;
  size_t in_width;
  size_t pixel_stride;
  ptrdiff_t first_column;
  const float* padding;
  const float* packed;
  float* out;
  size_t out_stride;
  const float* residual;  // or null
  size_t residual_stride;
  float lo;
  float hi;
};

using DwconvF32RowFn = void (*)(const DwconvF32Row& row);

// Every kernel takes every geometry. block is the number of channels of a packed group.
struct DwconvF32Kernel {
  const char* name;
  size_t block;
  DwconvF32RowFn run;
};

}  // namespace wbcq

#endif  // WBCQ_KERNELS_DWCONV_F32_DWCONV_F32_H_
