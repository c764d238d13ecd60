#include "ops/gemm_schedule.h"

#include <algorithm>

namespace wbcq {
namespace {

// Conservative shares of the private caches of the CPUs in question (L2: 512 KB to 1 MB).
constexpr size_t kL2Weights = 512 * 1024;
constexpr size_t kL2Pixels = 192 * 1024;
// Blocks beyond these sizes gain nothing and cost scratch memory for their row pointers.
constexpr size_t kMaxBlockTiles = 16;
constexpr size_t kMaxStreamingBlockTiles = 64;

}  // namespace

GemmSchedule::GemmSchedule(const GemmShape& shape, size_t threads)
    : pixels_(shape.pixels),
      tiles_(ceil_div(shape.pixels, shape.mr)),
      grid_(tiles_, shape.pixels * shape.pixel_bytes, shape.panels,
            shape.panels * shape.panel_bytes, threads) {
  // Weights that stay in L2 may be read once for every few tiles. Larger ones are read from L3 or
  // memory once for each block, so blocks are as large as L2 allows.
  const size_t unit_weights = grid_.unit_panels() * shape.panel_bytes;
  const size_t unit_tiles = grid_.unit_tiles();
  weights_stay_ = unit_weights <= kL2Weights;
  const size_t budget = weights_stay_ ? kL2Pixels : 2 * kL2Pixels;
  const size_t most = weights_stay_ ? kMaxBlockTiles : kMaxStreamingBlockTiles;
  const size_t fitting = std::max<size_t>(1, budget / (shape.mr * shape.pixel_bytes));
  const size_t blocks = ceil_div(unit_tiles, std::min(fitting, most));
  block_tiles_ = ceil_div(unit_tiles, blocks);
}

}  // namespace wbcq
