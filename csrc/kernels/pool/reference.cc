#include "kernels/pool/pool.h"
#include "quant/requant.h"

namespace wbcq {
namespace {

void max_pool(const MaxPoolRow& row) {
  for (size_t p = 0; p < row.pixels; ++p) {
    for (size_t c = 0; c < row.channels; ++c) {
      uint8_t best = 0;
      for (size_t tap = 0; tap < row.taps; ++tap) {
        const uint8_t value = row.rows[tap][p * row.in_stride + c];
        if (value > best) best = value;
      }
      row.out[p * row.out_stride + c] = best;
    }
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
