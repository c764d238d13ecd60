#include <immintrin.h>

#include "kernels/resize/resize.h"

namespace wbcq {
namespace {

constexpr size_t kLanes = 8;

void nearest(const ResizeNearestRow& row) {
  for (size_t x = 0; x < row.pixels; ++x) {
    __builtin_memcpy(row.out + x * row.out_stride, row.in + row.offsets[x], row.pixel_bytes);
  }
}

struct Weights {
  Weights(float fx, float fy)
      : left(_mm256_set1_ps(1.0f - fx)),
        right(_mm256_set1_ps(fx)),
        top(_mm256_set1_ps(1.0f - fy)),
        bottom(_mm256_set1_ps(fy)) {}
  __m256 operator()(__m256 v00, __m256 v01, __m256 v10, __m256 v11) const {
    const __m256 upper = _mm256_add_ps(_mm256_mul_ps(v00, left), _mm256_mul_ps(v01, right));
    const __m256 lower = _mm256_add_ps(_mm256_mul_ps(v10, left), _mm256_mul_ps(v11, right));
    return _mm256_add_ps(_mm256_mul_ps(upper, top), _mm256_mul_ps(lower, bottom));
  }
  __m256 left;
  __m256 right;
  __m256 top;
  __m256 bottom;
};

// Eight channels in the registers of float arithmetic.
__m256 load(const uint8_t* p) {
  const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes));
}

__m256 load(const float* p) { return _mm256_loadu_ps(p); }

void store(uint8_t* p, __m256 value) {
  const __m256i rounded = _mm256_cvtps_epi32(value);
  const __m128i words =
      _mm_packus_epi32(_mm256_castsi256_si128(rounded), _mm256_extracti128_si256(rounded, 1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packus_epi16(words, words));
}

void store(float* p, __m256 value) { _mm256_storeu_ps(p, value); }

// The sources and the output of one pixel.
template <typename T>
struct Pixel {
  void run(size_t c, const Weights& weights) const {
    store(out + c, weights(load(v00 + c), load(v01 + c), load(v10 + c), load(v11 + c)));
  }
  const T* v00;
  const T* v01;
  const T* v10;
  const T* v11;
  T* out;
};

template <typename T>
void run_few(const Pixel<T>& pixel, size_t channels, const Weights& weights) {
  T values[5][kLanes] = {};
  __builtin_memcpy(values[0], pixel.v00, channels * sizeof(T));
  __builtin_memcpy(values[1], pixel.v01, channels * sizeof(T));
  __builtin_memcpy(values[2], pixel.v10, channels * sizeof(T));
  __builtin_memcpy(values[3], pixel.v11, channels * sizeof(T));
  Pixel<T>{values[0], values[1], values[2], values[3], values[4]}.run(0, weights);
  __builtin_memcpy(pixel.out, values[4], channels * sizeof(T));
}

template <typename T>
void bilinear(const ResizeBilinearRow<T>& row) {
  for (size_t x = 0; x < row.pixels; ++x) {
    const ResizeTap& tap = row.taps[x];
    const Weights weights(tap.fraction, row.fraction);
    const Pixel<T> pixel = {row.top + tap.left, row.top + tap.right, row.bottom + tap.left,
                            row.bottom + tap.right, row.out + x * row.out_stride};
    if (row.channels < kLanes) {
      run_few(pixel, row.channels, weights);
      continue;
    }
    size_t c = 0;
    for (; row.channels - c >= kLanes; c += kLanes) pixel.run(c, weights);
    if (c < row.channels) pixel.run(row.channels - kLanes, weights);
  }
}

void bilinear_u8(const ResizeBilinearRowU8& row) { bilinear(row); }

void bilinear_f32(const ResizeBilinearRowF32& row) { bilinear(row); }

}  // namespace

extern const ResizeKernels resize_x86_avx2 = {"resize_x86_avx2", nearest, bilinear_u8,
                                              bilinear_f32};

}  // namespace wbcq
