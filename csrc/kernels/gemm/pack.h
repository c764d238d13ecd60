// Packing of convolution weights into the panels that GemmKernel reads. Done once, when a model is
// loaded.
//
// A panel holds nr output channels:
//
//   int32  start[nr]     bias - sum over slices of (zero_point - lhs_offset) * sum of weights
//   float  mult[nr]
//   float  bias[nr]      used by f32 kernels only; zero otherwise
//   int8   w[total_steps][nr][kr]
//
// where total_steps = sum over segments of ceil(channels(segment) / kr), segments in the order in
// which GemmTile::lhs lists them (kernel tap outermost: for tap (ky, kx): for slice). Missing
// channels and missing output channels are zero. Panels follow one another, each padded to 64
// bytes.
//
// start[] is reduced modulo 2^32. Kernels add modulo 2^32 as well, so the accumulator is exact
// whenever its final value fits int32, which is checked when a layer is lowered.
#ifndef WBCQ_KERNELS_GEMM_PACK_H_
#define WBCQ_KERNELS_GEMM_PACK_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/gemm/gemm.h"

namespace wbcq {

struct GemmPackInput {
  size_t out_channels;
  size_t taps;                           // kernel_h * kernel_w
  std::span<const uint32_t> slices;      // channels of each input slice; their sum is in_channels
  std::span<const int32_t> zero_points;  // one for each slice
  const int8_t* weights;                 // [out_channels][taps][in_channels]
  const int32_t* bias;                   // [out_channels], or null for zero
  const float* multipliers;              // [out_channels]
  const float* float_bias;               // [out_channels], or null for zero
};

// Steps of all segments together: the sum of GemmTile::steps.
size_t gemm_total_steps(size_t kr, size_t taps, std::span<const uint32_t> slices);

// Bytes in front of a panel's weights.
size_t gemm_header_bytes(const GemmKernel& kernel);

// Bytes of one panel, a multiple of 64.
size_t gemm_panel_bytes(const GemmKernel& kernel, size_t total_steps);

// Bytes of all panels.
size_t gemm_packed_bytes(const GemmKernel& kernel, const GemmPackInput& input);

// Writes every panel to `packed` (64-byte aligned, gemm_packed_bytes() long).
void gemm_pack(const GemmKernel& kernel, const GemmPackInput& input, void* packed);

}  // namespace wbcq

#endif  // WBCQ_KERNELS_GEMM_PACK_H_
