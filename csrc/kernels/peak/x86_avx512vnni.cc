#include <immintrin.h>

#include "kernels/peak/peak.h"

namespace wbcq {
namespace {

// vpdpbusd: latency 4 or 5 at two a cycle needs 10 chains; 16 leave room.
constexpr size_t kChains = 16;

void run(size_t iterations, int32_t* sink) {
  __m512i acc[kChains];
  for (size_t j = 0; j < kChains; ++j) acc[j] = _mm512_set1_epi32(static_cast<int>(j));
  const __m512i a = _mm512_set1_epi8(static_cast<char>(*sink));
  const __m512i b = _mm512_set1_epi8(3);
  for (size_t i = 0; i < iterations; ++i) {
    for (size_t j = 0; j < kChains; ++j) acc[j] = _mm512_dpbusd_epi32(acc[j], a, b);
  }
  __m512i sum = acc[0];
  for (size_t j = 1; j < kChains; ++j) sum = _mm512_xor_si512(sum, acc[j]);
  *sink = _mm512_cvtsi512_si32(sum);
}

}  // namespace

extern const PeakKernel peak_x86_avx512vnni = {"peak_vpdpbusd_x86_avx512vnni", kChains * 64, run};

}  // namespace wbcq
