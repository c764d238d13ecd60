#include <arm_neon.h>

#include "kernels/peak/peak.h"

namespace wbcq {
namespace {

constexpr size_t kChains = 16;

void run(size_t iterations, int32_t* sink) {
  int32x4_t acc[kChains];
  for (size_t j = 0; j < kChains; ++j) acc[j] = vdupq_n_s32(static_cast<int32_t>(j));
  const int8x16_t a = vdupq_n_s8(static_cast<int8_t>(*sink));
  const int8x16_t b = vdupq_n_s8(3);
  for (size_t i = 0; i < iterations; ++i) {
    for (size_t j = 0; j < kChains; ++j) acc[j] = vdotq_s32(acc[j], a, b);
  }
  int32x4_t sum = acc[0];
  for (size_t j = 1; j < kChains; ++j) sum = veorq_s32(sum, acc[j]);
  *sink = vgetq_lane_s32(sum, 0);
}

}  // namespace

extern const PeakKernel peak_arm_neondot = {"peak_sdot_arm_neondot", kChains * 16, run};

}  // namespace wbcq
