// Walks the tiles of a strip. In an anonymous namespace: every ISA file has its own copy, compiled
// with its flags.
#ifndef WBCQ_KERNELS_GEMM_STRIP_H_
#define WBCQ_KERNELS_GEMM_STRIP_H_

#include "kernels/gemm/gemm.h"

namespace wbcq {
namespace {

// Calls run(tile) for each tile of `strip`, as a strip of its own.
template <typename Run>
inline void for_each_tile(const GemmTile& strip, Run run) {
  GemmTile tile = strip;
  tile.tiles = 1;
  for (size_t t = 0; t < strip.tiles; ++t) {
    run(tile);
    tile.lhs += strip.lhs_tile_stride;
    tile.out = static_cast<uint8_t*>(tile.out) + strip.rows * strip.out_stride;
    if (strip.residual != nullptr) tile.residual += strip.rows * strip.residual_stride;
  }
}

}  // namespace
}  // namespace wbcq

#endif  // WBCQ_KERNELS_GEMM_STRIP_H_
