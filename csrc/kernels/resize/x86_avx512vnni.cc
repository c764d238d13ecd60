#include <immintrin.h>

#include "kernels/resize/resize.h"

namespace wbcq {
namespace {

constexpr size_t kBytes = 64;
constexpr size_t kFloats = 16;

void nearest(const ResizeNearestRow& row) {
  const size_t tail = row.pixel_bytes % kBytes;
  const size_t body = row.pixel_bytes - tail;
  const __mmask64 mask = tail == 0 ? 0 : ~__mmask64{0} >> (kBytes - tail);
  for (size_t x = 0; x < row.pixels; ++x) {
    const uint8_t* in = row.in + row.offsets[x];
    uint8_t* out = row.out + x * row.out_stride;
    for (size_t i = 0; i < body; i += kBytes) {
      _mm512_storeu_si512(out + i, _mm512_loadu_si512(in + i));
    }
    _mm512_mask_storeu_epi8(out + body, mask, _mm512_maskz_loadu_epi8(mask, in + body));
  }
}

struct Weights {
  Weights(float fx, float fy)
      : left(_mm512_set1_ps(1.0f - fx)),
        right(_mm512_set1_ps(fx)),
        top(_mm512_set1_ps(1.0f - fy)),
        bottom(_mm512_set1_ps(fy)) {}
  __m512 operator()(__m512 v00, __m512 v01, __m512 v10, __m512 v11) const {
    const __m512 upper = _mm512_add_ps(_mm512_mul_ps(v00, left), _mm512_mul_ps(v01, right));
    const __m512 lower = _mm512_add_ps(_mm512_mul_ps(v10, left), _mm512_mul_ps(v11, right));
    return _mm512_add_ps(_mm512_mul_ps(upper, top), _mm512_mul_ps(lower, bottom));
  }
  __m512 left;
  __m512 right;
  __m512 top;
  __m512 bottom;
};

// Byte kByte of every 32-bit lane.
template <int kByte>
__m512 take(__m512i bytes) {
  return _mm512_cvtepi32_ps(
      _mm512_and_si512(_mm512_srli_epi32(bytes, 8 * kByte), _mm512_set1_epi32(0xFF)));
}

template <int kByte>
__m512i mix_byte(__m512i v00, __m512i v01, __m512i v10, __m512i v11, const Weights& weights) {
  const __m512 value =
      weights(take<kByte>(v00), take<kByte>(v01), take<kByte>(v10), take<kByte>(v11));
  return _mm512_slli_epi32(_mm512_cvtps_epi32(value), 8 * kByte);
}

__m512i mix_bytes(__m512i v00, __m512i v01, __m512i v10, __m512i v11, const Weights& weights) {
  return _mm512_or_si512(_mm512_or_si512(mix_byte<0>(v00, v01, v10, v11, weights),
                                         mix_byte<1>(v00, v01, v10, v11, weights)),
                         _mm512_or_si512(mix_byte<2>(v00, v01, v10, v11, weights),
                                         mix_byte<3>(v00, v01, v10, v11, weights)));
}

void bilinear_u8(const ResizeBilinearRowU8& row) {
  for (size_t x = 0; x < row.pixels; ++x) {
    const ResizeTap& tap = row.taps[x];
    const Weights weights(tap.fraction, row.fraction);
    for (size_t c = 0; c < row.channels; c += kBytes) {
      const size_t left = row.channels - c;
      const __mmask64 mask = left < kBytes ? ~__mmask64{0} >> (kBytes - left) : ~__mmask64{0};
      const auto load = [mask](const uint8_t* p) { return _mm512_maskz_loadu_epi8(mask, p); };
      const __m512i bytes =
          mix_bytes(load(row.top + tap.left + c), load(row.top + tap.right + c),
                    load(row.bottom + tap.left + c), load(row.bottom + tap.right + c), weights);
      _mm512_mask_storeu_epi8(row.out + x * row.out_stride + c, mask, bytes);
    }
  }
}

void bilinear_f32(const ResizeBilinearRowF32& row) {
  for (size_t x = 0; x < row.pixels; ++x) {
    const ResizeTap& tap = row.taps[x];
    const Weights weights(tap.fraction, row.fraction);
    for (size_t c = 0; c < row.channels; c += kFloats) {
      const size_t left = row.channels - c;
      const __mmask16 mask =
          static_cast<__mmask16>(left < kFloats ? 0xFFFF >> (kFloats - left) : 0xFFFF);
      const auto load = [mask](const float* p) { return _mm512_maskz_loadu_ps(mask, p); };
      const __m512 value =
          weights(load(row.top + tap.left + c), load(row.top + tap.right + c),
                  load(row.bottom + tap.left + c), load(row.bottom + tap.right + c));
      _mm512_mask_storeu_ps(row.out + x * row.out_stride + c, mask, value);
    }
  }
}

}  // namespace

extern const ResizeKernels resize_x86_avx512vnni = {"resize_x86_avx512vnni", nearest, bilinear_u8,
                                                    bilinear_f32};

}  // namespace wbcq
