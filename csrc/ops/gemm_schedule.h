// How the tiles of a GEMM are shared among threads and ordered for the caches. Decides speed only:
// every schedule gives the same bits.
#ifndef WBCQ_OPS_GEMM_SCHEDULE_H_
#define WBCQ_OPS_GEMM_SCHEDULE_H_

#include <algorithm>
#include <cstddef>

#include "base/checked.h"
#include "ops/thread_grid.h"

namespace wbcq {

struct GemmShape {
  size_t pixels;  // of all pictures: the GEMM's M
  size_t panels;
  size_t mr;
  size_t panel_bytes;
  size_t pixel_bytes;  // input bytes and row pointers that one output pixel brings into the cache
};

// A unit is walked as for each block of tiles: for each panel: for each tile of the block.
class GemmSchedule {
 public:
  GemmSchedule() = default;
  GemmSchedule(const GemmShape& shape, size_t threads);

  size_t units() const { return grid_.units(); }
  Range tiles(size_t unit) const { return grid_.tiles(unit); }
  Range panels(size_t unit) const { return grid_.panels(unit); }
  // Heights differ by at most one: 49 pixels and mr = 14 give 13 + 12 + 12 + 12.
  Range pixels(size_t tile) const { return split_evenly(pixels_, tiles_, tile); }
  // How many tiles from the first of the range on are of its height.
  size_t equal_tiles(Range tiles) const {
    const size_t tall = pixels_ % tiles_;  // the tiles in front are one pixel taller
    return (tiles.begin < tall ? std::min(tall, tiles.end) : tiles.end) - tiles.begin;
  }
  size_t block_tiles() const { return block_tiles_; }
  // Whether a unit's weights are still in L2 when its next block of tiles reads them again.
  bool weights_stay() const { return weights_stay_; }

 private:
  size_t pixels_ = 0;
  size_t tiles_ = 0;
  ThreadGrid grid_;
  size_t block_tiles_ = 1;
  bool weights_stay_ = true;
};

}  // namespace wbcq

#endif  // WBCQ_OPS_GEMM_SCHEDULE_H_
