#include <immintrin.h>

#include "kernels/peak/peak.h"

namespace wbcq {
namespace {

// vpmaddubsw + vpmaddwd + vpaddd: 32 products.
constexpr size_t kChains = 8;

void run(size_t iterations, int32_t* sink) {
  __m256i acc[kChains];
  for (size_t j = 0; j < kChains; ++j) acc[j] = _mm256_set1_epi32(static_cast<int>(j));
  __m256i a = _mm256_set1_epi8(static_cast<char>(*sink & 0x7F));
  const __m256i b = _mm256_set1_epi8(3);
  const __m256i ones = _mm256_set1_epi16(1);
  for (size_t i = 0; i < iterations; ++i) {
    for (size_t j = 0; j < kChains; ++j) {
      __asm__ volatile("" : "+x"(a));  // else the products of invariant operands are hoisted
      const __m256i pairs = _mm256_maddubs_epi16(a, b);
      acc[j] = _mm256_add_epi32(acc[j], _mm256_madd_epi16(pairs, ones));
    }
  }
  __m256i sum = acc[0];
  for (size_t j = 1; j < kChains; ++j) sum = _mm256_xor_si256(sum, acc[j]);
  *sink = _mm256_cvtsi256_si32(sum);
}

}  // namespace

extern const PeakKernel peak_x86_avx2 = {"peak_vpmaddubsw_x86_avx2", kChains * 32, run};

}  // namespace wbcq
