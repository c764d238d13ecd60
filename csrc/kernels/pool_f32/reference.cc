#include <algorithm>

#include "kernels/pool_f32/pool_f32.h"

namespace wbcq {
namespace {

void max_pool(const MaxPoolPixelF32& pixel) {
  for (size_t c = 0; c < pixel.channels; ++c) {
    float best = pixel.rows[0][c];
    for (size_t tap = 1; tap < pixel.taps; ++tap) best = std::max(best, pixel.rows[tap][c]);
    pixel.out[c] = best;
  }
}

void avg_pool(const AvgPoolPixelF32& pixel) {
  for (size_t c = 0; c < pixel.channels; ++c) {
    float sum = pixel.rows[0][c];
    for (size_t tap = 1; tap < pixel.taps; ++tap) sum += pixel.rows[tap][c];
    pixel.out[c] = std::min(pixel.hi, std::max(pixel.lo, sum / pixel.divisor));
  }
}

}  // namespace

extern const PoolF32Kernels pool_f32_reference = {"pool_f32_reference", max_pool, avg_pool};

}  // namespace wbcq
