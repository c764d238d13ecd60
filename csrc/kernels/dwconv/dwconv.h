// Depthwise INT8 convolution of a run of output pixels of one picture row, or of the same run of
// several rows (a band).
//
//   acc[x][c]   = start[c] + sum over ky, kx of in(ky, column)[c] * w[c][ky][kx],
//                 column = first_column + x * stride_w + kx * dilation_w
//   in(ky, i)   = rows[ky] + i * pixel_stride if 0 <= i < in_width, else padding
//   u8 output:  out[x][c] = clamp(rne(float(acc) * mult[c] [+ float(res[x][c] - z_r) * m_r]) + z,
//                                 lo, hi)
//   f32 output: out[x][c] = float(acc) * mult[c] + bias[c]
//
// The arithmetic is exact in int32 and every float operation is one binary32 operation rounded to
// nearest even, so every ISA gives the same bits (docs/design/numerics.md). The zero point of the
// input is folded into start[c]; padding holds the zero point.
#ifndef WBCQ_KERNELS_DWCONV_DWCONV_H_
#define WBCQ_KERNELS_DWCONV_DWCONV_H_

#include <cstddef>
#include <cstdint>

#include "kernels/dwconv/geometry.h"

namespace wbcq {

// height    output rows, 1 if there is a residual. Output row y meets the input rows
//           rows[y * row_step] to rows[y * row_step + kernel_h - 1], which are at most the kernel's
//           band_rows if height > 1, and starts out_row_stride bytes after the one before.
// rows      [(height - 1) * row_step + kernel_h] pointers to column 0 of the input rows under the
//           windows. A row above or below the picture is a row like any other: in_width pixels of
//           zero point.
// padding   `channels` bytes that stand for every column outside [0, in_width). Not null, even
// where
//           no window leaves the picture; then it may be anything.
// first_column  the column under tap 0 of the first output: -pad_left, plus stride_w for each
//           output pixel that the run skips.
// packed    packed weights of the run's first channel group, 64-byte aligned (pack.h). A run over
//           some of a layer's channels starts at a multiple of the kernel's block: rows, padding,
//           out and residual point at that channel, packed is dwconv_group_bytes() further per
//           block.
// out       pixel x starts at out + x * out_stride bytes (uint8_t or float).
// residual  null, or u8 with pixel x at residual + x * residual_stride. Ignored by run_f32.
//
// Exactly `channels` elements of each pixel are read and written, and of the input no pixel outside
// the columns that the run's windows span. `out` overlaps nothing that is read. Only `packed` needs
// an alignment, and `out` that of its element. Sizes: width, channels, in_width and every member of
// geometry >= 1. 0 <= lo <= hi <= 255, 0 <= zero_point <= 255; |multipliers| < 2^96, so that no
// product overflows.
struct DwconvRow {
  DwconvGeometry geometry;
  size_t width;
  size_t height;
  size_t row_step;
  size_t channels;
  const uint8_t* const* rows;
  size_t in_width;
  size_t pixel_stride;
  ptrdiff_t first_column;
  const uint8_t* padding;
  const void* packed;
  void* out;
  size_t out_stride;
  size_t out_row_stride;
  const uint8_t* residual;
  size_t residual_stride;
  float residual_multiplier;
  int32_t residual_zero_point;
  int32_t zero_point;
  int32_t lo;
  int32_t hi;
};

using DwconvRowFn = void (*)(const DwconvRow& row);

// How a kernel wants its taps: a step is what one multiplication instruction consumes of a channel.
enum class DwconvTapOrder {
  // Step s holds taps s * step_taps and following, counted row by row.
  kSequential,
  // For each column of the window its rows from above, step_taps at a time. If that leaves a single
  // row, its taps follow in steps of their own, from the right to the left.
  kColumns,
};

// The layout that dwconv_pack() produces for a kernel; pack.h explains it.
struct DwconvLayout {
  size_t lanes;         // groups of channels that the kernel's unpack instructions keep apart
  size_t parts;         // vectors of four channels a lane that these instructions produce
  size_t step_taps;     // 1, 2 or 4
  size_t weight_bytes;  // 1: int8, 2: int16
  DwconvTapOrder order;
  int32_t lhs_offset;  // what the kernel subtracts from every activation, as in GemmKernel

  constexpr size_t block() const { return lanes * parts * 4; }
};

// A list of kernels is tried in order: the first that supports a geometry and has the wanted output
// is the fastest (find_dwconv() in kernel_table.h). run_f32 may be null.
struct DwconvKernel {
  const char* name;
  DwconvLayout layout;
  bool (*supports)(const DwconvGeometry& geometry);
  DwconvRowFn run_u8;
  DwconvRowFn run_f32;
  size_t band_rows = 0;  // input rows of a call with a height over 1; 0: there is no such call
};

}  // namespace wbcq

#endif  // WBCQ_KERNELS_DWCONV_DWCONV_H_
