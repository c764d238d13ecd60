// Products of activations with weights that are mostly zero.
//
// Weights are kept in blocks of 4 consecutive input channels by 1, 2 or 4 output channels; blocks
// of zeros are left out. A vector lane holds one output pixel: a block is one load of 4 channels of
// as many pixels as a vector has lanes, and one dot product of that vector with 4 broadcast weights
// for each of its outputs. The position of a block is nothing but where that load begins, so zeros
// that are left out cost nothing, wherever they are.
//
//   acc[o][p]   = start[o] + sum over blocks, k of lhs[quad][p][k] * w[o][k]
//   u8 output:    clamp(rne(float(acc) * mult[o] [+ shortcut]) + z, lo, hi), shortcut =
//                 float(residual[o][p] - z_r) * m_r
//   f32 output:   float(acc) * mult[o] + bias[o]
//
// Sums are exact modulo 2^32 and every float operation is one binary32 operation rounded to nearest
// even: the bits of kernels/gemm (docs/design/numerics.md).
//
// In float a dword is one channel instead of four, and a block one weight of 1, 2 or 4 outputs:
//
//   clamp(bias[o] + sum over weights of lhs[row][p] * w[o] [+ residual[o][p]], lo, hi)
//
// added as kernels/gemm_f32 does, in the order of the list, so that finite activations give its
// results.
#ifndef WBCQ_KERNELS_SPARSE_SPARSE_H_
#define WBCQ_KERNELS_SPARSE_SPARSE_H_

#include <cstddef>
#include <cstdint>

namespace wbcq {

inline constexpr size_t kSparseQuad = 4;    // input channels of a block
inline constexpr size_t kSparseGroup = 4;   // output channels that a kernel treats together
inline constexpr size_t kSparseChunk = 64;  // output channels that change places together

// Pixel-in-lane order: "[n][pixels] quads" is n rows of SparseKernel::pixels dwords, of which a
// tile uses the first ones; each dword holds 4 channels of a pixel.
//
// From pixels to lanes: row q of `quads` becomes bytes [first + 4 q, first + 4 q + 4) of every
// pixel. pixels     pointers to pixels; at least one, at most SparseKernel::pixels bytes      of
// each pixel from `first` on; exactly these are read, and what the last quad has
//            beyond them is anything: it meets weights of zero.
// quads      64-byte aligned; lanes beyond `count` up to a whole vector are written as well.
struct SparseGather {
  const uint8_t* const* pixels;
  size_t count;
  size_t first;
  size_t bytes;
  const uint8_t* order;
  uint32_t* quads;
};

using SparseGatherFn = void (*)(const SparseGather& args);

// And back: row q becomes bytes [4 q, 4 q + 4) of every pixel, or byte b of a pixel is byte
// order[b] of the quads. Exactly `bytes` of each of the `count` pixels are written.
struct SparseScatter {
  const uint32_t* quads;
  size_t count;
  size_t bytes;
  const uint8_t* order;
  uint8_t* pixels;
  size_t pixel_stride;  // in bytes
};

// One tile of output pixels by `groups` groups of output channels over one part of the depth.
//
// Groups are put together, and follow one another, so that neighbouring lists are of nearly equal
// length: a loop whose length changes all the time costs as much as several blocks for each
// mispredicted end. So the outputs of a chunk are in an order of their own, which may differ from
// part to part.
//
// outputs   [4 * groups] which output each place in a group stands for: an index into start, mult,
//           bias and the rows of sums and of f32 results. Those of a block follow one another.
// counts    [groups] steps of each list.
// blocks    the lists, one after another. A step covers the four outputs of the group by four
// blocks
//           of 1x4, two of 2x4 or one of 4x4: the row of lhs of each in 16 bits, filled up to whole
//           dwords, then a dword of weights for each output. The group's shorter lists are filled
//           up with zero weights.
// lhs       [quads][pixels] quads. Where the kernel's lhs_offset is 128 gather() has subtracted it.
// sums      int32 [outputs][pixels]: what the parts of the depth before this one gave, and what
//           this one leaves for the next. Not used by run_u8 for a part that is first and last.
// residual  null, or [groups][pixels] quads, in the order of the groups, lhs_offset 0.
// out       [groups][pixels] quads of u8, in the order of the groups, or [outputs][pixels] floats.
// Buffers are 64-byte aligned. |acc * mult [+ shortcut]| < 2^31.
struct SparseTile {
  size_t pixels;
  size_t groups;
  const uint8_t* outputs;
  const uint32_t* counts;
  const int32_t* blocks;
  const uint32_t* lhs;
  const int32_t* start;
  const float* mult;
  const float* bias;
  bool first;
  bool last;
  int32_t* sums;
  const uint32_t* residual;
  float residual_multiplier;
  int32_t residual_zero_point;
  int32_t zero_point;
  int32_t lo;
  int32_t hi;
  void* out;
};

using SparseTileFn = void (*)(const SparseTile& tile);

// The same in float. What is not named here is as in SparseTile, with float weights in the steps.
//
// lhs       [rows][pixels]: a channel of every pixel.
// bias      [outputs]; may be null for a part that is not the first.
// sums      [outputs][pixels]: as in SparseTile; the last part leaves the results here.
// residual  null, or [outputs][pixels].
struct SparseFloatTile {
  size_t pixels;
  size_t groups;
  const uint8_t* outputs;
  const uint32_t* counts;
  const int32_t* blocks;
  const float* lhs;
  const float* bias;
  bool first;
  bool last;
  float* sums;
  const float* residual;
  float lo;
  float hi;
};

using SparseFloatTileFn = void (*)(const SparseFloatTile& tile);

// For each shape of blocks: 1x4, 2x4, 4x4; in float 1x1, 2x1, 4x1.
inline constexpr size_t kSparseForms = 3;
inline constexpr size_t kSparseOutputs[kSparseForms] = {1, 2, 4};     // of a block
inline constexpr size_t kSparseStepDwords[kSparseForms] = {6, 5, 5};  // of a group's list

// Of activations in lane order: what stays in L1 (32 to 48 KB) and leaves room for sums and blocks
// on their way through.
inline constexpr size_t kSparsePartBytes = 36 * 1024;

struct SparseKernel {
  const char* names[kSparseForms];
  size_t pixels;  // the most of a tile
  // A tile's activations of one part of the depth. Where a row is loaded for several outputs, L2
  // may hold a part of them, and fewer parts spill fewer sums.
  size_t part_bytes[kSparseForms];
  int32_t lhs_offset;
  SparseGatherFn gather;        // subtracts lhs_offset, modulo 256
  SparseGatherFn gather_plain;  // for the residual, and floats
  void (*scatter)(const SparseScatter& args);
  SparseTileFn run_u8[kSparseForms];
  SparseTileFn run_f32[kSparseForms];
  const char* float_names[kSparseForms];
  SparseFloatTileFn run_float[kSparseForms];
};

}  // namespace wbcq

#endif  // WBCQ_KERNELS_SPARSE_SPARSE_H_
