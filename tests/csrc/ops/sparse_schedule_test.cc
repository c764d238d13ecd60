#include "ops/sparse_schedule.h"

#include <gtest/gtest.h>

#include <vector>

#include "support/random.h"

namespace wbcq {
namespace {

TEST(SparseSchedule, EveryPixelMeetsEveryChunkOnce) {
  testing::Random random;
  for (int i = 0; i < 300; ++i) {
    SparseShape shape = {};
    shape.pixels = static_cast<size_t>(random.uniform(1, 3000));
    shape.tile_pixels = static_cast<size_t>(random.uniform(1, 64));
    shape.input_bytes = static_cast<size_t>(random.uniform(64, 2000000));
    shape.chunks = static_cast<size_t>(random.uniform(1, 9));
    shape.weight_bytes = static_cast<size_t>(random.uniform(64, 2000000));
    shape.gather = static_cast<double>(random.uniform(0, 40)) / 10;
    const auto threads = static_cast<size_t>(random.uniform(1, 9));
    const SparseSchedule schedule(shape, threads);
    EXPECT_GE(schedule.units(), 1u);
    EXPECT_LE(schedule.units(), threads);

    std::vector<int> visits(shape.pixels * shape.chunks);
    for (size_t unit = 0; unit < schedule.units(); ++unit) {
      const Range pixels = schedule.pixels(unit);
      const Range chunks = schedule.chunks(unit);
      EXPECT_LE(chunks.size(), schedule.most_chunks());
      for (size_t pixel = pixels.begin; pixel < pixels.end; ++pixel) {
        for (size_t chunk = chunks.begin; chunk < chunks.end; ++chunk) {
          ++visits[pixel * shape.chunks + chunk];
        }
      }
    }
    EXPECT_EQ(visits, std::vector<int>(visits.size(), 1));
  }
}

// 28x28 pixels by 2 chunks: halves of the pixels gather once, halves of the chunks twice.
TEST(SparseSchedule, PixelsAreDealtWhereGatheringIsMuch) {
  SparseShape shape = {784, 64, 100352, 2, 40000, 0.5};
  SparseSchedule schedule(shape, 2);
  EXPECT_EQ(schedule.most_chunks(), 2u);
  EXPECT_EQ(schedule.pixels(0).size(), 416u);  // six tiles and a half
  EXPECT_EQ(schedule.pixels(1).size(), 368u);
}

// 7x7 pixels fill less than a tile: half of it would cost more than half.
TEST(SparseSchedule, ChunksAreDealtWherePixelsAreFew) {
  SparseShape shape = {49, 64, 25088, 8, 900000, 0.3};
  SparseSchedule schedule(shape, 2);
  EXPECT_EQ(schedule.most_chunks(), 4u);
  EXPECT_EQ(schedule.pixels(1).size(), 49u);
}

}  // namespace
}  // namespace wbcq
