// Indirect INT8 GEMM: one micro-kernel serves 1x1 convolution, k x k convolution and linear layers.
//
//   acc[i][j]  = start[j] + sum over segments s, k of lhs[s][i][k] * w[s][k][j]
//   u8 output:  out[i][j] = clamp(rne(float(acc) * mult[j] [+ shortcut]) + z, lo, hi)
//               shortcut  = float(residual[i][j] - z_r) * m_r
//   f32 output: out[i][j] = float(acc) * mult[j] + bias[j]
//
// The arithmetic is exact in int32 and every float operation is one binary32 operation rounded to
// nearest even, so every ISA gives the same bits (docs/design/numerics.md). The zero point of the
// input is folded into start[j]; a padding tap reads a row that holds the zero point.
#ifndef WBCQ_KERNELS_GEMM_GEMM_H_
#define WBCQ_KERNELS_GEMM_GEMM_H_

#include <cstddef>
#include <cstdint>

namespace wbcq {

// A strip of `tiles` tiles, each of `rows` output pixels by `cols` output channels. The tiles of a
// strip follow one another: tile t reads its pointers at lhs + t * lhs_tile_stride and its output,
// residual and prefetch continue where tile t - 1 ended.
//
// lhs       [segments][rows] pointers to u8. Segment s reads steps[s] * kr bytes, channel_offset
//           bytes behind each of its pointers, no alignment required: groups of a convolution
//           differ in nothing else and share one set of pointers. A segment is one kernel tap of
//           one channel slice. When a slice's channel count is no multiple of kr, the packed
//           weights of the missing channels are zero and up to kr - 1 bytes past the row are read:
//           the caller keeps them readable.
// panel     packed weights, 64-byte aligned; layout at gemm_panel_bytes() in pack.h.
// out       row i starts at out + i * out_stride bytes (uint8_t or float). Exactly `cols` elements
//           of each row are written. Must not overlap lhs or residual, except that residual == out
//           with equal strides is allowed.
// residual  null, or u8 with row i at residual + i * residual_stride; exactly `cols` elements of
//           each row are read. Ignored by the f32 kernels.
// wide      says that a value before its rounding, float(acc) * mult [+ shortcut], may reach 2^31.
//           Rare: multipliers are well below 1 in every network seen. Ignored by the f32 kernels.
// prefetch  null, or what the kernel may bring into L2 meanwhile, up to prefetch_end:
//           kGemmPrefetchBytes for each step.
// Sizes: tiles >= 1, 1 <= rows <= mr, 1 <= cols <= nr, segments >= 1, steps[s] >= 1.
// 0 <= lo <= hi <= 255, 0 <= zero_point <= 255; |multipliers| < 2^96, so that no product overflows.
struct GemmTile {
  size_t tiles;
  size_t rows;
  size_t cols;
  size_t segments;
  const uint32_t* steps;
  const uint8_t* const* lhs;
  size_t lhs_tile_stride;  // in pointers
  size_t channel_offset;
  const void* panel;
  void* out;
  size_t out_stride;
  const uint8_t* residual;
  size_t residual_stride;
  float residual_multiplier;
  int32_t residual_zero_point;
  int32_t zero_point;
  int32_t lo;
  int32_t hi;
  bool wide;
  const void* prefetch;
  const void* prefetch_end;
};

inline constexpr size_t kGemmPrefetchBytes = 64;

using GemmTileFn = void (*)(const GemmTile& tile);

// kr is the number of consecutive input channels that a packed step holds for each output channel,
// lanes the number of columns in one vector: a tile of at most v * lanes columns costs v vectors.
//
// lhs_offset is what the kernel subtracts from every activation: 0, or 128 where the instructions
// want signed operands (u8 - 128 is u8 ^ 0x80 read as s8). gemm_pack() adds lhs_offset * sum of
// weights to start[j], modulo 2^32, so that the accumulator ends at the same int32.
struct GemmKernel {
  const char* name;
  size_t mr;
  size_t nr;
  size_t lanes;
  size_t kr;
  int32_t lhs_offset;
  GemmTileFn run_u8;
  GemmTileFn run_f32;
};

}  // namespace wbcq

#endif  // WBCQ_KERNELS_GEMM_GEMM_H_
