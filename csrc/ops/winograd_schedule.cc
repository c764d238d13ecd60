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
    : grid_(shape.tiles, shape.tiles * shape.v_tile_bytes, shape.panels,
            shape.panels * shape.panel_bytes, threads) {
  panel_stays_ = shape.panel_bytes <= kL2Panel;
  const size_t unit_tiles = grid_.unit_tiles();
  const bool weights_stay = grid_.unit_panels() * shape.panel_bytes <= kL2Weights;
  const size_t budget = weights_stay ? kL2BlockBesideWeights : kL2Block;
  const size_t fitting = budget / (shape.v_tile_bytes + shape.m_tile_bytes);
  if (shape.transforms) {
    // Each transform of the filters should serve many tiles, even where V leaves L2.
    block_tiles_ = ceil_div(unit_tiles, ceil_div(unit_tiles, kMostTiles));
    return;
  }
  const size_t least = weights_stay ? std::min<size_t>(shape.mr, 8) : kLeastStreamingTiles;
  const size_t most = std::clamp(fitting, least, kMostTiles);
  block_tiles_ = ceil_div(unit_tiles, ceil_div(unit_tiles, most));
}

}  // namespace wbcq
