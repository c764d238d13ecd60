// Packing of float depthwise weights into the groups that DwconvF32Kernel reads. Done once, when a
// model is loaded.
//
// A group holds `block` channels in their natural order:
//
//   float  bias[block]
//   float  w[taps][block]   taps counted row by row
//
// Channels that the last group lacks are zero. Groups follow one another, each padded to 64 bytes.
#ifndef WBCQ_KERNELS_DWCONV_F32_PACK_H_
#define WBCQ_KERNELS_DWCONV_F32_PACK_H_

#include <cstddef>

#include "kernels/dwconv_f32/dwconv_f32.h"

namespace wbcq {

struct DwconvF32PackInput {
  DwconvGeometry geometry;
  size_t channels;
  const float* weights;  // [channels][kernel_h][kernel_w]
  const float* bias;     // [channels], or null for zero
};

// Bytes of one group, a multiple of 64.
size_t dwconv_f32_group_bytes(const DwconvF32Kernel& kernel, const DwconvGeometry& geometry);

// Bytes of all groups.
size_t dwconv_f32_packed_bytes(const DwconvF32Kernel& kernel, const DwconvF32PackInput& input);

// Writes every group to `packed` (64-byte aligned, dwconv_f32_packed_bytes() long).
void dwconv_f32_pack(const DwconvF32Kernel& kernel, const DwconvF32PackInput& input, void* packed);

}  // namespace wbcq

#endif  // WBCQ_KERNELS_DWCONV_F32_PACK_H_
