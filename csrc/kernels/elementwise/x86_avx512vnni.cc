#include <immintrin.h>

#include "kernels/elementwise/elementwise.h"

namespace wbcq {
namespace {

constexpr size_t kLanes = 64;

// What all operations share. The operands of the clamp stand in this order: VMAXPS returns the
// second one for NaN, as round_clamp() does.
struct Operation {
  template <typename Args>
  explicit Operation(const Args& args)
      : a_zero_point(_mm512_set1_epi32(args.a_zero_point)),
        b_zero_point(_mm512_set1_epi32(args.b_zero_point)),
        zero_points(_mm512_set1_epi8(static_cast<char>(args.zero_point))),
        lo(_mm512_set1_ps(static_cast<float>(args.lo - args.zero_point))),
        hi(_mm512_set1_ps(static_cast<float>(args.hi - args.zero_point))) {}
  __m512 left(__m512i a) const { return _mm512_cvtepi32_ps(_mm512_sub_epi32(a, a_zero_point)); }
  __m512 right(__m512i b) const { return _mm512_cvtepi32_ps(_mm512_sub_epi32(b, b_zero_point)); }
  __m512i round(__m512 value) const {
    return _mm512_cvtps_epi32(_mm512_min_ps(_mm512_max_ps(value, lo), hi));
  }
  __m512i a_zero_point;
  __m512i b_zero_point;
  __m512i zero_points;  // in every byte
  __m512 lo;
  __m512 hi;
};

// An operation on one value in each 32-bit lane; the result lacks the zero point.
struct Add : Operation {
  explicit Add(const AddU8& args)
      : Operation(args),
        a_multiplier(_mm512_set1_ps(args.a_multiplier)),
        b_multiplier(_mm512_set1_ps(args.b_multiplier)) {}
  __m512i operator()(__m512i a, __m512i b) const {
    const __m512 scaled_a = _mm512_mul_ps(left(a), a_multiplier);
    return round(_mm512_add_ps(scaled_a, _mm512_mul_ps(right(b), b_multiplier)));
  }
  __m512 a_multiplier;
  __m512 b_multiplier;
};

struct Mul : Operation {
  explicit Mul(const MulU8& args) : Operation(args), multiplier(_mm512_set1_ps(args.multiplier)) {}
  __m512i operator()(__m512i a, __m512i b) const {
    return round(_mm512_mul_ps(_mm512_mul_ps(left(a), right(b)), multiplier));
  }
  __m512 multiplier;
};

// A 32-bit lane holds four values; byte r of every lane is taken at once, so nothing crosses lanes
// on the way in or out. The four signed results are summed into their bytes, borrows included, and
// the zero points that make each of them 0..255 come last: modulo 2^32 the order does not matter.
template <typename Op>
__m512i apply(__m512i a, __m512i b, const Op& op) {
  const __m512i byte = _mm512_set1_epi32(0xFF);
  __m512i sum = _mm512_slli_epi32(op(_mm512_srli_epi32(a, 24), _mm512_srli_epi32(b, 24)), 8);
  sum = _mm512_add_epi32(sum, op(_mm512_and_si512(_mm512_srli_epi32(a, 16), byte),
                                 _mm512_and_si512(_mm512_srli_epi32(b, 16), byte)));
  sum = _mm512_slli_epi32(sum, 8);
  sum = _mm512_add_epi32(sum, op(_mm512_and_si512(_mm512_srli_epi32(a, 8), byte),
                                 _mm512_and_si512(_mm512_srli_epi32(b, 8), byte)));
  sum = _mm512_slli_epi32(sum, 8);
  sum = _mm512_add_epi32(sum, op(_mm512_and_si512(a, byte), _mm512_and_si512(b, byte)));
  return _mm512_add_epi32(sum, op.zero_points);
}

template <typename Op>
void run_pixel(const uint8_t* a, const uint8_t* b, uint8_t* out, size_t size, const Op& op) {
  size_t i = 0;
  for (; size - i >= kLanes; i += kLanes) {
    const __m512i bytes = apply(_mm512_loadu_si512(a + i), _mm512_loadu_si512(b + i), op);
    _mm512_storeu_si512(out + i, bytes);
  }
  if (i < size) {
    const __mmask64 mask = ~__mmask64{0} >> (kLanes - (size - i));
    const __m512i bytes =
        apply(_mm512_maskz_loadu_epi8(mask, a + i), _mm512_maskz_loadu_epi8(mask, b + i), op);
    _mm512_mask_storeu_epi8(out + i, mask, bytes);
  }
}

template <typename Op, typename Args>
void run(const Args& args) {
  if (args.pixels == 0 || args.channels == 0) return;
  const Op op(args);
  const size_t channels = args.channels;
  if (args.a_stride == channels && args.b_stride == channels && args.out_stride == channels) {
    run_pixel(args.a, args.b, args.out, args.pixels * channels, op);
    return;
  }
  for (size_t p = 0; p < args.pixels; ++p) {
    run_pixel(args.a + p * args.a_stride, args.b + p * args.b_stride,
              args.out + p * args.out_stride, channels, op);
  }
}

void add_u8(const AddU8& args) { run<Add>(args); }

void mul_u8(const MulU8& args) { run<Mul>(args); }

}  // namespace

extern const ElementwiseKernels elementwise_x86_avx512vnni = {"elementwise_x86_avx512vnni", add_u8,
                                                              mul_u8};

}  // namespace wbcq
