#include <immintrin.h>

#include "kernels/elementwise/elementwise.h"

namespace wbcq {
namespace {

constexpr size_t kLanes = 64;

struct Constants {
  __m512i a_zero_point;
  __m512i b_zero_point;
  __m512i zero_points;  // in every byte
  __m512 a_multiplier;
  __m512 b_multiplier;
  __m512 lo;
  __m512 hi;
};

// rne(clamp(a * m_a + b * m_b)), zero point not yet added; one input value in each 32-bit lane.
__m512i add_lanes(__m512i a, __m512i b, const Constants& k) {
  const __m512 left =
      _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(a, k.a_zero_point)), k.a_multiplier);
  const __m512 right =
      _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(b, k.b_zero_point)), k.b_multiplier);
  const __m512 sum = _mm512_add_ps(left, right);
  // Operands in this order: VMAXPS returns the second one for NaN, as round_clamp() does.
  return _mm512_cvtps_epi32(_mm512_min_ps(_mm512_max_ps(sum, k.lo), k.hi));
}

// A 32-bit lane holds four values; byte r of every lane is taken at once, so nothing crosses lanes
// on the way in or out. The four signed results are summed into their bytes, borrows included, and
// the zero points that make each of them 0..255 come last: modulo 2^32 the order does not matter.
__m512i add_bytes(__m512i a, __m512i b, const Constants& k) {
  const __m512i byte = _mm512_set1_epi32(0xFF);
  __m512i sum =
      _mm512_slli_epi32(add_lanes(_mm512_srli_epi32(a, 24), _mm512_srli_epi32(b, 24), k), 8);
  sum = _mm512_add_epi32(sum, add_lanes(_mm512_and_si512(_mm512_srli_epi32(a, 16), byte),
                                        _mm512_and_si512(_mm512_srli_epi32(b, 16), byte), k));
  sum = _mm512_slli_epi32(sum, 8);
  sum = _mm512_add_epi32(sum, add_lanes(_mm512_and_si512(_mm512_srli_epi32(a, 8), byte),
                                        _mm512_and_si512(_mm512_srli_epi32(b, 8), byte), k));
  sum = _mm512_slli_epi32(sum, 8);
  sum = _mm512_add_epi32(sum, add_lanes(_mm512_and_si512(a, byte), _mm512_and_si512(b, byte), k));
  return _mm512_add_epi32(sum, k.zero_points);
}

void add_u8(const AddU8& args) {
  const Constants k = {_mm512_set1_epi32(args.a_zero_point),
                       _mm512_set1_epi32(args.b_zero_point),
                       _mm512_set1_epi8(static_cast<char>(args.zero_point)),
                       _mm512_set1_ps(args.a_multiplier),
                       _mm512_set1_ps(args.b_multiplier),
                       _mm512_set1_ps(static_cast<float>(args.lo - args.zero_point)),
                       _mm512_set1_ps(static_cast<float>(args.hi - args.zero_point))};
  size_t i = 0;
  for (; args.size - i >= kLanes; i += kLanes) {
    const __m512i sum =
        add_bytes(_mm512_loadu_si512(args.a + i), _mm512_loadu_si512(args.b + i), k);
    _mm512_storeu_si512(args.out + i, sum);
  }
  if (i < args.size) {
    const __mmask64 mask = ~__mmask64{0} >> (kLanes - (args.size - i));
    const __m512i sum = add_bytes(_mm512_maskz_loadu_epi8(mask, args.a + i),
                                  _mm512_maskz_loadu_epi8(mask, args.b + i), k);
    _mm512_mask_storeu_epi8(args.out + i, mask, sum);
  }
}

}  // namespace

extern const ElementwiseKernels elementwise_x86_avx512vnni = {"elementwise_x86_avx512vnni", add_u8};

}  // namespace wbcq
