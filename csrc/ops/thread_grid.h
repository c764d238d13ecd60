// Tiles by panels of weights, shared among threads. Decides speed only: every grid gives the same
// bits.
#ifndef WBCQ_OPS_THREAD_GRID_H_
#define WBCQ_OPS_THREAD_GRID_H_

#include <algorithm>
#include <cstddef>

#include "base/checked.h"

namespace wbcq {

// A grid of units, one for each thread; a unit is a range of tiles by a range of panels.
class ThreadGrid {
 public:
  ThreadGrid() = default;

  // The most even division wins; among equals the one that moves the fewest bytes: every part of
  // the tiles (tile_bytes, all together) reads its part of the weights and the other way round.
  ThreadGrid(size_t tiles, size_t tile_bytes, size_t panels, size_t panel_bytes, size_t threads)
      : ThreadGrid(tiles, tile_bytes, panels, panel_bytes, threads,
                   [](size_t unit_tiles, size_t unit_panels) { return unit_tiles * unit_panels; }) {
  }

  // work_of(tiles, panels) is the time of a unit.
  template <typename Work>
  ThreadGrid(size_t tiles, size_t tile_bytes, size_t panels, size_t panel_bytes, size_t threads,
             const Work& work_of)
      : tiles_(tiles), panels_(panels) {
    auto best_work = work_of(tiles, panels);
    size_t best_bytes = panel_bytes + tile_bytes;
    for (size_t tile_parts = 1; tile_parts <= std::min(threads, tiles); ++tile_parts) {
      const size_t panel_parts = std::min(threads / tile_parts, panels);
      const auto work = work_of(ceil_div(tiles, tile_parts), ceil_div(panels, panel_parts));
      const size_t bytes = panel_bytes * tile_parts + tile_bytes * panel_parts;
      if (work < best_work || (work == best_work && bytes < best_bytes)) {
        best_work = work;
        best_bytes = bytes;
        tile_parts_ = tile_parts;
        panel_parts_ = panel_parts;
      }
    }
  }

  size_t units() const { return tile_parts_ * panel_parts_; }
  Range tiles(size_t unit) const { return split_evenly(tiles_, tile_parts_, unit / panel_parts_); }
  Range panels(size_t unit) const {
    return split_evenly(panels_, panel_parts_, unit % panel_parts_);
  }
  // The most that a unit has.
  size_t unit_tiles() const { return ceil_div(tiles_, tile_parts_); }
  size_t unit_panels() const { return ceil_div(panels_, panel_parts_); }

 private:
  size_t tiles_ = 0;
  size_t panels_ = 0;
  size_t tile_parts_ = 1;
  size_t panel_parts_ = 1;
};

}  // namespace wbcq

#endif  // WBCQ_OPS_THREAD_GRID_H_
