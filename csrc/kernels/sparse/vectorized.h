// The sparse kernels in terms of one ISA's vectors. In an anonymous namespace: every ISA file has
// its own copy, compiled with its flags.
//
// The including file defines before, in its anonymous namespace:
//   kLanes, kVectors             dwords of a vector; vectors of a tile
//   kLoadsAhead                  whether loads stand before the products of the block before
//   kTwoSteps                    whether products of two steps are added before their sum is
//   Ints                         kLanes int32
//   Sums                         what products are added to; Sums::of(Ints)
//   Quads load_quads(p)
//   FourWeights load_four(p)     of a step's four outputs; weights<o>(four) those of one
//   void dot(Sums&, Quads, weights); if kTwoSteps void dot(Sums&, Quads, weights, Quads, weights)
//   Ints total(Sums)
//   Ints load_ints(p), broadcast_ints(value); void store_ints(p, a)
//   Requantizer, made of a SparseTile: void store(const Ints (&)[4], const float* mult,
//       const uint32_t* residual, uint32_t* out): four outputs of kLanes pixels; residual may be
//       null
//   void store_float(Ints, float mult, float bias, float* out)
#ifndef WBCQ_KERNELS_SPARSE_VECTORIZED_H_
#define WBCQ_KERNELS_SPARSE_VECTORIZED_H_

#include "kernels/sparse/sparse.h"

namespace wbcq {
namespace {

constexpr size_t kPixels = kVectors * kLanes;
constexpr size_t kRowBytes = kPixels * kSparseQuad;

template <size_t kUsed>
WBCQ_INLINE void load_row(const uint8_t* row, Quads (&quads)[kUsed]) {
#pragma GCC unroll 4
  for (size_t v = 0; v < kUsed; ++v) quads[v] = load_quads(row + v * kLanes * kSparseQuad);
}

template <size_t kOutputs>
inline constexpr size_t kForm = kOutputs / 2;
static_assert(kSparseOutputs[kForm<1>] == 1 && kSparseOutputs[kForm<2>] == 2 &&
              kSparseOutputs[kForm<4>] == 4);

template <size_t kOutputs>
inline constexpr size_t kRowDwords = kSparseStepDwords[kForm<kOutputs>] - kSparseGroup;

// The rows of a step, 16 bits each. GCC would put four bytes together with zeros in memory.
template <size_t kOutputs>
WBCQ_INLINE uint64_t load_rows(const int32_t* blocks) {
  if constexpr (kRowDwords<kOutputs> == 1) return static_cast<uint32_t>(*blocks);
  uint64_t rows;
  __builtin_memcpy(&rows, blocks, sizeof(rows));
  return rows;
}

// A step of a group's list. Loads are what limits: one brings all rows, one four weights.
template <size_t kOutputs>
struct Step {
  WBCQ_INLINE Step(const uint8_t* quads, const int32_t*& blocks)
      : lhs(quads),
        rows(load_rows<kOutputs>(blocks)),
        weights(load_four(blocks + kRowDwords<kOutputs>)) {
    blocks += kSparseStepDwords[kForm<kOutputs>];
  }
  WBCQ_INLINE const uint8_t* row(size_t block) const {
    return lhs + (rows >> (16 * block) & 0xFFFF) * kRowBytes;
  }

