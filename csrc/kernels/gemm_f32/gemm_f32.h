// Indirect FP32 GEMM: 1x1 convolution, k x k convolution and linear layers left in float.
//
//   out[i][j] = clamp(bias[j] + sum over segments s, k of lhs[s][i][k] * w[s][k][j] [+ res[i][j]],
//                     lo, hi)
//
// The sum starts at bias[j] and takes its products one after another in the order of the packed
// weights; a kernel may fuse each multiplication with its addition. So an output's bits depend on
// the kernel, but not on the tile that the output falls into, hence not on the number of threads.
// Between kernels results agree to rounding error. The clamp lets NaN through.
#ifndef WBCQ_KERNELS_GEMM_F32_GEMM_F32_H_
#define WBCQ_KERNELS_GEMM_F32_GEMM_F32_H_

#include <cstddef>
#include <cstdint>

namespace wbcq {

// One tile of `rows` output pixels by `cols` output channels.
//
// lhs       [segments][rows] pointers to float. Segment s reads exactly steps[s] floats from each
// of
//           its pointers. A segment is one kernel tap of one channel slice; padding taps point at
//           zeros.
// panel     packed weights, 64-byte aligned; layout at gemm_f32_panel_bytes() in pack.h.
// out       row i starts at out + i * out_stride; exactly `cols` elements of each row are written.
//           Must not overlap lhs or residual, except that residual == out with equal strides is
//           allowed. Strides count floats.
// residual  null, or row i at residual + i * residual_stride; exactly `cols` elements are read.
// Sizes: 1 <= rows <= mr, 1 <= cols <= nr, segments >= 1, steps[s] >= 1. lo <= hi; no clamp is
// -infinity and infinity. Pointers are aligned to float, no further.
struct GemmF32Tile {
  size_t rows;
  size_t cols;
  size_t segments;
  const uint32_t* steps;
  const float* const* lhs;
  const float* panel;
  float* out;
  size_t out_stride;
  const float* residual;
  size_t residual_stride;
  float lo;
  float hi;
};

using GemmF32TileFn = void (*)(const GemmF32Tile& tile);

struct GemmF32Kernel {
  const char* name;
  size_t mr;
  size_t nr;
  GemmF32TileFn run;
};

}  // namespace wbcq

#endif  // WBCQ_KERNELS_GEMM_F32_GEMM_F32_H_
