#include "kernels/peak/peak.h"

namespace wbcq {
namespace {

constexpr size_t kChains = 4;

// Empty asm statements make the operands opaque, so that nothing is hoisted or vectorized.
void run(size_t iterations, int32_t* sink) {
  int32_t acc[kChains] = {};
  int32_t a = sink[0] & 0x7F;
  int32_t b = 3;
  for (size_t i = 0; i < iterations; ++i) {
    for (size_t j = 0; j < kChains; ++j) {
      __asm__ volatile("" : "+r"(a), "+r"(b));
      acc[j] = static_cast<int32_t>(static_cast<uint32_t>(acc[j]) + static_cast<uint32_t>(a * b));
    }
  }
  *sink = acc[0] ^ acc[1] ^ acc[2] ^ acc[3];
}

}  // namespace

extern const PeakKernel peak_reference = {"peak_reference", kChains, run};

}  // namespace wbcq
