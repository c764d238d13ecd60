// Packing of 3x3 filters into the panels that WinogradKernel reads. Done once, when a model is
// loaded.
//
// A panel holds nr output channels:
//
//   int32  start[nr]     36 * (bias - zero_point * sum of weights), modulo 2^32
//   float  mult[5][nr]   requantization, times 2^-2, 2^-3 ... 2^-6
//   int16  u[36][steps][nr][kr]
//
// where steps = ceil(in_channels / kr). Missing channels and missing output channels are zero.
//
// or start and mult alone, for kernels that transform the filters of kernels/gemm while a layer
// runs.
//
// Panels follow one another, each padded to 64 bytes. The transform of a constant picture is zero
// but at position 7 (row and column 1), so a product that begins there at start[] adds bias and
// zero point to every output of the tile.
#ifndef WBCQ_KERNELS_WINOGRAD_PACK_H_
#define WBCQ_KERNELS_WINOGRAD_PACK_H_

#include <cstddef>
#include <cstdint>

#include "kernels/winograd/winograd.h"

namespace wbcq {

struct WinogradPackInput {
  size_t out_channels;
  size_t in_channels;
  int32_t zero_point;        // of the activations
  const int8_t* weights;     // [out_channels][3][3][in_channels]
  const int32_t* bias;       // [out_channels]
  const float* multipliers;  // [out_channels]
};

// Whether the results are those of direct convolution: every accumulator, whatever the activations,
// lies within +-(2^25 - 1), and multipliers survive the division by 64.
bool winograd_is_exact(const WinogradPackInput& input);

// What a panel holds of the filters: U or nothing.
enum class WinogradWeightForm { kTransformed, kElsewhere };

size_t winograd_steps(const WinogradKernel& kernel, size_t in_channels);

// Bytes in front of a panel's weights.
size_t winograd_header_bytes(const WinogradKernel& kernel);

// Bytes of one panel, a multiple of 64.
size_t winograd_panel_bytes(const WinogradKernel& kernel, size_t in_channels,
                            WinogradWeightForm form);

// Bytes of all panels.
size_t winograd_packed_bytes(const WinogradKernel& kernel, const WinogradPackInput& input,
                             WinogradWeightForm form);

// Writes every panel to `packed` (64-byte aligned, winograd_packed_bytes() long).
void winograd_pack(const WinogradKernel& kernel, const WinogradPackInput& input,
                   WinogradWeightForm form, void* packed);

}  // namespace wbcq

#endif  // WBCQ_KERNELS_WINOGRAD_PACK_H_
