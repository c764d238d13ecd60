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

// Products with one pixel. What belongs to a vector of its channels is prepared once: VPDPWSSD then
// multiplies a byte in a 32-bit lane and subtracts the zero point's share, and no float is clamped,
// because the packs saturate.
struct Scale {
  // Byte r of every lane has its factors, as words among zeroes, and its start in the elements r.
  struct Factors {
    __m512i word[4];
    __m512i start[4];
  };

  explicit Scale(const MulU8& args)
      : a_zero_point(_mm512_set1_epi16(static_cast<int16_t>(-args.a_zero_point))),
        b_zero_point(_mm512_set1_epi16(static_cast<int16_t>(args.b_zero_point))),
        multiplier(_mm512_set1_ps(args.multiplier)),
        zero_point(_mm512_set1_epi16(static_cast<int16_t>(args.zero_point))),
        lo(_mm512_set1_epi8(static_cast<char>(args.lo))),
        hi(_mm512_set1_epi8(static_cast<char>(args.hi))),
        transpose(_mm512_broadcast_i32x4(
            _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15))) {}

  // Of multipliers with which a product of at most 255 * 255 stays within int32.
  static bool fits(const MulU8& args) {
    return args.b_stride == 0 && args.multiplier < 0x1p15f && args.multiplier > -0x1p15f;
  }

  Factors factors(__m512i b) const {
    const __m512i low_byte = _mm512_set1_epi16(0xFF);
    const __m512i low_word = _mm512_set1_epi32(0xFFFF);
    const __m512i even = _mm512_sub_epi16(_mm512_and_si512(b, low_byte), b_zero_point);
    const __m512i odd = _mm512_sub_epi16(_mm512_srli_epi16(b, 8), b_zero_point);
    Factors f = {{_mm512_and_si512(even, low_word), _mm512_and_si512(odd, low_word),
                  _mm512_andnot_si512(low_word, even), _mm512_andnot_si512(low_word, odd)},
                 {}};
    for (size_t r = 0; r < 4; ++r) f.start[r] = _mm512_madd_epi16(f.word[r], a_zero_point);
    return f;
  }

  __m512i apply(__m512i a, const Factors& f) const {
    const __m512i even = _mm512_and_si512(a, _mm512_set1_epi16(0xFF));
    const __m512i odd = _mm512_srli_epi16(a, 8);
    const __m512i words01 = _mm512_packs_epi32(round(f, 0, even), round(f, 1, odd));
    const __m512i words23 = _mm512_packs_epi32(round(f, 2, even), round(f, 3, odd));
    const __m512i bytes = _mm512_packus_epi16(_mm512_adds_epi16(words01, zero_point),
                                              _mm512_adds_epi16(words23, zero_point));
    return _mm512_shuffle_epi8(_mm512_min_epu8(_mm512_max_epu8(bytes, lo), hi), transpose);
  }

  __m512i round(const Factors& f, size_t r, __m512i words) const {
    const __m512i product = _mm512_dpwssd_epi32(f.start[r], words, f.word[r]);
    return _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_cvtepi32_ps(product), multiplier));
  }

  __m512i a_zero_point;  // negated
  __m512i b_zero_point;
  __m512 multiplier;
  __m512i zero_point;
  __m512i lo;
  __m512i hi;
  __m512i transpose;
};

__mmask64 first_bytes(size_t n) { return ~__mmask64{0} >> (kLanes - n); }

// Pixels without gaps are one run of bytes, whose vectors meet the same channels again after
// `period` vectors.
constexpr size_t kMostPeriod = 24;

// The constants come by value: a store of bytes might change what a reference refers to.
void scale_run(const MulU8& args, const Scale scale, size_t period) {
  Scale::Factors factors[kMostPeriod];
  uint8_t repeated[kMostPeriod * kLanes];
  for (size_t i = 0; i < period * kLanes; i += args.channels) {
    __builtin_memcpy(repeated + i, args.b, args.channels);
  }
  for (size_t v = 0; v < period; ++v) {
    factors[v] = scale.factors(_mm512_loadu_si512(repeated + v * kLanes));
  }
  const size_t size = args.pixels * args.channels;
  const uint8_t* const a = args.a;
  uint8_t* const out = args.out;
  size_t v = 0;
  size_t i = 0;
  for (; size - i >= kLanes; i += kLanes) {
    _mm512_storeu_si512(out + i, scale.apply(_mm512_loadu_si512(a + i), factors[v]));
    v = v + 1 < period ? v + 1 : 0;
  }
  if (i < size) {
    const __mmask64 mask = first_bytes(size - i);
    const __m512i last = _mm512_maskz_loadu_epi8(mask, a + i);
    _mm512_mask_storeu_epi8(out + i, mask, scale.apply(last, factors[v]));
  }
}

void scale_pixels(const MulU8& args, const Scale scale) {
  for (size_t c = 0; c < args.channels; c += kLanes) {
    const size_t left = args.channels - c;
    const __mmask64 mask = first_bytes(left < kLanes ? left : kLanes);
    const Scale::Factors factors = scale.factors(_mm512_maskz_loadu_epi8(mask, args.b + c));
    const uint8_t* a = args.a + c;
    uint8_t* out = args.out + c;
    for (size_t p = 0; p < args.pixels; ++p, a += args.a_stride, out += args.out_stride) {
      const __m512i bytes = scale.apply(_mm512_maskz_loadu_epi8(mask, a), factors);
      _mm512_mask_storeu_epi8(out, mask, bytes);
    }
  }
}

void scale_u8(const MulU8& args) {
  const Scale scale(args);
  size_t period = args.channels;
  for (size_t lanes = kLanes; lanes > 1 && period % 2 == 0; lanes /= 2) period /= 2;
  const bool follow = args.a_stride == args.channels && args.out_stride == args.channels;
  if (follow && period <= kMostPeriod) return scale_run(args, scale, period);
  scale_pixels(args, scale);
}

void add_u8(const AddU8& args) { run<Add>(args); }

void mul_u8(const MulU8& args) {
  if (args.pixels == 0 || args.channels == 0) return;
  if (Scale::fits(args)) return scale_u8(args);
  run<Mul>(args);
}

}  // namespace

extern const ElementwiseKernels elementwise_x86_avx512vnni = {"elementwise_x86_avx512vnni", add_u8,
                                                              mul_u8};

}  // namespace wbcq
