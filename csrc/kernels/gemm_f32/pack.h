// Packing of float weights into the panels that GemmF32Kernel reads. Done once, when a model is
// loaded.
//
// A panel holds nr output channels:
//
//   float  bias[nr]
//   float  w[total_steps][nr]
//
// where total_steps = sum of the segments' channels, segments in the order in which
// GemmF32Tile::lhs lists them (kernel tap outermost). A channel of the input is one step, so slices
// of the input only matter to the caller's pointers. Missing output channels are zero. Panels
// follow one another, each padded to 64 bytes.
#ifndef WBCQ_KERNELS_GEMM_F32_PACK_H_
#define WBCQ_KERNELS_GEMM_F32_PACK_H_

#include <cstddef>

#include "kernels/gemm_f32/gemm_f32.h"

namespace wbcq {

struct GemmF32PackInput {
  size_t out_channels;
  size_t total_steps;    // kernel_h * kernel_w * in_channels
  const float* weights;  // [out_channels][total_steps]
  const float* bias;     // [out_channels], or null for zero
};

// Bytes of one panel, a multiple of 64.
size_t gemm_f32_panel_bytes(const GemmF32Kernel& kernel, size_t total_steps);

// Bytes of all panels.
size_t gemm_f32_packed_bytes(const GemmF32Kernel& kernel, const GemmF32PackInput& input);

// Writes every panel to `packed` (64-byte aligned, gemm_f32_packed_bytes() long).
void gemm_f32_pack(const GemmF32Kernel& kernel, const GemmF32PackInput& input, void* packed);

}  // namespace wbcq

#endif  // WBCQ_KERNELS_GEMM_F32_PACK_H_
