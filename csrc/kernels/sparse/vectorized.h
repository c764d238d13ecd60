// The sparse kernels in terms of one ISA's vectors. In an anonymous namespace: every ISA file has
// its own copy, compiled with its flags.
//
// The including file defines before, in its anonymous namespace:
//   kLanes, kVectors             dwords of a vector; vectors of a tile
//   Ints                         kLanes int32
//   Sums                         what products are added to; Sums::zero()
//   Quads load_quads(p), Weights broadcast(p), void dot(Sums&, Quads, Weights), Ints total(Sums)
//   Ints load_ints(p), broadcast_ints(value), add(a, b); void store_ints(p, a)
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

// Blocks of four outputs share their loads of activations: kUsed * 4 sums.
template <size_t kUsed>
WBCQ_INLINE const int32_t* add_blocks_4x4(const uint8_t* lhs, const int32_t* blocks, size_t count,
                                          Ints (&out)[kSparseGroup][kUsed]) {
  Sums acc[kSparseGroup][kUsed];
#pragma GCC unroll 4
  for (size_t o = 0; o < kSparseGroup; ++o) {
#pragma GCC unroll 4
    for (size_t v = 0; v < kUsed; ++v) acc[o][v] = Sums::zero();
  }
  const int32_t* const end = blocks + 5 * count;
  for (; blocks != end; blocks += 5) {
    const uint8_t* a = lhs + static_cast<uint32_t>(blocks[0]);
    Quads quads[kUsed];
#pragma GCC unroll 4
    for (size_t v = 0; v < kUsed; ++v) quads[v] = load_quads(a + v * kLanes * kSparseQuad);
#pragma GCC unroll 4
    for (size_t o = 0; o < kSparseGroup; ++o) {
      const Weights w = broadcast(blocks + 1 + o);
#pragma GCC unroll 4
      for (size_t v = 0; v < kUsed; ++v) dot(acc[o][v], quads[v], w);
    }
  }
#pragma GCC unroll 4
  for (size_t o = 0; o < kSparseGroup; ++o) {
#pragma GCC unroll 4
    for (size_t v = 0; v < kUsed; ++v) out[o][v] = total(acc[o][v]);
  }
  return end;
}

template <size_t kUsed>
WBCQ_INLINE void dot_block(const uint8_t* lhs, const int32_t* block, Sums (&acc)[kUsed]) {
  const uint8_t* a = lhs + static_cast<uint32_t>(block[0]);
  const Weights w = broadcast(block + 1);
#pragma GCC unroll 4
  for (size_t v = 0; v < kUsed; ++v) dot(acc[v], load_quads(a + v * kLanes * kSparseQuad), w);
}

// Two chains of sums: one of kUsed vectors would wait for its own results.
template <size_t kUsed>
WBCQ_INLINE const int32_t* add_blocks_1x4(const uint8_t* lhs, const int32_t* blocks, size_t count,
                                          Ints (&out)[kUsed]) {
  Sums even[kUsed], odd[kUsed];
#pragma GCC unroll 4
  for (size_t v = 0; v < kUsed; ++v) even[v] = odd[v] = Sums::zero();
  const int32_t* end = blocks + 2 * count;
  for (; end - blocks >= 4; blocks += 4) {
    dot_block(lhs, blocks, even);
    dot_block(lhs, blocks + 2, odd);
  }
  if (blocks != end) dot_block(lhs, blocks, even);
#pragma GCC unroll 4
  for (size_t v = 0; v < kUsed; ++v) out[v] = add(total(even[v]), total(odd[v]));
  return end;
}

template <size_t kOutputs, size_t kUsed>
void run_vectors(const SparseTile& tile, bool head) {
  const auto* lhs = reinterpret_cast<const uint8_t*>(tile.lhs);
  const int32_t* blocks = tile.blocks;
  const uint32_t* counts = tile.counts;
  const Requantizer requantizer(tile);
  for (size_t group = 0; group < tile.groups; ++group) {
    const size_t first = group * kSparseGroup;
    int32_t* stored = tile.sums + first * kPixels;
    Ints acc[kSparseGroup][kUsed];
    if constexpr (kOutputs == 4) {
      blocks = add_blocks_4x4<kUsed>(lhs, blocks, *counts++, acc);
    } else {
#pragma GCC unroll 4
      for (size_t o = 0; o < kSparseGroup; ++o) {
        blocks = add_blocks_1x4<kUsed>(lhs, blocks, *counts++, acc[o]);
      }
    }
    if (tile.first) {
#pragma GCC unroll 4
      for (size_t o = 0; o < kSparseGroup; ++o) {
        const Ints start = broadcast_ints(tile.start[first + o]);
#pragma GCC unroll 4
        for (size_t v = 0; v < kUsed; ++v) acc[o][v] = add(acc[o][v], start);
      }
    } else {
#pragma GCC unroll 4
      for (size_t o = 0; o < kSparseGroup; ++o) {
#pragma GCC unroll 4
        for (size_t v = 0; v < kUsed; ++v) {
          acc[o][v] = add(acc[o][v], load_ints(stored + o * kPixels + v * kLanes));
        }
      }
    }
    if (!tile.last || head) {
#pragma GCC unroll 4
      for (size_t o = 0; o < kSparseGroup; ++o) {
#pragma GCC unroll 4
        for (size_t v = 0; v < kUsed; ++v) store_ints(stored + o * kPixels + v * kLanes, acc[o][v]);
      }
      continue;
    }
    auto* out = static_cast<uint32_t*>(tile.out) + group * kPixels;
    const uint32_t* residual = tile.residual;
    if (residual != nullptr) residual += group * kPixels;
#pragma GCC unroll 4
    for (size_t v = 0; v < kUsed; ++v) {
      const Ints four[kSparseGroup] = {acc[0][v], acc[1][v], acc[2][v], acc[3][v]};
      requantizer.store(four, tile.mult + first,
                        residual != nullptr ? residual + v * kLanes : nullptr, out + v * kLanes);
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
