#include <arm_neon.h>

#include "kernels/convert/convert.h"

namespace wbcq {
namespace {

// Pixels are done in blocks of four quads: enough independent work for an in-order core, and a
// whole cache line of each plane.
constexpr size_t kLanes = 4;
constexpr size_t kPixels = 16;
constexpr size_t kChunk = 16;

struct Constants {
  float32x4_t inverse_scale;
  float32x4_t lo;
  float32x4_t hi;
  uint32x4_t zero_points;  // in every byte
};

// rne(clamp(x * inverse_scale)), zero point not yet added. FMAXNM returns the number where one
// operand is a quiet NaN, as round_clamp() does, and the multiplication has quieted every NaN.
uint32x4_t quantize(float32x4_t x, const Constants& k) {
  const float32x4_t value = vmaxnmq_f32(vmulq_f32(x, k.inverse_scale), k.lo);
  return vreinterpretq_u32_s32(vcvtnq_s32_f32(vminnmq_f32(value, k.hi)));
}

// 4 pixels by 4 channels, one pixel in each 32-bit lane; channels past kChannels hold the zero
// point. The signed values are summed into their bytes, borrows included, and the zero points that
// make each of them 0..255 come last: modulo 2^32 the order does not matter.
template <size_t kChannels>
uint32x4_t quantize_quad(const float* in, size_t plane_stride, const Constants& k) {
  uint32x4_t sum = vdupq_n_u32(0);
  for (size_t c = kChannels; c-- > 0;) {
    const uint32x4_t value = quantize(vld1q_f32(in + c * plane_stride), k);
    sum = vaddq_u32(vshlq_n_u32(sum, 8), value);
  }
  return vaddq_u32(sum, k.zero_points);
}

// The first `pixels` floats of each plane, padded to whole vectors.
struct Tail {
  Tail(const float* in, size_t plane_stride, size_t channels, size_t pixels) {
    for (size_t c = 0; c < channels; ++c) {
      __builtin_memcpy(planes[c], in + c * plane_stride, pixels * sizeof(float));
    }
  }
  float planes[kChunk][kPixels] = {};
};

// 16 pixels of `stride` bytes each, stride in [1, 4]; index[v] says where the bytes of vector v of
// the output are among the 64 bytes of the quads.
template <size_t kChannels>
void quantize_pixels(const float* in, size_t plane_stride, uint8_t* out, size_t stride,
                     const uint8x16_t* index, const Constants& k) {
  uint8x16x4_t quads;
  for (size_t q = 0; q < 4; ++q) {
    const uint32x4_t quad = quantize_quad<kChannels>(in + q * kLanes, plane_stride, k);
    quads.val[q] = vreinterpretq_u8_u32(quad);
  }
  if (stride == 4) {
    for (size_t v = 0; v < 4; ++v) vst1q_u8(out + 16 * v, quads.val[v]);
    return;
  }
  for (size_t v = 0; v < stride; ++v) vst1q_u8(out + 16 * v, vqtbl4q_u8(quads, index[v]));
}

// Pixels of at most 4 bytes.
template <size_t kChannels>
void quantize_small(const QuantizePlanar& args, const Constants& k) {
  const size_t stride = args.out_stride;
  uint8_t bytes[4 * kPixels];
  for (size_t i = 0; i < sizeof(bytes); ++i) {
    bytes[i] = static_cast<uint8_t>(i / stride * 4 + i % stride);
  }
  uint8x16_t index[4];
  for (size_t v = 0; v < 4; ++v) index[v] = vld1q_u8(bytes + 16 * v);
  size_t p = 0;
  for (; args.pixels - p >= kPixels; p += kPixels) {
    quantize_pixels<kChannels>(args.in + p, args.plane_stride, args.out + p * stride, stride, index,
                               k);
  }
  if (p < args.pixels) {
    const Tail tail(args.in + p, args.plane_stride, kChannels, args.pixels - p);
    quantize_pixels<kChannels>(tail.planes[0], kPixels, bytes, stride, index, k);
    __builtin_memcpy(args.out + p * stride, bytes, (args.pixels - p) * stride);
  }
}

// `channels` planes from `in` on; none gives zero points alone.
uint32x4_t quantize_quad_of(const float* in, size_t plane_stride, size_t channels,
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
void store_partial(uint8_t* out, uint8x16_t bytes, size_t width) {
  if (width == kChunk) {
    vst1q_u8(out, bytes);
    return;
  }
  uint64_t left = vgetq_lane_u64(vreinterpretq_u64_u8(bytes), 0);
  if (width & 8) {
    __builtin_memcpy(out, &left, 8);
    left = vgetq_lane_u64(vreinterpretq_u64_u8(bytes), 1);
    out += 8;
  }
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

// 4 pixels by 16 bytes of each: four quads and a transposition of 32-bit elements.
void transpose_chunk(const float* in, size_t plane_stride, size_t channels, const Constants& k,
                     uint8x16_t* pixels) {
  uint32x4_t quad[4];
  for (size_t q = 0; q < 4; ++q) {
    const size_t first = 4 * q;
    const size_t count = channels > first ? channels - first : 0;
    quad[q] = quantize_quad_of(in + first * plane_stride, plane_stride, count, k);
  }
  const uint64x2_t even01 = vreinterpretq_u64_u32(vtrn1q_u32(quad[0], quad[1]));
  const uint64x2_t odd01 = vreinterpretq_u64_u32(vtrn2q_u32(quad[0], quad[1]));
  const uint64x2_t even23 = vreinterpretq_u64_u32(vtrn1q_u32(quad[2], quad[3]));
  const uint64x2_t odd23 = vreinterpretq_u64_u32(vtrn2q_u32(quad[2], quad[3]));
  pixels[0] = vreinterpretq_u8_u64(vtrn1q_u64(even01, even23));
  pixels[1] = vreinterpretq_u8_u64(vtrn1q_u64(odd01, odd23));
  pixels[2] = vreinterpretq_u8_u64(vtrn2q_u64(even01, even23));
  pixels[3] = vreinterpretq_u8_u64(vtrn2q_u64(odd01, odd23));
}

// Up to 16 pixels by `width` bytes of each.
void quantize_chunk(const float* in, size_t plane_stride, size_t channels, uint8_t* out,
                    size_t out_stride, size_t width, size_t pixels, const Constants& k) {
  for (size_t p = 0; p < pixels; p += kLanes) {
    uint8x16_t chunk[kLanes];
    transpose_chunk(in + p, plane_stride, channels, k, chunk);
    const size_t stored = pixels - p < kLanes ? pixels - p : kLanes;
    for (size_t i = 0; i < stored; ++i) store_partial(out + (p + i) * out_stride, chunk[i], width);
  }
}

void quantize_chunks(const QuantizePlanar& args, const Constants& k) {
  for (size_t p = 0; p < args.pixels; p += kPixels) {
    const size_t pixels = args.pixels - p < kPixels ? args.pixels - p : kPixels;
    for (size_t channel = 0; channel < args.out_stride; channel += kChunk) {
      const size_t channels = args.channels > channel ? args.channels - channel : 0;
      const size_t width = args.out_stride - channel < kChunk ? args.out_stride - channel : kChunk;
      const float* in = args.in + channel * args.plane_stride + p;
      uint8_t* out = args.out + p * args.out_stride + channel;
      if (pixels == kPixels) {
        quantize_chunk(in, args.plane_stride, channels, out, args.out_stride, width, pixels, k);
      } else {
        const Tail tail(in, args.plane_stride, channels < kChunk ? channels : kChunk, pixels);
        quantize_chunk(tail.planes[0], kPixels, channels, out, args.out_stride, width, pixels, k);
      }
    }
  }
}

template <typename Args>
Constants constants_of(const Args& args) {
  return {vdupq_n_f32(args.inverse_scale), vdupq_n_f32(static_cast<float>(-args.zero_point)),
          vdupq_n_f32(static_cast<float>(255 - args.zero_point)),
          vreinterpretq_u32_u8(vdupq_n_u8(static_cast<uint8_t>(args.zero_point)))};
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
  const uint32x4_t zero_point = vdupq_n_u32(static_cast<uint32_t>(args.zero_point));
  const auto convert = [&](const float* in, uint8_t* out) {
    const uint32x4_t low = vaddq_u32(quantize(vld1q_f32(in), k), zero_point);
    const uint32x4_t high = vaddq_u32(quantize(vld1q_f32(in + 4), k), zero_point);
    vst1_u8(out, vmovn_u16(vcombine_u16(vmovn_u32(low), vmovn_u32(high))));
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
  const uint8x8_t zero_point = vdup_n_u8(static_cast<uint8_t>(args.zero_point));
  const float32x4_t scale = vdupq_n_f32(args.scale);
  for_each_pixel(args, [&](const uint8_t* in, float* out, size_t size) {
    size_t i = 0;
    for (; size - i >= 8; i += 8) {
      const int16x8_t value = vreinterpretq_s16_u16(vsubl_u8(vld1_u8(in + i), zero_point));
      const float32x4_t low = vcvtq_f32_s32(vmovl_s16(vget_low_s16(value)));
      const float32x4_t high = vcvtq_f32_s32(vmovl_high_s16(value));
      vst1q_f32(out + i, vmulq_f32(low, scale));
      vst1q_f32(out + i + 4, vmulq_f32(high, scale));
    }
    for (; i < size; ++i) out[i] = static_cast<float>(in[i] - args.zero_point) * args.scale;
  });
}

}  // namespace

extern const ConvertKernels convert_arm_neon = {"convert_arm_neon", quantize_planar, quantize_nhwc,
                                                dequantize};

}  // namespace wbcq
