// Packing of the weights that a StemKernel reads: blocks of kStemBlock output channels. Done once,
// when a model is loaded.
//
//   int32  start[8]    bias - zero_point * sum of weights, modulo 2^32
//   float  mult[8]
//   int8   w[7][8][4]  quads 2 ky and 2 ky + 1: bytes 0 to 3 and 4 to 7 of kernel row ky;
//                      quad 6: byte 8 of the three kernel rows, and zero
#ifndef WBCQ_KERNELS_STEM_PACK_H_
#define WBCQ_KERNELS_STEM_PACK_H_

#include <cstddef>
#include <cstdint>

#include "kernels/stem/stem.h"

namespace wbcq {

inline constexpr size_t kStemQuads = 7;

struct StemPackedBlock {
  int32_t start[kStemBlock];
  float mult[kStemBlock];
  int8_t weights[kStemQuads][kStemBlock][4];
};

struct StemPackInput {
  size_t channels;  // of the output
  int32_t zero_point;
  const int8_t* weights;     // [channels][3][9]
  const int32_t* bias;       // [channels]
  const float* multipliers;  // [channels]
};

// Writes channels / kStemBlock blocks.
void stem_pack(const StemPackInput& input, StemPackedBlock* blocks);

}  // namespace wbcq

#endif  // WBCQ_KERNELS_STEM_PACK_H_
