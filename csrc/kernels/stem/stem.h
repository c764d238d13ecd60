// INT8 convolution 3x3 of three channels into at most 32: the first layer of many networks, a row
// of outputs at a time.
//
//   acc[x][c] = start[c] + sum over ky in [0, 3), i in [0, 9) of
//               rows[ky][x * stride * 3 + i] * w[c][ky][i]
//   out[x][c] = clamp(rne(float(acc) * mult[c]) + z, lo, hi)
//
// A GEMM pads each kernel row of 9 bytes to 12 and the channels to a whole vector. Here the lanes
// of a vector are output pixels and every channel has an accumulator of its own.
//
// The arithmetic is exact in int32 and every float operation is one binary32 operation rounded to
// nearest even, so every ISA gives the same bits (docs/design/numerics.md). The zero point of the
// input is folded into start[c]; rows hold it where they leave the picture.
#ifndef WBCQ_KERNELS_STEM_STEM_H_
#define WBCQ_KERNELS_STEM_STEM_H_

#include <cstddef>
#include <cstdint>

namespace wbcq {

inline constexpr size_t kStemTaps = 3;      // along each axis
inline constexpr size_t kStemChannels = 3;  // of the input
inline constexpr size_t kStemBlock = 8;     // output channels of a block of packed weights
inline constexpr size_t kStemMaxBlocks = 4;

// stride    of the window along the row, in pixels: 1 or 2.
// width     outputs, at least the kernel's least_width.
// channels  of the output: a multiple of kStemBlock, at most kStemMaxBlocks of it.
// rows      first byte under the window of output 0. Of each row exactly
//           ((width - 1) * stride + 3) * 3 bytes are read.
// packed    weights (pack.h), 4-byte aligned.
// out       [width][channels], without gaps. Must not overlap rows.
// 0 <= lo <= hi <= 255, 0 <= zero_point <= 255; no |float(acc) * mult| reaches 2^31.
struct StemRow {
  size_t stride;
  size_t width;
  size_t channels;
  const uint8_t* rows[kStemTaps];
  const void* packed;
  uint8_t* out;
  int32_t zero_point;
  int32_t lo;
  int32_t hi;
};

struct StemKernel {
  const char* name;
  size_t least_width;
  void (*run)(const StemRow& row);
};

}  // namespace wbcq

#endif  // WBCQ_KERNELS_STEM_STEM_H_
