#include <arm_neon.h>

#include "kernels/pool/pool.h"

namespace wbcq {
namespace {

constexpr size_t kLanes = 16;
// A u16 lane holds the sum of this many u8 values: 257 * 255 = 65535.
constexpr size_t kTapsPerFlush = 257;

// n in [1, 8] bytes, no other byte touched. Pieces may overlap: they agree on the common bytes.
uint64_t load_up_to_8(const uint8_t* p, size_t n) {
  if (n >= 4) {
    uint32_t first;
    uint32_t last;
    __builtin_memcpy(&first, p, 4);
    __builtin_memcpy(&last, p + n - 4, 4);
    return first | static_cast<uint64_t>(last) << (8 * (n - 4));
  }
  return p[0] | static_cast<uint64_t>(p[n / 2]) << (8 * (n / 2)) |
         static_cast<uint64_t>(p[n - 1]) << (8 * (n - 1));
}

void store_up_to_8(uint8_t* p, uint64_t bytes, size_t n) {
  if (n >= 4) {
    const uint32_t first = static_cast<uint32_t>(bytes);
    const uint32_t last = static_cast<uint32_t>(bytes >> (8 * (n - 4)));
    __builtin_memcpy(p, &first, 4);
    __builtin_memcpy(p + n - 4, &last, 4);
    return;
  }
  p[0] = static_cast<uint8_t>(bytes);
  p[n / 2] = static_cast<uint8_t>(bytes >> (8 * (n / 2)));
  p[n - 1] = static_cast<uint8_t>(bytes >> (8 * (n - 1)));
}

// How a block of channels is read and written. Fewer than 8 channels are the only case that a
// vector cannot cover by stepping back and doing some channels twice.
struct Full {
  static uint8x16_t load(const uint8_t* p, size_t) { return vld1q_u8(p); }
  static void store(uint8_t* p, uint8x16_t bytes, size_t) { vst1q_u8(p, bytes); }
};

struct Half {
  static uint8x16_t load(const uint8_t* p, size_t) { return vcombine_u8(vld1_u8(p), vdup_n_u8(0)); }
  static void store(uint8_t* p, uint8x16_t bytes, size_t) { vst1_u8(p, vget_low_u8(bytes)); }
};

struct Partial {
  static uint8x16_t load(const uint8_t* p, size_t n) {
    return vcombine_u8(vcreate_u8(load_up_to_8(p, n)), vdup_n_u8(0));
  }
  static void store(uint8_t* p, uint8x16_t bytes, size_t n) {
    store_up_to_8(p, vgetq_lane_u64(vreinterpretq_u64_u8(bytes), 0), n);
  }
};

// Channels run in the outer loop and taps in the innermost one, so that the accumulators stay in
// registers; the vectors of a block share each load of a row pointer.
template <typename Access, size_t kVectors>
void max_block(const MaxPoolRow& args, size_t channel) {
  for (size_t p = 0; p < args.pixels; ++p) {
    uint8x16_t best[kVectors];
    for (size_t v = 0; v < kVectors; ++v) best[v] = vdupq_n_u8(0);
    for (size_t tap = 0; tap < args.taps; ++tap) {
      const uint8_t* row = args.rows[tap] + p * args.in_stride + channel;
      for (size_t v = 0; v < kVectors; ++v) {
        best[v] = vmaxq_u8(best[v], Access::load(row + v * kLanes, args.channels));
      }
    }
    uint8_t* out = args.out + p * args.out_stride + channel;
    for (size_t v = 0; v < kVectors; ++v) Access::store(out + v * kLanes, best[v], args.channels);
  }
}

// FMAXNM and FMINNM return the number where one operand is NaN, as round_clamp() does.
uint32x4_t requantize(uint32x4_t sum, const AvgPoolPixel& pixel) {
  const float32x4_t lo = vdupq_n_f32(static_cast<float>(pixel.lo - pixel.zero_point));
  const float32x4_t hi = vdupq_n_f32(static_cast<float>(pixel.hi - pixel.zero_point));
  const int32x4_t shifted = vaddq_s32(vreinterpretq_s32_u32(sum), vdupq_n_s32(pixel.start));
  float32x4_t value = vmulq_f32(vcvtq_f32_s32(shifted), vdupq_n_f32(pixel.multiplier));
  value = vminnmq_f32(vmaxnmq_f32(value, lo), hi);
  const int32x4_t rounded = vaddq_s32(vcvtnq_s32_f32(value), vdupq_n_s32(pixel.zero_point));
  return vreinterpretq_u32_s32(rounded);
}

// The sums of 16 channels in order, four a vector.
struct Sums {
  uint32x4_t quad[4];
};

// Sums up to kTapsPerFlush taps in u16 lanes, then widens once.
template <typename Access, size_t kVectors>
void sum_taps(const AvgPoolPixel& pixel, size_t channel, size_t tap, size_t tap_end, Sums* sums) {
  uint16x8_t low[kVectors];
  uint16x8_t high[kVectors];
  for (size_t v = 0; v < kVectors; ++v) low[v] = high[v] = vdupq_n_u16(0);
  for (; tap < tap_end; ++tap) {
    const uint8_t* row = pixel.rows[tap] + channel;
    for (size_t v = 0; v < kVectors; ++v) {
      const uint8x16_t bytes = Access::load(row + v * kLanes, pixel.channels);
      low[v] = vaddw_u8(low[v], vget_low_u8(bytes));
      high[v] = vaddw_high_u8(high[v], bytes);
    }
  }
  for (size_t v = 0; v < kVectors; ++v) {
    uint32x4_t* quad = sums[v].quad;
    quad[0] = vaddw_u16(quad[0], vget_low_u16(low[v]));
    quad[1] = vaddw_high_u16(quad[1], low[v]);
    quad[2] = vaddw_u16(quad[2], vget_low_u16(high[v]));
    quad[3] = vaddw_high_u16(quad[3], high[v]);
  }
}

template <typename Access, size_t kVectors>
void avg_block(const AvgPoolPixel& pixel, size_t channel) {
  Sums sums[kVectors];
  for (size_t v = 0; v < kVectors; ++v) {
    for (size_t r = 0; r < 4; ++r) sums[v].quad[r] = vdupq_n_u32(0);
  }
  for (size_t tap = 0; tap < pixel.taps; tap += kTapsPerFlush) {
    const size_t left = pixel.taps - tap;
    const size_t tap_end = tap + (left < kTapsPerFlush ? left : kTapsPerFlush);
    sum_taps<Access, kVectors>(pixel, channel, tap, tap_end, sums);
  }
  for (size_t v = 0; v < kVectors; ++v) {
    const uint32x4_t* quad = sums[v].quad;
    // Every lane is in [0, 255]: taking the low halves twice is exact.
    const uint16x8_t low = vuzp1q_u16(vreinterpretq_u16_u32(requantize(quad[0], pixel)),
                                      vreinterpretq_u16_u32(requantize(quad[1], pixel)));
    const uint16x8_t high = vuzp1q_u16(vreinterpretq_u16_u32(requantize(quad[2], pixel)),
                                       vreinterpretq_u16_u32(requantize(quad[3], pixel)));
    const uint8x16_t bytes = vuzp1q_u8(vreinterpretq_u8_u16(low), vreinterpretq_u8_u16(high));
    Access::store(pixel.out + channel + v * kLanes, bytes, pixel.channels);
  }
}

struct MaxPool {
  template <typename Access, size_t kVectors>
  static void run(const MaxPoolRow& row, size_t channel) {
    max_block<Access, kVectors>(row, channel);
  }
};

struct AvgPool {
  template <typename Access, size_t kVectors>
  static void run(const AvgPoolPixel& pixel, size_t channel) {
    avg_block<Access, kVectors>(pixel, channel);
  }
};

template <typename Op, typename Args>
void for_each_block(const Args& args) {
  const size_t channels = args.channels;
  if (channels < 8) {
    Op::template run<Partial, 1>(args, 0);
    return;
  }
  if (channels < kLanes) {
    Op::template run<Half, 1>(args, 0);
    if (channels > 8) Op::template run<Half, 1>(args, channels - 8);
    return;
  }
  size_t channel = 0;
  for (; channels - channel >= 4 * kLanes; channel += 4 * kLanes) {
    Op::template run<Full, 4>(args, channel);
  }
  for (; channels - channel >= kLanes; channel += kLanes) Op::template run<Full, 1>(args, channel);
  if (channel < channels) Op::template run<Full, 1>(args, channels - kLanes);
}

void max_pool(const MaxPoolRow& row) { for_each_block<MaxPool>(row); }

void avg_pool(const AvgPoolPixel& pixel) { for_each_block<AvgPool>(pixel); }

}  // namespace

extern const PoolKernels pool_arm_neon = {"pool_arm_neon", max_pool, avg_pool};

}  // namespace wbcq
