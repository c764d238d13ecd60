#include "kernels/pool/pool.h"
#include "quant/requant.h"

namespace wbcq {
namespace {

void max_pool(const MaxPoolPixel& pixel) {
  for (size_t c = 0; c < pixel.channels; ++c) {
    uint8_t best = pixel.rows[0][c];
    for (size_t tap = 1; tap < pixel.taps; ++tap) {
      if (pixel.rows[tap][c] > best) best = pixel.rows[tap][c];
    }
    pixel.out[c] = best;
  }
}

void avg_pool(const AvgPoolPixel& pixel) {
  for (size_t c = 0; c < pixel.channels; ++c) {
    int32_t sum = pixel.start;
    for (size_t tap = 0; tap < pixel.taps; ++tap) sum += pixel.rows[tap][c];
    pixel.out[c] = requantize(sum, pixel.multiplier, pixel.zero_point, pixel.lo, pixel.hi);
  }
}

}  // namespace

extern const PoolKernels pool_reference = {"pool_reference", max_pool, avg_pool};

}  // namespace wbcq
