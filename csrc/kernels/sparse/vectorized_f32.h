// The sparse kernels in float in terms of one ISA's vectors. In an anonymous namespace: every ISA
// file has its own copy, compiled with its flags.
//
// The including file has included kernels/simd/floats_*.h and vectorized.h, and defines, in its
// anonymous namespace:
//   FloatWeights load_float_weights(p)   of a step's four outputs
//   Floats float_weight<o>(four)         that of one in every lane
#ifndef WBCQ_KERNELS_SPARSE_VECTORIZED_F32_H_
#define WBCQ_KERNELS_SPARSE_VECTORIZED_F32_H_

#include "kernels/sparse/sparse.h"

namespace wbcq {
namespace {

static_assert(Floats::kLanes == kLanes);

template <size_t kUsed>
WBCQ_INLINE void load_floats(const float* row, Floats (&x)[kUsed]) {
#pragma GCC unroll 4
  for (size_t v = 0; v < kUsed; ++v) x[v] = Floats::load(row + v * kLanes);
}

// A step of a group's list: the products of one weight of each of four outputs.
template <size_t kOutputs, size_t kUsed>
WBCQ_INLINE void multiply_step(const float* lhs, const int32_t*& blocks,
                               Floats (&acc)[kSparseGroup][kUsed]) {
  const uint64_t rows = load_rows<kOutputs>(blocks);
  const FloatWeights four = load_float_weights(blocks + kRowDwords<kOutputs>);
  blocks += kSparseStepDwords[kForm<kOutputs>];
  const Floats w[kSparseGroup] = {float_weight<0>(four), float_weight<1>(four),
                                  float_weight<2>(four), float_weight<3>(four)};
  Floats x[kUsed];
#pragma GCC unroll 4
  for (size_t o = 0; o < kSparseGroup; ++o) {
    if (o % kOutputs == 0) load_floats(lhs + (rows >> (16 * (o / kOutputs)) & 0xFFFF) * kPixels, x);
#pragma GCC unroll 4
    for (size_t v = 0; v < kUsed; ++v) acc[o][v] = Floats::fma(x[v], w[o], acc[o][v]);
  }
}

template <size_t kUsed>
WBCQ_INLINE void finish_float(const SparseFloatTile& tile, size_t output, Floats (&acc)[kUsed]) {
  // NaN passes: it is the second operand.
  const Floats lo = Floats::of(tile.lo);
  const Floats hi = Floats::of(tile.hi);
  if (tile.residual != nullptr) {
    Floats residual[kUsed];
    load_floats(tile.residual + output * kPixels, residual);
#pragma GCC unroll 4
    for (size_t v = 0; v < kUsed; ++v) acc[v] = acc[v] + residual[v];
  }
#pragma GCC unroll 4
  for (size_t v = 0; v < kUsed; ++v) acc[v] = Floats::min(hi, Floats::max(lo, acc[v]));
}

template <size_t kOutputs, size_t kUsed>
void run_float_vectors(const SparseFloatTile& tile) {
  const int32_t* blocks = tile.blocks;
  for (size_t group = 0; group < tile.groups; ++group) {
    const uint8_t* outputs = tile.outputs + group * kSparseGroup;
    Floats acc[kSparseGroup][kUsed];
#pragma GCC unroll 4
    for (size_t o = 0; o < kSparseGroup; ++o) {
      if (tile.first) {
        const Floats bias = Floats::of(tile.bias[outputs[o]]);
#pragma GCC unroll 4
        for (size_t v = 0; v < kUsed; ++v) acc[o][v] = bias;
      } else {
        load_floats(tile.sums + outputs[o] * kPixels, acc[o]);
      }
    }
    for (uint32_t left = tile.counts[group]; left != 0; --left) {
      multiply_step<kOutputs, kUsed>(tile.lhs, blocks, acc);
    }
#pragma GCC unroll 4
    for (size_t o = 0; o < kSparseGroup; ++o) {
      if (tile.last) finish_float(tile, outputs[o], acc[o]);
      float* row = tile.sums + outputs[o] * kPixels;
#pragma GCC unroll 4
      for (size_t v = 0; v < kUsed; ++v) acc[o][v].store(row + v * kLanes);
    }
  }
}

template <size_t kOutputs>
void run_float(const SparseFloatTile& tile) {
  constexpr size_t kHalf = (kVectors + 1) / 2;
  if (tile.pixels <= kHalf * kLanes) {
    run_float_vectors<kOutputs, kHalf>(tile);
  } else {
    run_float_vectors<kOutputs, kVectors>(tile);
  }
}

}  // namespace
}  // namespace wbcq

#endif  // WBCQ_KERNELS_SPARSE_VECTORIZED_F32_H_
