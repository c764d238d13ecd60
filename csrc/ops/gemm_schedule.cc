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
    : pixels_(shape.pixels), panels_(shape.panels), tiles_(ceil_div(shape.pixels, shape.mr)) {
  // The most even division wins; among equals the one that moves the fewest bytes: every part of
  // the pixels reads its part of the weights and the other way round.
  size_t best_work = tiles_ * panels_;
  size_t best_bytes = panels_ * shape.panel_bytes + pixels_ * shape.pixel_bytes;
  for (size_t pixel_parts = 1; pixel_parts <= std::min(threads, tiles_); ++pixel_parts) {
    const size_t panel_parts = std::min(threads / pixel_parts, panels_);
    const size_t work = ceil_div(tiles_, pixel_parts) * ceil_div(panels_, panel_parts);
    const size_t bytes =
        panels_ * shape.panel_bytes * pixel_parts + pixels_ * shape.pixel_bytes * panel_parts;
    if (work < best_work || (work == best_work && bytes < best_bytes)) {
      best_work = work;
      best_bytes = bytes;
      pixel_parts_ = pixel_parts;
      panel_parts_ = panel_parts;
    }
  }

  // Weights that stay in L2 may be read once for every few tiles. Larger ones are read from L3 or
  // memory once for each block, so blocks are as large as L2 allows.
  const size_t unit_weights = ceil_div(panels_, panel_parts_) * shape.panel_bytes;
  const size_t unit_tiles = ceil_div(tiles_, pixel_parts_);
  weights_stay_ = unit_weights <= kL2Weights;
  const size_t budget = weights_stay_ ? kL2Pixels : 2 * kL2Pixels;
  const size_t most = weights_stay_ ? kMaxBlockTiles : kMaxStreamingBlockTiles;
  const size_t fitting = std::max<size_t>(1, budget / (shape.mr * shape.pixel_bytes));
  const size_t blocks = ceil_div(unit_tiles, std::min(fitting, most));
  block_tiles_ = ceil_div(unit_tiles, blocks);
}

}  // namespace wbcq