  const uint8_t* lhs;
  uint64_t rows;
  FourWeights weights;
};

// The products of one output. Where loads go ahead, a block's are those of the next one's row.
template <size_t kOutput, size_t kUsed, size_t kOutputs>
WBCQ_INLINE void dot_output(const Step<kOutputs>& step, Quads (&quads)[2][kUsed],
                            Sums (&acc)[kSparseGroup][kUsed]) {
  constexpr size_t kBlock = kOutput / kOutputs;
  constexpr size_t kHere = kLoadsAhead ? kBlock % 2 : 0;
  if (kOutput % kOutputs == 0) {
    if (kLoadsAhead && (kBlock + 1) * kOutputs < kSparseGroup) {
      load_row(step.row(kBlock + 1), quads[1 - kHere]);
    }
    if (!kLoadsAhead && kBlock > 0) load_row(step.row(kBlock), quads[0]);
  }
  const auto w = weights<kOutput>(step.weights);
#pragma GCC unroll 4
  for (size_t v = 0; v < kUsed; ++v) dot(acc[kOutput][v], quads[kHere][v], w);
}

template <size_t kOutputs, size_t kUsed>
WBCQ_INLINE void dot_step(const uint8_t* lhs, const int32_t*& blocks,
                          Sums (&acc)[kSparseGroup][kUsed]) {
  const Step<kOutputs> step(lhs, blocks);
  Quads quads[2][kUsed];
  load_row(step.row(0), quads[0]);
  dot_output<0>(step, quads, acc);
  dot_output<1>(step, quads, acc);
  dot_output<2>(step, quads, acc);
  dot_output<3>(step, quads, acc);
}

template <size_t kOutput, size_t kUsed, size_t kOutputs>
WBCQ_INLINE void dot_output(const Step<kOutputs>& first, const Step<kOutputs>& second,
                            Quads (&a)[kUsed], Quads (&b)[kUsed],
                            Sums (&acc)[kSparseGroup][kUsed]) {
  if (kOutput % kOutputs == 0) {
    load_row(first.row(kOutput / kOutputs), a);
    load_row(second.row(kOutput / kOutputs), b);
  }
  const auto w = weights<kOutput>(first.weights);
  const auto x = weights<kOutput>(second.weights);
#pragma GCC unroll 4
  for (size_t v = 0; v < kUsed; ++v) dot(acc[kOutput][v], a[v], w, b[v], x);
}

template <size_t kOutputs, size_t kUsed>
WBCQ_INLINE void dot_two_steps(const uint8_t* lhs, const int32_t*& blocks,
                               Sums (&acc)[kSparseGroup][kUsed]) {
  const Step<kOutputs> first(lhs, blocks);
  const Step<kOutputs> second(lhs, blocks);
  Quads a[kUsed];
  Quads b[kUsed];
  dot_output<0>(first, second, a, b, acc);
  dot_output<1>(first, second, a, b, acc);
  dot_output<2>(first, second, a, b, acc);
  dot_output<3>(first, second, a, b, acc);
}

template <size_t kOutputs, size_t kUsed>
void run_vectors(const SparseTile& tile, bool head) {
  const auto* lhs = reinterpret_cast<const uint8_t*>(tile.lhs);
  const int32_t* blocks = tile.blocks;
  const Requantizer requantizer(tile);
  const bool keep_sums = !tile.last || head;
  for (size_t group = 0; group < tile.groups; ++group) {
    const uint8_t* outputs = tile.outputs + group * kSparseGroup;
    Sums acc[kSparseGroup][kUsed];
    if (tile.first) {
#pragma GCC unroll 4
      for (size_t o = 0; o < kSparseGroup; ++o) {
        const Ints start = broadcast_ints(tile.start[outputs[o]]);
#pragma GCC unroll 4
        for (size_t v = 0; v < kUsed; ++v) acc[o][v] = Sums::of(start);
      }
    } else {
#pragma GCC unroll 4
      for (size_t o = 0; o < kSparseGroup; ++o) {
        const int32_t* row = tile.sums + outputs[o] * kPixels;
#pragma GCC unroll 4
        for (size_t v = 0; v < kUsed; ++v) acc[o][v] = Sums::of(load_ints(row + v * kLanes));
      }
    }
    uint32_t left = tile.counts[group];
    if constexpr (kTwoSteps) {
      for (; left >= 2; left -= 2) dot_two_steps<kOutputs, kUsed>(lhs, blocks, acc);
    }
    for (; left != 0; --left) dot_step<kOutputs, kUsed>(lhs, blocks, acc);
    if (keep_sums) {
#pragma GCC unroll 4
      for (size_t o = 0; o < kSparseGroup; ++o) {
        int32_t* row = tile.sums + outputs[o] * kPixels;
#pragma GCC unroll 4
        for (size_t v = 0; v < kUsed; ++v) store_ints(row + v * kLanes, total(acc[o][v]));
      }
      continue;
    }
    const float mult[kSparseGroup] = {tile.mult[outputs[0]], tile.mult[outputs[1]],
                                      tile.mult[outputs[2]], tile.mult[outputs[3]]};
    auto* out = static_cast<uint32_t*>(tile.out) + group * kPixels;
    const uint32_t* residual = tile.residual;
    if (residual != nullptr) residual += group * kPixels;
#pragma GCC unroll 4
    for (size_t v = 0; v < kUsed; ++v) {
      const Ints four[kSparseGroup] = {total(acc[0][v]), total(acc[1][v]), total(acc[2][v]),
                                       total(acc[3][v])};
      requantizer.store(four, mult, residual != nullptr ? residual + v * kLanes : nullptr,
                        out + v * kLanes);
    }
  }
}

// A tile of up to half of the vectors costs half.
template <size_t kOutputs>
void run(const SparseTile& tile, bool head) {
  constexpr size_t kHalf = (kVectors + 1) / 2;
  if (tile.pixels <= kHalf * kLanes) {
    run_vectors<kOutputs, kHalf>(tile, head);
  } else {
    run_vectors<kOutputs, kVectors>(tile, head);
  }
}

template <size_t kOutputs>
void run_u8(const SparseTile& tile) {
  run<kOutputs>(tile, false);
}

// Heads are rare: their sums take the way through memory.
template <size_t kOutputs>
void run_f32(const SparseTile& tile) {
  run<kOutputs>(tile, true);
  if (!tile.last) return;
  for (size_t o = 0; o < tile.groups * kSparseGroup; ++o) {
    for (size_t p = o * kPixels; p < o * kPixels + tile.pixels; p += kLanes) {
      store_float(load_ints(tile.sums + p), tile.mult[o], tile.bias[o],
                  static_cast<float*>(tile.out) + p);
    }
  }
}

}  // namespace
}  // namespace wbcq

#endif  // WBCQ_KERNELS_SPARSE_VECTORIZED_H_
