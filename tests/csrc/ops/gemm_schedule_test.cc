#include "ops/gemm_schedule.h"

#include <gtest/gtest.h>

#include <vector>

#include "support/random.h"

namespace wbcq {
namespace {

TEST(GemmSchedule, EveryTileMeetsEveryPanelOnce) {
  testing::Random random;
  for (int i = 0; i < 300; ++i) {
    GemmShape shape = {};
    shape.pixels = static_cast<size_t>(random.uniform(1, 400));
    shape.panels = static_cast<size_t>(random.uniform(1, 20));
    shape.mr = static_cast<size_t>(random.uniform(1, 16));
    shape.panel_bytes = static_cast<size_t>(random.uniform(64, 300000));
    shape.pixel_bytes = static_cast<size_t>(random.uniform(1, 20000));
    const auto threads = static_cast<size_t>(random.uniform(1, 9));
    const GemmSchedule schedule(shape, threads);
    EXPECT_GE(schedule.units(), 1u);
    EXPECT_LE(schedule.units(), threads);
    EXPECT_GE(schedule.block_tiles(), 1u);

    std::vector<int> visits(shape.pixels * shape.panels);
    for (size_t unit = 0; unit < schedule.units(); ++unit) {
      const Range tiles = schedule.tiles(unit);
      const Range panels = schedule.panels(unit);
      for (size_t tile = tiles.begin; tile < tiles.end; ++tile) {
        const Range pixels = schedule.pixels(tile);
        EXPECT_GE(pixels.size(), 1u);
        EXPECT_LE(pixels.size(), shape.mr);
        const size_t equal = schedule.equal_tiles({tile, tiles.end});
        ASSERT_GE(equal, 1u);
        ASSERT_LE(tile + equal, tiles.end);
        EXPECT_EQ(schedule.pixels(tile + equal - 1).size(), pixels.size());
        if (tile + equal < tiles.end) {
          EXPECT_NE(schedule.pixels(tile + equal).size(), pixels.size());
        }
        for (size_t pixel = pixels.begin; pixel < pixels.end; ++pixel) {
          for (size_t panel = panels.begin; panel < panels.end; ++panel) {
            ++visits[pixel * shape.panels + panel];
          }
        }
      }
    }
    EXPECT_EQ(visits, std::vector<int>(visits.size(), 1));
  }
}

TEST(GemmSchedule, SharesAmongThreadsWhatThereIs) {
  // A 7x7 map of 512 channels: four tiles by sixteen panels.
  const GemmShape shape = {49, 16, 14, 147 * 1024, 512};
  EXPECT_EQ(GemmSchedule(shape, 1).units(), 1u);
  EXPECT_EQ(GemmSchedule(shape, 2).units(), 2u);
  // The weights are by far the larger operand: each thread takes half of them.
  EXPECT_EQ(GemmSchedule(shape, 2).panels(0).size(), 8u);
  EXPECT_EQ(GemmSchedule(shape, 64).units(), 64u);
  // One tile and one panel occupy one thread.
  EXPECT_EQ(GemmSchedule({3, 1, 14, 1024, 64}, 8).units(), 1u);
}

}  // namespace
}  // namespace wbcq
