#include "ops/winograd_schedule.h"

#include <algorithm>

namespace wbcq {
namespace {

// Conservative shares of an L2 of 1 MB.
constexpr size_t kL2Weights = 640 * 1024;
constexpr size_t kL2BlockBesideWeights = 128 * 1024;
constexpr size_t kL2Block = 640 * 1024;
constexpr size_t kL2Panel = 320 * 1024;
// Weights that stream from L3 or memory are read once for a block: fewer tiles than this would wait
// for them, even where V and M then leave L2. More than the most gain nothing.
constexpr size_t kLeastStreamingTiles = 28;
constexpr size_t kMostTiles = 64;

}  // namespace

WinogradSchedule::WinogradSchedule(const WinogradShape& shape, size_t threads)
    : tiles_(shape.tiles), panels_(shape.panels) {
  size_t best_work = tiles_ * panels_;
  size_t best_bytes = panels_ * shape.panel_bytes + tiles_ * shape.v_tile_bytes;
  for (size_t tile_parts = 1; tile_parts <= std::min(threads, tiles_); ++tile_parts) {
    const size_t panel_parts = std::min(threads / tile_parts, panels_);
    const size_t work = ceil_div(tiles_, tile_parts) * ceil_div(panels_, panel_parts);
    const size_t bytes =
        panels_ * shape.panel_bytes * tile_parts + tiles_ * shape.v_tile_bytes * panel_parts;
    if (work < best_work || (work == best_work && bytes < best_bytes)) {
      best_work = work;
      best_bytes = bytes;
      tile_parts_ = tile_parts;
      panel_parts_ = panel_parts;
    }
  }
  panel_stays_ = shape.panel_bytes <= kL2Panel;
  const size_t unit_tiles = ceil_div(tiles_, tile_parts_);
  const bool weights_stay = ceil_div(panels_, panel_parts_) * shape.panel_bytes <= kL2Weights;
  const size_t budget = weights_stay ? kL2BlockBesideWeights : kL2Block;
  const size_t fitting = budget / (shape.v_tile_bytes + shape.m_tile_bytes);
  const size_t least = weights_stay ? std::min<size_t>(shape.mr, 8) : kLeastStreamingTiles;
  const size_t most = std::clamp(fitting, least, kMostTiles);
  block_tiles_ = ceil_div(unit_tiles, ceil_div(unit_tiles, most));
}

}  // namespace wbcq
