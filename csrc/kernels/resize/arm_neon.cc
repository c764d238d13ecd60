#include <arm_neon.h>

#include "kernels/resize/resize.h"

namespace wbcq {
namespace {

constexpr size_t kLanes = 8;

void nearest(const ResizeNearestRow& row) {
  for (size_t x = 0; x < row.pixels; ++x) {
    __builtin_memcpy(row.out + x * row.out_stride, row.in + row.offsets[x], row.pixel_bytes);
  }
}

// Eight channels in the registers of float arithmetic.
struct Octet {
  float32x4_t low;
  float32x4_t high;
};

struct Weights {
  Weights(float fx, float fy) : left(1.0f - fx), right(fx), top(1.0f - fy), bottom(fy) {}
  float32x4_t mix(float32x4_t v00, float32x4_t v01, float32x4_t v10, float32x4_t v11) const {
    const float32x4_t upper = vaddq_f32(vmulq_n_f32(v00, left), vmulq_n_f32(v01, right));
    const float32x4_t lower = vaddq_f32(vmulq_n_f32(v10, left), vmulq_n_f32(v11, right));
    return vaddq_f32(vmulq_n_f32(upper, top), vmulq_n_f32(lower, bottom));
  }
  Octet operator()(const Octet& v00, const Octet& v01, const Octet& v10, const Octet& v11) const {
    return {mix(v00.low, v01.low, v10.low, v11.low), mix(v00.high, v01.high, v10.high, v11.high)};
  }
  float left;
  float right;
  float top;
  float bottom;
};

Octet load(const uint8_t* p) {
  const uint16x8_t words = vmovl_u8(vld1_u8(p));
  return {vcvtq_f32_u32(vmovl_u16(vget_low_u16(words))), vcvtq_f32_u32(vmovl_high_u16(words))};
}

Octet load(const float* p) { return {vld1q_f32(p), vld1q_f32(p + 4)}; }

void store(uint8_t* p, const Octet& value) {
  const uint16x4_t low = vmovn_u32(vcvtnq_u32_f32(value.low));
  const uint16x4_t high = vmovn_u32(vcvtnq_u32_f32(value.high));
  vst1_u8(p, vmovn_u16(vcombine_u16(low, high)));
}

void store(float* p, const Octet& value) {
  vst1q_f32(p, value.low);
  vst1q_f32(p + 4, value.high);
}

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

extern const ResizeKernels resize_arm_neon = {"resize_arm_neon", nearest, bilinear_u8,
                                              bilinear_f32};

}  // namespace wbcq
