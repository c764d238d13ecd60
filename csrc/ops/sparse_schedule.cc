#include "ops/sparse_schedule.h"

#include <algorithm>

namespace wbcq {
namespace {

// Of a whole tile: lists are walked all the same.
constexpr double kHalfTile = 0.6;

}  // namespace

SparseSchedule::SparseSchedule(const SparseShape& shape, size_t threads)
    : pixels_(shape.pixels),
      half_(ceil_div(shape.tile_pixels, 2)),
      grid_(ceil_div(shape.pixels, half_), shape.input_bytes, shape.chunks, shape.weight_bytes,
            threads, [&](size_t halves, size_t chunks) {
              const double tiles =
                  static_cast<double>(halves / 2) + (halves % 2 != 0 ? kHalfTile : 0.0);
              return tiles * (static_cast<double>(chunks) + shape.gather);
            }) {}

Range SparseSchedule::pixels(size_t unit) const {
  const Range halves = grid_.tiles(unit);
  return {halves.begin * half_, std::min(halves.end * half_, pixels_)};
}

}  // namespace wbcq
