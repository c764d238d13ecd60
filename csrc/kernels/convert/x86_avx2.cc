#include <immintrin.h>

#include "kernels/convert/convert.h"

namespace wbcq {
namespace {

constexpr size_t kPixels = 8;
constexpr size_t kChunk = 16;
// Pixels of all chunks that are done before the next ones: a cache line of every plane.
constexpr size_t kPixelBlock = 16;

struct Constants {
  __m256 inverse_scale;
  __m256 lo;
  __m256 hi;
  __m256i zero_points;  // in every byte
};

// rne(clamp(x * inverse_scale)), zero point not yet added. Operands in this order: VMAXPS returns
// the second one for NaN, as round_clamp() does.
__m256i quantize(__m256 x, const Constants& k) {
  const __m256 value = _mm256_max_ps(_mm256_mul_ps(x, k.inverse_scale), k.lo);
  return _mm256_cvtps_epi32(_mm256_min_ps(value, k.hi));
}

// 8 pixels by 4 channels, one pixel in each 32-bit lane; channels past kChannels hold the zero
// point. The signed values are summed into their bytes, borrows included, and the zero points that
// make each of them 0..255 come last: modulo 2^32 the order does not matter.
template <size_t kChannels>
__m256i quantize_quad(const float* in, size_t plane_stride, const Constants& k) {
  __m256i sum = _mm256_setzero_si256();
  for (size_t c = kChannels; c-- > 0;) {
    const __m256i value = quantize(_mm256_loadu_ps(in + c * plane_stride), k);
    sum = _mm256_add_epi32(_mm256_slli_epi32(sum, 8), value);
  }
  return _mm256_add_epi32(sum, k.zero_points);
}

// The first `pixels` floats of each plane, padded to whole vectors.
struct Tail {
  Tail(const float* in, size_t plane_stride, size_t channels, size_t pixels) {
    for (size_t c = 0; c < channels; ++c) {
      __builtin_memcpy(planes[c], in + c * plane_stride, pixels * sizeof(float));
    }
  }
  alignas(32) float planes[kChunk][kPixels] = {};
};

// Closes the gaps of a quad whose pixels have fewer than 4 bytes: inside each half, then between
// them.
struct CompactionTable {
  alignas(32) int8_t byte[4][32] = {};
  alignas(32) int32_t element[4][8] = {};
  constexpr CompactionTable() {
    for (size_t stride = 1; stride <= 4; ++stride) {
      for (size_t i = 0; i < 32; ++i) {
        const size_t j = i % 16;
        byte[stride - 1][i] =
            static_cast<int8_t>(j < 4 * stride ? j / stride * 4 + j % stride : 0x80);
      }
      for (size_t i = 0; i < 2 * stride; ++i) {
        element[stride - 1][i] = static_cast<int32_t>(i / stride * 4 + i % stride);
      }
    }
  }
};
constexpr CompactionTable kCompaction;

struct Compaction {
  explicit Compaction(size_t stride)
      : bytes(_mm256_load_si256(reinterpret_cast<const __m256i*>(kCompaction.byte[stride - 1]))),
        elements(
            _mm256_load_si256(reinterpret_cast<const __m256i*>(kCompaction.element[stride - 1]))) {}
  __m256i bytes;
  __m256i elements;
};

// Writes 8 * stride bytes, stride in [1, 4].
void store_pixels(uint8_t* out, __m256i quad, size_t stride, const Compaction& compaction) {
  if (stride == 4) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), quad);
    return;
  }
  const __m256i halves = _mm256_shuffle_epi8(quad, compaction.bytes);
  const __m256i bytes = _mm256_permutevar8x32_epi32(halves, compaction.elements);
  const __m128i first = _mm256_castsi256_si128(bytes);
  if (stride == 1) {
    _mm_storel_epi64(reinterpret_cast<__m128i*>(out), first);
    return;
  }
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), first);
  if (stride == 3) {
    _mm_storel_epi64(reinterpret_cast<__m128i*>(out + 16), _mm256_extracti128_si256(bytes, 1));
  }
}

// Pixels of at most 4 bytes.
template <size_t kChannels>
void quantize_small(const QuantizePlanar& args, const Constants& k) {
  const size_t stride = args.out_stride;
  const Compaction compaction(stride);
  size_t p = 0;
  for (; args.pixels - p >= kPixels; p += kPixels) {
    const __m256i quad = quantize_quad<kChannels>(args.in + p, args.plane_stride, k);
    store_pixels(args.out + p * stride, quad, stride, compaction);
  }
  if (p < args.pixels) {
    const Tail tail(args.in + p, args.plane_stride, kChannels, args.pixels - p);
    uint8_t bytes[kPixels * 4];
    store_pixels(bytes, quantize_quad<kChannels>(tail.planes[0], kPixels, k), stride, compaction);
    __builtin_memcpy(args.out + p * stride, bytes, (args.pixels - p) * stride);
  }
}

// `channels` planes from `in` on; none gives zero points alone.
__m256i quantize_quad_of(const float* in, size_t plane_stride, size_t channels,
                         const Constants& k) {
  switch (channels) {
    case 0:
      return k.zero_points;
    case 1:
      return quantize_quad<1>(in, plane_stride, k);
    case 2:
      return quantize_quad<2>(in, plane_stride, k);
    case 3:
      return quantize_quad<3>(in, plane_stride, k);
    default:
      return quantize_quad<4>(in, plane_stride, k);
  }
}

