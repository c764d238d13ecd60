#include <immintrin.h>

#include "kernels/elementwise/elementwise.h"

namespace wbcq {
namespace {

constexpr size_t kLanes = 32;

// What all operations share. The operands of the clamp stand in this order: VMAXPS returns the
// second one for NaN, as round_clamp() does.
struct Operation {
  template <typename Args>
  explicit Operation(const Args& args)
      : a_zero_point(_mm256_set1_epi32(args.a_zero_point)),
        b_zero_point(_mm256_set1_epi32(args.b_zero_point)),
        zero_points(_mm256_set1_epi8(static_cast<char>(args.zero_point))),
        lo(_mm256_set1_ps(static_cast<float>(args.lo - args.zero_point))),
        hi(_mm256_set1_ps(static_cast<float>(args.hi - args.zero_point))) {}
  __m256 left(__m256i a) const { return _mm256_cvtepi32_ps(_mm256_sub_epi32(a, a_zero_point)); }
  __m256 right(__m256i b) const { return _mm256_cvtepi32_ps(_mm256_sub_epi32(b, b_zero_point)); }
  __m256i round(__m256 value) const {
    return _mm256_cvtps_epi32(_mm256_min_ps(_mm256_max_ps(value, lo), hi));
  }
  __m256i a_zero_point;
  __m256i b_zero_point;
  __m256i zero_points;  // in every byte
  __m256 lo;
  __m256 hi;
};

// An operation on one value in each 32-bit lane; the result lacks the zero point.
struct Add : Operation {
  explicit Add(const AddU8& args)
      : Operation(args),
        a_multiplier(_mm256_set1_ps(args.a_multiplier)),
        b_multiplier(_mm256_set1_ps(args.b_multiplier)) {}
  __m256i operator()(__m256i a, __m256i b) const {
    const __m256 scaled_a = _mm256_mul_ps(left(a), a_multiplier);
    return round(_mm256_add_ps(scaled_a, _mm256_mul_ps(right(b), b_multiplier)));
  }
  __m256 a_multiplier;
  __m256 b_multiplier;
};

struct Mul : Operation {
  explicit Mul(const MulU8& args) : Operation(args), multiplier(_mm256_set1_ps(args.multiplier)) {}
  __m256i operator()(__m256i a, __m256i b) const {
    return round(_mm256_mul_ps(_mm256_mul_ps(left(a), right(b)), multiplier));
  }
  __m256 multiplier;
};

// A 32-bit lane holds four values; byte r of every lane is taken at once, so nothing crosses lanes
// on the way in or out. The four signed results are summed into their bytes, borrows included, and
// the zero points that make each of them 0..255 come last: modulo 2^32 the order does not matter.
template <typename Op>
__m256i apply(__m256i a, __m256i b, const Op& op) {
  const __m256i byte = _mm256_set1_epi32(0xFF);
  __m256i sum = _mm256_slli_epi32(op(_mm256_srli_epi32(a, 24), _mm256_srli_epi32(b, 24)), 8);
  sum = _mm256_add_epi32(sum, op(_mm256_and_si256(_mm256_srli_epi32(a, 16), byte),
                                 _mm256_and_si256(_mm256_srli_epi32(b, 16), byte)));
  sum = _mm256_slli_epi32(sum, 8);
  sum = _mm256_add_epi32(sum, op(_mm256_and_si256(_mm256_srli_epi32(a, 8), byte),
                                 _mm256_and_si256(_mm256_srli_epi32(b, 8), byte)));
  sum = _mm256_slli_epi32(sum, 8);
  sum = _mm256_add_epi32(sum, op(_mm256_and_si256(a, byte), _mm256_and_si256(b, byte)));
  return _mm256_add_epi32(sum, op.zero_points);
}

__m256i load(const uint8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }

void store(uint8_t* p, __m256i bytes) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), bytes); }

template <typename Op>
void run_pixel(const uint8_t* a, const uint8_t* b, uint8_t* out, size_t size, const Op& op) {
  if (size < kLanes) {
    uint8_t left[kLanes] = {};
    uint8_t right[kLanes] = {};
    __builtin_memcpy(left, a, size);
    __builtin_memcpy(right, b, size);
    store(left, apply(load(left), load(right), op));
    __builtin_memcpy(out, left, size);
    return;
  }
  // The last vector may overlap the one before it. It is computed first and stored last, because
  // out may be a or b.
  const size_t last = size - kLanes;
  const __m256i last_bytes = apply(load(a + last), load(b + last), op);
  for (size_t i = 0; i < last; i += kLanes) store(out + i, apply(load(a + i), load(b + i), op));
  store(out + last, last_bytes);
}

// Pixels without gaps and one pixel of b, repeated: long runs instead of many short ones.
constexpr size_t kRunBytes = 1024;

template <typename Op, typename Args>
void run_repeated(const Args& args, const Op& op) {
  uint8_t b[kRunBytes];
  const size_t size = args.pixels * args.channels;
  const size_t whole = kRunBytes / args.channels * args.channels;
  const size_t run = size < whole ? size : whole;
  for (size_t i = 0; i < run; i += args.channels) __builtin_memcpy(b + i, args.b, args.channels);
  for (size_t i = 0; i < size; i += run) {
    run_pixel(args.a + i, b, args.out + i, size - i < run ? size - i : run, op);
  }
}

template <typename Op, typename Args>
void run(const Args& args) {
  if (args.pixels == 0 || args.channels == 0) return;
  const Op op(args);
  const size_t channels = args.channels;
  if (args.a_stride == channels && args.out_stride == channels) {
    if (args.b_stride == channels) {
      return run_pixel(args.a, args.b, args.out, args.pixels * channels, op);
    }
    if (args.b_stride == 0 && channels <= kRunBytes / 2) return run_repeated(args, op);
  }
  for (size_t p = 0; p < args.pixels; ++p) {
    run_pixel(args.a + p * args.a_stride, args.b + p * args.b_stride,
              args.out + p * args.out_stride, channels, op);
  }
}

void add_u8(const AddU8& args) { run<Add>(args); }

void mul_u8(const MulU8& args) { run<Mul>(args); }

}  // namespace

extern const ElementwiseKernels elementwise_x86_avx2 = {"elementwise_x86_avx2", add_u8, mul_u8};

}  // namespace wbcq
