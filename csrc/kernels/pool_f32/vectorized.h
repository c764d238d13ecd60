// The kernels over vectors of floats, for the kernel files of every ISA: Floats is one of
// kernels/simd. Everything is local to the file that includes it.
#ifndef WBCQ_KERNELS_POOL_F32_VECTORIZED_H_
#define WBCQ_KERNELS_POOL_F32_VECTORIZED_H_

#include "kernels/pool_f32/pool_f32.h"

namespace wbcq {
namespace {

// Channels run in the outer loop and taps in the inner one, so that the results stay in registers;
// the vectors of a block share each load of a row pointer. `left` channels of the last vector
// count, 0 for all of them.
template <typename F, size_t kVectors, typename Pixel, typename Combine, typename Finish>
void pool_block(const Pixel& pixel, size_t channel, size_t left, Combine combine, Finish finish) {
  constexpr size_t kFull = kVectors - 1;
  const auto load_last = [left](const float* row) {
    return left == 0 ? F::load(row) : F::load_first(row, left, F::of(0.0f));
  };
  F result[kVectors];
  const float* first = pixel.rows[0] + channel;
  for (size_t v = 0; v < kFull; ++v) result[v] = F::load(first + v * F::kLanes);
  result[kFull] = load_last(first + kFull * F::kLanes);
  for (size_t tap = 1; tap < pixel.taps; ++tap) {
    const float* row = pixel.rows[tap] + channel;
    for (size_t v = 0; v < kFull; ++v) {
      result[v] = combine(result[v], F::load(row + v * F::kLanes));
    }
    result[kFull] = combine(result[kFull], load_last(row + kFull * F::kLanes));
  }
  float* out = pixel.out + channel;
  for (size_t v = 0; v < kFull; ++v) finish(result[v]).store(out + v * F::kLanes);
  const F last = finish(result[kFull]);
  if (left == 0) return last.store(out + kFull * F::kLanes);
  last.store_first(out + kFull * F::kLanes, left);
}

template <typename F, typename Pixel, typename Combine, typename Finish>
void pool(const Pixel& pixel, Combine combine, Finish finish) {
  constexpr size_t kBlock = 4 * F::kLanes;
  size_t channel = 0;
  for (; pixel.channels - channel >= kBlock; channel += kBlock) {
    pool_block<F, 4>(pixel, channel, 0, combine, finish);
  }
  for (; pixel.channels - channel >= F::kLanes; channel += F::kLanes) {
    pool_block<F, 1>(pixel, channel, 0, combine, finish);
  }
  const size_t left = pixel.channels - channel;
  if (left != 0) pool_block<F, 1>(pixel, channel, left, combine, finish);
}

template <typename F>
void max_pool(const MaxPoolPixelF32& pixel) {
  pool<F>(
      pixel, [](F best, F value) { return F::max(best, value); }, [](F best) { return best; });
}

template <typename F>
void avg_pool(const AvgPoolPixelF32& pixel) {
  const F divisor = F::of(pixel.divisor);
  const F lo = F::of(pixel.lo);
  const F hi = F::of(pixel.hi);
  pool<F>(
      pixel, [](F sum, F value) { return sum + value; },
      [=](F sum) { return F::min(hi, F::max(lo, sum / divisor)); });
}

}  // namespace
}  // namespace wbcq

#endif  // WBCQ_KERNELS_POOL_F32_VECTORIZED_H_
