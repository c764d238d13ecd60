// How the tiles of a Winograd convolution are shared among threads and ordered for the caches.
// Decides speed only: every schedule gives the same bits.
#ifndef WBCQ_OPS_WINOGRAD_SCHEDULE_H_
#define WBCQ_OPS_WINOGRAD_SCHEDULE_H_

#include <cstddef>

#include "base/checked.h"
#include "ops/thread_grid.h"

namespace wbcq {

struct WinogradShape {
  size_t tiles;  // of all pictures
  size_t panels;
  size_t mr;
  size_t panel_bytes;   // transformed filters
  bool transforms;      // filters, for each block
  size_t v_tile_bytes;  // a tile's transformed input
  size_t m_tile_bytes;  // a tile's products with one panel
};

// A unit is walked as for each block of tiles: transform the input; for each panel: products,
// transform the output.
class WinogradSchedule {
 public:
  WinogradSchedule() = default;
  WinogradSchedule(const WinogradShape& shape, size_t threads);

  size_t units() const { return grid_.units(); }
  Range tiles(size_t unit) const { return grid_.tiles(unit); }
  Range panels(size_t unit) const { return grid_.panels(unit); }
  // The most tiles of a block.
  size_t block_tiles() const { return block_tiles_; }
  // Whether one panel stays in L2 while all groups of tiles of a block meet it. Else all groups
  // meet one position's weights after another.
  bool panel_stays() const { return panel_stays_; }

 private:
  ThreadGrid grid_;
  size_t block_tiles_ = 1;
  bool panel_stays_ = true;
};

}  // namespace wbcq

#endif  // WBCQ_OPS_WINOGRAD_SCHEDULE_H_
