#include <arm_neon.h>

#include "kernels/peak/peak.h"

namespace wbcq {
namespace {

// smull + smlal2 + sadalp: 16 products; two products of weights within +-127 fit int16.
constexpr size_t kChains = 8;

void run(size_t iterations, int32_t* sink) {
  int32x4_t acc[kChains];
  for (size_t j = 0; j < kChains; ++j) acc[j] = vdupq_n_s32(static_cast<int32_t>(j));
  int8x16_t a = vdupq_n_s8(static_cast<int8_t>(*sink & 0x7F));
  const int8x16_t b = vdupq_n_s8(3);
  for (size_t i = 0; i < iterations; ++i) {
    for (size_t j = 0; j < kChains; ++j) {
      __asm__ volatile("" : "+w"(a));  // else the products of invariant operands are hoisted
      const int16x8_t low = vmull_s8(vget_low_s8(a), vget_low_s8(b));
      acc[j] = vpadalq_s16(acc[j], vmlal_high_s8(low, a, b));
    }
  }
  int32x4_t sum = acc[0];
  for (size_t j = 1; j < kChains; ++j) sum = veorq_s32(sum, acc[j]);
  *sink = vgetq_lane_s32(sum, 0);
}

}  // namespace

extern const PeakKernel peak_arm_neon = {"peak_smlal_arm_neon", kChains * 16, run};

}  // namespace wbcq
