// Packing of convolution weights into the panels that GemmKernel reads. Done once, when a model is
// loaded.
//
// A panel holds nr output channels:
//
//   int32  start[nr]     bias - sum over slices of zero_point * sum of weights  (wraps never: checked)
//   float  mult[nr]
//   float  bias[nr]      used by f32 kernels only; zero otherwise
//   int8   w[total_steps][nr][kr]
//
// where total_steps = sum over segments of ceil(channels(segment) / kr), segments in the order in
// which GemmTile::lhs lists them (kernel tap outermost: for tap (ky, kx): for slice). Missing channels
// and missing output channels are zero. Panels follow one another, each padded to 64 bytes.
#ifndef WBCQ_KERNELS_GEMM_PACK_H_
#define WBCQ_KERNELS_GEMM_PACK_H_

#include <cstddef>
#include <cstdint>
#include <span>

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

// Bytes of one panel, a multiple of 64.
size_t gemm_panel_bytes(size_t nr, size_t kr, size_t total_steps);

// Steps of all segments together.
size_t gemm_total_steps(size_t kr, size_t taps, std::span<const uint32_t> slices);

// Bytes of all panels.
size_t gemm_packed_bytes(size_t nr, size_t kr, const GemmPackInput& input);

// Writes every panel to `packed` (64-byte aligned, gemm_packed_bytes() long).
void gemm_pack(size_t nr, size_t kr, const GemmPackInput& input, void* packed);

}  // namespace wbcq

#endif  // WBCQ_KERNELS_GEMM_PACK_H_
