// From pixels to lanes and back for vectors that are shorter than the 64 bytes which change places
// together. In an anonymous namespace: every ISA file has its own copy, compiled with its flags.
//
// The including file defines before, in its anonymous namespace, besides what vectorized.h wants:
//   Bytes, Bytes load_bytes(p)   a vector of 4 * kLanes bytes
//   void store_bytes(p, a)
//   Bytes centred(a)             a - lhs_offset, modulo 256
//   void transpose(Bytes (&)[kLanes])   of dwords
//   Places, made of the 64 places of an order, or null: void apply(uint8_t* chunk)
#ifndef WBCQ_KERNELS_SPARSE_CHUNKS_H_
#define WBCQ_KERNELS_SPARSE_CHUNKS_H_

#include "kernels/sparse/sparse.h"

namespace wbcq {
namespace {

constexpr size_t kVectorBytes = kLanes * kSparseQuad;
constexpr size_t kTilePixels = kVectors * kLanes;

WBCQ_INLINE size_t least(size_t a, size_t b) { return a < b ? a : b; }

// Nearly always a whole chunk.
WBCQ_INLINE void copy(uint8_t* to, const uint8_t* from, size_t bytes) {
  if (bytes == kSparseChunk) {
    __builtin_memcpy(to, from, kSparseChunk);
  } else {
    __builtin_memcpy(to, from, bytes);
  }
}

template <bool kCentred>
void gather_chunks(const SparseGather& args) {
  alignas(64) uint8_t copies[kLanes][kSparseChunk] = {};
  const Places places(args.order);
  for (size_t first = 0; first < args.bytes; first += kSparseChunk) {
    const size_t bytes = least(kSparseChunk, args.bytes - first);
    const bool copied = args.order != nullptr || bytes % kVectorBytes != 0;
    for (size_t p = 0; p < args.count; p += kLanes) {
      const uint8_t* pixels[kLanes];
      for (size_t i = 0; i < kLanes; ++i) {
        pixels[i] = args.pixels[least(p + i, args.count - 1)] + args.first + first;
        if (!copied) continue;
        copy(copies[i], pixels[i], bytes);
        if (args.order != nullptr) places.apply(copies[i]);
        pixels[i] = copies[i];
      }
      for (size_t at = 0; at < bytes; at += kVectorBytes) {
        Bytes v[kLanes];
#pragma GCC unroll 8
        for (size_t i = 0; i < kLanes; ++i) {
          v[i] = load_bytes(pixels[i] + at);
          if (kCentred) v[i] = centred(v[i]);
        }
        transpose(v);
        uint32_t* quads = args.quads + (first + at) / kSparseQuad * kTilePixels + p;
        const size_t left = (bytes - at + kSparseQuad - 1) / kSparseQuad;
#pragma GCC unroll 8
        for (size_t i = 0; i < kLanes; ++i) {
          if (i < left) store_bytes(quads + i * kTilePixels, v[i]);
        }
      }
    }
  }
}

void scatter_chunks(const SparseScatter& args) {
  alignas(64) uint8_t copies[kLanes][kSparseChunk];
  const Places places(args.order);
  for (size_t first = 0; first < args.bytes; first += kSparseChunk) {
    const size_t bytes = least(kSparseChunk, args.bytes - first);
    // Bytes may come from anywhere in the chunk, but not from beyond the last output's group.
    const size_t rows = (args.bytes - first + kSparseQuad - 1) / kSparseQuad;
    for (size_t p = 0; p < args.count; p += kLanes) {
      for (size_t at = 0; at < bytes; at += kVectorBytes) {
        Bytes v[kLanes];
#pragma GCC unroll 8
        for (size_t i = 0; i < kLanes; ++i) {
          const size_t row = least(at / kSparseQuad + i, rows - 1);
          v[i] = load_bytes(args.quads + (first / kSparseQuad + row) * kTilePixels + p);
        }
        transpose(v);
#pragma GCC unroll 8
        for (size_t i = 0; i < kLanes; ++i) store_bytes(copies[i] + at, v[i]);
      }
      uint8_t* pixel = args.pixels + p * args.pixel_stride + first;
      for (size_t i = 0; i < kLanes && p + i < args.count; ++i, pixel += args.pixel_stride) {
        if (args.order != nullptr) places.apply(copies[i]);
        copy(pixel, copies[i], bytes);
      }
    }
  }
}

}  // namespace
}  // namespace wbcq

#endif  // WBCQ_KERNELS_SPARSE_CHUNKS_H_
