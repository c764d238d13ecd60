#include <immintrin.h>

#include "kernels/elementwise/elementwise.h"

namespace wbcq {
namespace {

constexpr size_t kLanes = 32;

struct Constants {
  __m256i a_zero_point;
  __m256i b_zero_point;
  __m256i zero_points;  // in every byte
  __m256 a_multiplier;
  __m256 b_multiplier;
  __m256 lo;
  __m256 hi;
};

__m256i load(const uint8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }

void store(uint8_t* p, __m256i bytes) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), bytes); }

// rne(clamp(a * m_a + b * m_b)), zero point not yet added; one input value in each 32-bit lane.
__m256i add_lanes(__m256i a, __m256i b, const Constants& k) {
  const __m256 left =
      _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_sub_epi32(a, k.a_zero_point)), k.a_multiplier);
  const __m256 right =
      _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_sub_epi32(b, k.b_zero_point)), k.b_multiplier);
  const __m256 sum = _mm256_add_ps(left, right);
  // Operands in this order: VMAXPS returns the second one for NaN, as round_clamp() does.
  return _mm256_cvtps_epi32(_mm256_min_ps(_mm256_max_ps(sum, k.lo), k.hi));
}

// A 32-bit lane holds four values; byte r of every lane is taken at once, so nothing crosses lanes
// on the way in or out. The four signed results are summed into their bytes, borrows included, and
// the zero points that make each of them 0..255 come last: modulo 2^32 the order does not matter.
__m256i add_bytes(__m256i a, __m256i b, const Constants& k) {
  const __m256i byte = _mm256_set1_epi32(0xFF);
  __m256i sum =
      _mm256_slli_epi32(add_lanes(_mm256_srli_epi32(a, 24), _mm256_srli_epi32(b, 24), k), 8);
  sum = _mm256_add_epi32(sum, add_lanes(_mm256_and_si256(_mm256_srli_epi32(a, 16), byte),
                                        _mm256_and_si256(_mm256_srli_epi32(b, 16), byte), k));
  sum = _mm256_slli_epi32(sum, 8);
  sum = _mm256_add_epi32(sum, add_lanes(_mm256_and_si256(_mm256_srli_epi32(a, 8), byte),
                                        _mm256_and_si256(_mm256_srli_epi32(b, 8), byte), k));
  sum = _mm256_slli_epi32(sum, 8);
  sum = _mm256_add_epi32(sum, add_lanes(_mm256_and_si256(a, byte), _mm256_and_si256(b, byte), k));
  return _mm256_add_epi32(sum, k.zero_points);
}

void add_u8(const AddU8& args) {
  if (args.size == 0) return;
  const Constants k = {_mm256_set1_epi32(args.a_zero_point),
                       _mm256_set1_epi32(args.b_zero_point),
                       _mm256_set1_epi8(static_cast<char>(args.zero_point)),
                       _mm256_set1_ps(args.a_multiplier),
                       _mm256_set1_ps(args.b_multiplier),
                       _mm256_set1_ps(static_cast<float>(args.lo - args.zero_point)),
                       _mm256_set1_ps(static_cast<float>(args.hi - args.zero_point))};
  if (args.size < kLanes) {
    uint8_t a[kLanes] = {};
    uint8_t b[kLanes] = {};
    __builtin_memcpy(a, args.a, args.size);
    __builtin_memcpy(b, args.b, args.size);
    store(a, add_bytes(load(a), load(b), k));
    __builtin_memcpy(args.out, a, args.size);
    return;
  }
  // The last vector may overlap the one before it. It is computed first and stored last, because
  // out may be a or b.
  const size_t last = args.size - kLanes;
  const __m256i last_sum = add_bytes(load(args.a + last), load(args.b + last), k);
  for (size_t i = 0; i < last; i += kLanes) {
    store(args.out + i, add_bytes(load(args.a + i), load(args.b + i), k));
  }
  store(args.out + last, last_sum);
}

}  // namespace

extern const ElementwiseKernels elementwise_x86_avx2 = {"elementwise_x86_avx2", add_u8};

}  // namespace wbcq
