#include <immintrin.h>

#include "kernels/convert/convert.h"

namespace wbcq {
namespace {

constexpr size_t kPixels = 16;
constexpr size_t kChunk = 16;

struct Constants {
  __m512 inverse_scale;
  __m512 lo;
  __m512 hi;
  __m512i zero_points;  // in every byte
};

// rne(clamp(x * inverse_scale)), zero point not yet added. Operands in this order: VMAXPS returns
// the second one for NaN, as round_clamp() does.
__m512i quantize(__m512 x, const Constants& k) {
  const __m512 value = _mm512_max_ps(_mm512_mul_ps(x, k.inverse_scale), k.lo);
  return _mm512_cvtps_epi32(_mm512_min_ps(value, k.hi));
}

// 16 pixels by 4 channels, one pixel in each 32-bit lane; channels past kChannels hold the zero
// point. The signed values are summed into their bytes, borrows included, and the zero points that
// make each of them 0..255 come last: modulo 2^32 the order does not matter.
template <size_t kChannels>
__m512i quantize_quad(const float* in, size_t plane_stride, __mmask16 pixels, const Constants& k) {
  __m512i sum = _mm512_setzero_si512();
  for (size_t c = kChannels; c-- > 0;) {
    const __m512 x = _mm512_maskz_loadu_ps(pixels, in + c * plane_stride);
    sum = _mm512_add_epi32(_mm512_slli_epi32(sum, 8), quantize(x, k));
  }
  return _mm512_add_epi32(sum, k.zero_points);
}

// VPERMB indices that close the gaps of a quad whose pixels have 1 to 4 bytes.
struct Compact {
  alignas(64) uint8_t index[4][64] = {};
  constexpr Compact() {
    for (size_t stride = 1; stride <= 4; ++stride) {
      for (size_t i = 0; i < kPixels * stride; ++i) {
        index[stride - 1][i] = static_cast<uint8_t>(i / stride * 4 + i % stride);
      }
    }
  }
};
constexpr Compact kCompact;

// Pixels of at most 4 bytes.
template <size_t kChannels>
void quantize_small(const QuantizePlanar& args, const Constants& k) {
  const size_t stride = args.out_stride;
  const __m512i compact = _mm512_load_si512(kCompact.index[stride - 1]);
  const auto bytes_of = [stride](size_t n) { return ~__mmask64{0} >> (64 - n * stride); };
  size_t p = 0;
  // Whole vectors, whose last bytes the next one overwrites.
  for (; (args.pixels - p) * stride >= 64; p += kPixels) {
    const __m512i quad = quantize_quad<kChannels>(args.in + p, args.plane_stride, 0xFFFF, k);
    _mm512_storeu_si512(args.out + p * stride, _mm512_permutexvar_epi8(compact, quad));
  }
  for (; p < args.pixels; p += kPixels) {
    const size_t left = args.pixels - p < kPixels ? args.pixels - p : kPixels;
    const __mmask16 pixels = static_cast<__mmask16>(0xFFFF >> (kPixels - left));
    const __m512i quad = quantize_quad<kChannels>(args.in + p, args.plane_stride, pixels, k);
    _mm512_mask_storeu_epi8(args.out + p * stride, bytes_of(left),
                            _mm512_permutexvar_epi8(compact, quad));
  }
}

__m512i quantize_quad_at(const QuantizePlanar& args, size_t channel, size_t p, __mmask16 pixels,
                         const Constants& k) {
  if (channel >= args.channels) return k.zero_points;
  const float* in = args.in + channel * args.plane_stride + p;
  switch (args.channels - channel) {
    case 1:
      return quantize_quad<1>(in, args.plane_stride, pixels, k);
    case 2:
      return quantize_quad<2>(in, args.plane_stride, pixels, k);
    case 3:
      return quantize_quad<3>(in, args.plane_stride, pixels, k);
    default:
      return quantize_quad<4>(in, args.plane_stride, pixels, k);
  }
}

// 16 pixels by 16 bytes of each: four quads and a transposition of 32-bit elements.
void quantize_chunk(const QuantizePlanar& args, size_t channel, size_t p, size_t pixels,
                    const Constants& k) {
  const __mmask16 loaded = static_cast<__mmask16>(0xFFFF >> (kPixels - pixels));
  const __m512i q0 = quantize_quad_at(args, channel, p, loaded, k);
  const __m512i q1 = quantize_quad_at(args, channel + 4, p, loaded, k);
  const __m512i q2 = quantize_quad_at(args, channel + 8, p, loaded, k);
  const __m512i q3 = quantize_quad_at(args, channel + 12, p, loaded, k);
  const __m512i even01 = _mm512_unpacklo_epi32(q0, q1);
  const __m512i odd01 = _mm512_unpackhi_epi32(q0, q1);
  const __m512i even23 = _mm512_unpacklo_epi32(q2, q3);
  const __m512i odd23 = _mm512_unpackhi_epi32(q2, q3);
  // Lane l of vector j is pixel 4 l + j.
  alignas(64) uint8_t chunk[4][4][kChunk];
  _mm512_store_si512(chunk[0], _mm512_unpacklo_epi64(even01, even23));
  _mm512_store_si512(chunk[1], _mm512_unpackhi_epi64(even01, even23));
  _mm512_store_si512(chunk[2], _mm512_unpacklo_epi64(odd01, odd23));
  _mm512_store_si512(chunk[3], _mm512_unpackhi_epi64(odd01, odd23));
  const size_t width = args.out_stride - channel < kChunk ? args.out_stride - channel : kChunk;
  const __mmask16 stored = static_cast<__mmask16>(0xFFFF >> (kChunk - width));
  uint8_t* out = args.out + p * args.out_stride + channel;
  for (size_t i = 0; i < pixels; ++i, out += args.out_stride) {
    const __m128i pixel = _mm_load_si128(reinterpret_cast<const __m128i*>(chunk[i % 4][i / 4]));
    _mm_mask_storeu_epi8(out, stored, pixel);
  }
}

template <typename Args>
Constants constants_of(const Args& args) {
  return {_mm512_set1_ps(args.inverse_scale), _mm512_set1_ps(static_cast<float>(-args.zero_point)),
          _mm512_set1_ps(static_cast<float>(255 - args.zero_point)),
          _mm512_set1_epi8(static_cast<char>(args.zero_point))};
}

void quantize_planar(const QuantizePlanar& args) {
  const Constants k = constants_of(args);
  if (args.out_stride <= 4) {
    switch (args.channels) {
      case 1:
        return quantize_small<1>(args, k);
      case 2:
        return quantize_small<2>(args, k);
      case 3:
        return quantize_small<3>(args, k);
      default:
        return quantize_small<4>(args, k);
    }
  }
  for (size_t p = 0; p < args.pixels; p += kPixels) {
    const size_t pixels = args.pixels - p < kPixels ? args.pixels - p : kPixels;
    for (size_t channel = 0; channel < args.out_stride; channel += kChunk) {
      quantize_chunk(args, channel, p, pixels, k);
    }
  }
}

// Runs of pixels, one where there are no gaps: run_pixel(in, out, size).
template <typename Args, typename RunPixel>
void for_each_pixel(const Args& args, RunPixel run_pixel) {
  if (args.in_stride == args.channels && args.out_stride == args.channels) {
    return run_pixel(args.in, args.out, args.pixels * args.channels);
  }
  for (size_t p = 0; p < args.pixels; ++p) {
    run_pixel(args.in + p * args.in_stride, args.out + p * args.out_stride, args.channels);
  }
}

void quantize_nhwc(const QuantizeNhwc& args) {
  const Constants k = constants_of(args);
  const __m512i zero_point = _mm512_set1_epi32(args.zero_point);
  const auto convert = [&](__m512 x) {
    return _mm512_cvtepi32_epi8(_mm512_add_epi32(quantize(x, k), zero_point));
  };
  for_each_pixel(args, [&](const float* in, uint8_t* out, size_t size) {
    size_t i = 0;
    for (; size - i >= 16; i += 16) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i), convert(_mm512_loadu_ps(in + i)));
    }
    if (i < size) {
      const __mmask16 mask = static_cast<__mmask16>(0xFFFF >> (16 - (size - i)));
      _mm_mask_storeu_epi8(out + i, mask, convert(_mm512_maskz_loadu_ps(mask, in + i)));
    }
  });
}

void dequantize(const Dequantize& args) {
  const __m512i zero_point = _mm512_set1_epi32(args.zero_point);
  const __m512 scale = _mm512_set1_ps(args.scale);
  const auto convert = [&](__m128i bytes) {
    const __m512i value = _mm512_sub_epi32(_mm512_cvtepu8_epi32(bytes), zero_point);
    return _mm512_mul_ps(_mm512_cvtepi32_ps(value), scale);
  };
  for_each_pixel(args, [&](const uint8_t* in, float* out, size_t size) {
    size_t i = 0;
    for (; size - i >= 16; i += 16) {
      const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(in + i));
      _mm512_storeu_ps(out + i, convert(bytes));
    }
    if (i < size) {
      const __mmask16 mask = static_cast<__mmask16>(0xFFFF >> (16 - (size - i)));
      _mm512_mask_storeu_ps(out + i, mask, convert(_mm_maskz_loadu_epi8(mask, in + i)));
    }
  });
}

}  // namespace

extern const ConvertKernels convert_x86_avx512vnni = {"convert_x86_avx512vnni", quantize_planar,
                                                      quantize_nhwc, dequantize};

}  // namespace wbcq
