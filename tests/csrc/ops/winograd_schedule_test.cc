#include "ops/winograd_schedule.h"

#include <gtest/gtest.h>

#include <vector>

#include "support/random.h"

namespace wbcq {
namespace {

TEST(WinogradSchedule, EveryTileMeetsEveryPanelOnce) {
  testing::Random random;
  for (int i = 0; i < 300; ++i) {
    WinogradShape shape = {};
    shape.tiles = static_cast<size_t>(random.uniform(1, 400));
    shape.panels = static_cast<size_t>(random.uniform(1, 20));
    shape.mr = static_cast<size_t>(random.uniform(1, 16));
    shape.panel_bytes = static_cast<size_t>(random.uniform(64, 2000000));
    shape.v_tile_bytes = static_cast<size_t>(random.uniform(2000, 80000));
    shape.m_tile_bytes = 4608;
    shape.transforms = random.one_in(2);
    const auto threads = static_cast<size_t>(random.uniform(1, 9));
    const WinogradSchedule schedule(shape, threads);
    EXPECT_GE(schedule.units(), 1u);
    EXPECT_LE(schedule.units(), threads);
    EXPECT_GE(schedule.block_tiles(), 1u);
    EXPECT_LE(schedule.block_tiles(), shape.tiles);

    std::vector<int> visits(shape.tiles * shape.panels);
    for (size_t unit = 0; unit < schedule.units(); ++unit) {
      const Range tiles = schedule.tiles(unit);
      const Range panels = schedule.panels(unit);
      for (size_t tile = tiles.begin; tile < tiles.end; ++tile) {
        for (size_t panel = panels.begin; panel < panels.end; ++panel) {
          ++visits[tile * shape.panels + panel];
        }
      }
    }
    EXPECT_EQ(visits, std::vector<int>(visits.size(), 1));
  }
}

}  // namespace
}  // namespace wbcq
