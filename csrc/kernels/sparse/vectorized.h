// The sparse kernels in terms of one ISA's vectors. In an anonymous namespace: every ISA file has
// its own copy, compiled with its flags.
//
// The including file defines before, in its anonymous namespace:
//   kLanes, kVectors             dwords of a vector; vectors of a tile
//   Ints                         kLanes int32
//   Sums                         what products are added to; Sums::of(Ints)
//   Quads load_quads(p), Weights broadcast(p), void broadcast_four(p, w[4]),
//       void dot(Sums&, Quads, Weights), Ints total(Sums)
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

// One step of a group's list; `blocks` moves behind it.
template <size_t kOutputs, size_t kUsed>
WBCQ_INLINE void dot_step(const uint8_t* lhs, const int32_t*& blocks,
                          Sums (&acc)[kSparseGroup][kUsed]) {
  if constexpr (kOutputs == 1) {
    // Loads are what limits: one for four rows, one for four weights.
    uint64_t rows;
    __builtin_memcpy(&rows, blocks, sizeof(rows));
    Weights w[kSparseGroup];
    broadcast_four(blocks + 2, w);
    blocks += kSparseStepDwords[0];
#pragma GCC unroll 4
    for (size_t o = 0; o < kSparseGroup; ++o, rows >>= 16) {
      const uint8_t* a = lhs + (rows & 0xFFFF) * kRowBytes;
#pragma GCC unroll 4
      for (size_t v = 0; v < kUsed; ++v) {
        dot(acc[o][v], load_quads(a + v * kLanes * kSparseQuad), w[o]);
      }
    }
  } else {
    const uint8_t* a = lhs + static_cast<uint32_t>(*blocks++) * kRowBytes;
    Quads quads[kUsed];
#pragma GCC unroll 4
    for (size_t v = 0; v < kUsed; ++v) quads[v] = load_quads(a + v * kLanes * kSparseQuad);
#pragma GCC unroll 4
    for (size_t o = 0; o < kSparseGroup; ++o) {
      const Weights w = broadcast(blocks++);
#pragma GCC unroll 4
      for (size_t v = 0; v < kUsed; ++v) dot(acc[o][v], quads[v], w);
    }
  }
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
    for (uint32_t left = tile.counts[group]; left != 0; --left) {
      dot_step<kOutputs, kUsed>(lhs, blocks, acc);
    }
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
  if (tile.pixels <= kPixels / 2) {
    run_vectors<kOutputs, kVectors / 2>(tile, head);
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