// width in [1, 16].
void store_partial(uint8_t* out, __m128i bytes, size_t width) {
  if (width == kChunk) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), bytes);
    return;
  }
  if (width & 8) {
    _mm_storel_epi64(reinterpret_cast<__m128i*>(out), bytes);
    bytes = _mm_unpackhi_epi64(bytes, bytes);
    out += 8;
  }
  uint64_t left = static_cast<uint64_t>(_mm_cvtsi128_si64(bytes));
  if (width & 4) {
    __builtin_memcpy(out, &left, 4);
    left >>= 32;
    out += 4;
  }
  if (width & 2) {
    __builtin_memcpy(out, &left, 2);
    left >>= 16;
    out += 2;
  }
  if (width & 1) *out = static_cast<uint8_t>(left);
}

// 8 pixels by 16 bytes of each: four quads and a transposition of 32-bit elements. Only `width`
// bytes of the first `pixels` pixels are stored.
void quantize_chunk(const float* in, size_t plane_stride, size_t channels, uint8_t* out,
                    size_t out_stride, size_t width, size_t pixels, const Constants& k) {
  __m256i quad[4];
  for (size_t q = 0; q < 4; ++q) {
    const size_t first = 4 * q;
    const size_t count = channels > first ? channels - first : 0;
    quad[q] = quantize_quad_of(in + first * plane_stride, plane_stride, count, k);
  }
  const __m256i even01 = _mm256_unpacklo_epi32(quad[0], quad[1]);
  const __m256i odd01 = _mm256_unpackhi_epi32(quad[0], quad[1]);
  const __m256i even23 = _mm256_unpacklo_epi32(quad[2], quad[3]);
  const __m256i odd23 = _mm256_unpackhi_epi32(quad[2], quad[3]);
  // Half h of vector j is pixel 4 h + j.
  alignas(32) uint8_t chunk[4][2][kChunk];
  const auto store = [](uint8_t* p, __m256i v) {
    _mm256_store_si256(reinterpret_cast<__m256i*>(p), v);
  };
  store(chunk[0][0], _mm256_unpacklo_epi64(even01, even23));
  store(chunk[1][0], _mm256_unpackhi_epi64(even01, even23));
  store(chunk[2][0], _mm256_unpacklo_epi64(odd01, odd23));
  store(chunk[3][0], _mm256_unpackhi_epi64(odd01, odd23));
  for (size_t i = 0; i < pixels; ++i, out += out_stride) {
    const __m128i pixel = _mm_load_si128(reinterpret_cast<const __m128i*>(chunk[i % 4][i / 4]));
    store_partial(out, pixel, width);
  }
}

void quantize_chunks(const QuantizePlanar& args, const Constants& k) {
  for (size_t block = 0; block < args.pixels; block += kPixelBlock) {
    const size_t block_end = args.pixels - block < kPixelBlock ? args.pixels : block + kPixelBlock;
    for (size_t channel = 0; channel < args.out_stride; channel += kChunk) {
      const size_t channels = args.channels > channel ? args.channels - channel : 0;
      const size_t width = args.out_stride - channel < kChunk ? args.out_stride - channel : kChunk;
      for (size_t p = block; p < block_end; p += kPixels) {
        const float* in = args.in + channel * args.plane_stride + p;
        uint8_t* out = args.out + p * args.out_stride + channel;
        if (block_end - p >= kPixels) {
          quantize_chunk(in, args.plane_stride, channels, out, args.out_stride, width, kPixels, k);
        } else {
          const Tail tail(in, args.plane_stride, channels < kChunk ? channels : kChunk,
                          block_end - p);
          quantize_chunk(tail.planes[0], kPixels, channels, out, args.out_stride, width,
                         block_end - p, k);
        }
      }
    }
  }
}

template <typename Args>
Constants constants_of(const Args& args) {
  return {_mm256_set1_ps(args.inverse_scale), _mm256_set1_ps(static_cast<float>(-args.zero_point)),
          _mm256_set1_ps(static_cast<float>(255 - args.zero_point)),
          _mm256_set1_epi8(static_cast<char>(args.zero_point))};
}

void quantize_planar(const QuantizePlanar& args) {
  const Constants k = constants_of(args);
  if (args.out_stride > 4) return quantize_chunks(args, k);
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
  const __m256i zero_point = _mm256_set1_epi32(args.zero_point);
  const auto convert = [&](const float* in, uint8_t* out) {
    const __m256i value = _mm256_add_epi32(quantize(_mm256_loadu_ps(in), k), zero_point);
    const __m128i words =
        _mm_packus_epi32(_mm256_castsi256_si128(value), _mm256_extracti128_si256(value, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(out), _mm_packus_epi16(words, words));
  };
  for_each_pixel(args, [&](const float* in, uint8_t* out, size_t size) {
    size_t i = 0;
    for (; size - i >= 8; i += 8) convert(in + i, out + i);
    if (i < size) {
      float values[8] = {};
      uint8_t bytes[8];
      __builtin_memcpy(values, in + i, (size - i) * sizeof(float));
      convert(values, bytes);
      __builtin_memcpy(out + i, bytes, size - i);
    }
  });
}

void dequantize(const Dequantize& args) {
  const __m256i zero_point = _mm256_set1_epi32(args.zero_point);
  const __m256 scale = _mm256_set1_ps(args.scale);
  for_each_pixel(args, [&](const uint8_t* in, float* out, size_t size) {
    size_t i = 0;
    for (; size - i >= 8; i += 8) {
      const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(in + i));
      const __m256i value = _mm256_sub_epi32(_mm256_cvtepu8_epi32(bytes), zero_point);
      _mm256_storeu_ps(out + i, _mm256_mul_ps(_mm256_cvtepi32_ps(value), scale));
    }
    for (; i < size; ++i) out[i] = static_cast<float>(in[i] - args.zero_point) * args.scale;
  });
}

}  // namespace

extern const ConvertKernels convert_x86_avx2 = {"convert_x86_avx2", quantize_planar, quantize_nhwc,
                                                dequantize};

}  // namespace wbcq
