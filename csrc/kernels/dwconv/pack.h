// Packing of depthwise weights into the groups that DwconvKernel reads. Done once, when a model is
// loaded.
//
// A group holds block = lanes * parts * 4 channels:
//
//   int32  start[block]   bias - (zero_point - lhs_offset) * sum of weights
//   float  mult[block]
//   float  bias[block]    used by f32 outputs only; zero otherwise
//   int8   w[steps][block][step_taps]   (int16 where weight_bytes is 2)
//
// Unpack instructions interleave within 128-bit lanes, so they deliver the channels of a group out
// of order, and the pack instructions that narrow the results undo exactly that. No permutation is
// ever executed because everything a kernel combines with those channels is stored in their order:
//
//   channel l * parts * 4 + p * 4 + j  is element (p * lanes + l) * 4 + j
//
// of start, mult, bias and w[step], for lane l, part p, j in [0, 4). With one lane this is the
// natural order.
//
// Taps that a step lacks and channels that the last group lacks are zero. start[] is reduced modulo
// 2^32, as in gemm. Groups follow one another, each padded to 64 bytes.
#ifndef WBCQ_KERNELS_DWCONV_PACK_H_
#define WBCQ_KERNELS_DWCONV_PACK_H_

#include <cstddef>
#include <cstdint>

#include "kernels/dwconv/dwconv.h"

namespace wbcq {

struct DwconvPackInput {
  DwconvGeometry geometry;
  size_t channels;
  int32_t zero_point;
  const int8_t* weights;     // [channels][kernel_h][kernel_w]
  const int32_t* bias;       // [channels], or null for zero
  const float* multipliers;  // [channels]
  const float* float_bias;   // [channels], or null for zero
};

// Steps of one channel.
size_t dwconv_steps(const DwconvLayout& layout, const DwconvGeometry& geometry);

// Bytes of one group, a multiple of 64.
size_t dwconv_group_bytes(const DwconvLayout& layout, const DwconvGeometry& geometry);

// Bytes of all groups.
size_t dwconv_packed_bytes(const DwconvLayout& layout, const DwconvPackInput& input);

// Writes every group to `packed` (64-byte aligned, dwconv_packed_bytes() long).
void dwconv_pack(const DwconvLayout& layout, const DwconvPackInput& input, void* packed);

}  // namespace wbcq

#endif  // WBCQ_KERNELS_DWCONV_PACK_H_
