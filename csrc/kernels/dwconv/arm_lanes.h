// What the Advanced SIMD depthwise kernels share: groups of 16 channels, and the way from
// accumulators back to bytes. Everything is local to the file that includes it.
#ifndef WBCQ_KERNELS_DWCONV_ARM_LANES_H_
#define WBCQ_KERNELS_DWCONV_ARM_LANES_H_

#include <arm_neon.h>

#include "kernels/dwconv/buffered.h"
#include "kernels/dwconv/dwconv.h"

namespace wbcq {
namespace {

constexpr size_t kBlock = 16;
constexpr size_t kHeaderBytes = 12 * kBlock;  // start, mult, bias

// n in [1, 8] bytes, no other byte touched. Pieces may overlap: they agree on the common bytes.
inline uint64_t load_up_to_8(const uint8_t* p, size_t n) {
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

// The 16 channels of a whole group.
struct WholeGroup {
  static constexpr size_t kPieces = 1;
  static constexpr bool kWhole = true;
  WBCQ_INLINE uint8x16_t load(const uint8_t* p) const { return vld1q_u8(p); }
  WBCQ_INLINE static void save(uint8_t* p, uint8x16_t v) { vst1q_u8(p, v); }
};

// Fewer than 16.
struct PartOfGroup {
  static constexpr size_t kPieces = 1;
  static constexpr bool kWhole = false;
  size_t channels;
  WBCQ_INLINE uint8x16_t load(const uint8_t* p) const {
    const uint64_t low = load_up_to_8(p, at_most(channels, 8));
    const uint64_t high = channels > 8 ? load_up_to_8(p + 8, channels - 8) : 0;
    return vcombine_u8(vcreate_u8(low), vcreate_u8(high));
  }
  WBCQ_INLINE static void save(uint8_t* p, uint8x16_t v) { vst1q_u8(p, v); }
};

// Activations as signed operands: u8 - 128, which the packed start makes up for.
WBCQ_INLINE uint8x16_t to_signed(uint8x16_t v) { return veorq_u8(v, vdupq_n_u8(0x80)); }

class Epilogue {
 public:
  explicit Epilogue(const DwconvRow& row)
      : zero_point_(vdupq_n_s16(static_cast<int16_t>(row.zero_point))),
        lo_(vdupq_n_u8(static_cast<uint8_t>(row.lo))),
        hi_(vdupq_n_u8(static_cast<uint8_t>(row.hi))) {}

  WBCQ_INLINE static float32x4_t product(int32x4_t acc, const std::byte* mult) {
    return vmulq_f32(vcvtq_f32_s32(acc), vld1q_f32(reinterpret_cast<const float*>(mult)));
  }
  // FCVTNS and the narrowing instructions saturate, so what is clamped afterwards is what clamping
  // the floats would give.
  WBCQ_INLINE uint8x16_t narrow(float32x4_t v0, float32x4_t v1, float32x4_t v2,
                                float32x4_t v3) const {
    const int16x8_t low = vqmovn_high_s32(vqmovn_s32(vcvtnq_s32_f32(v0)), vcvtnq_s32_f32(v1));
    const int16x8_t high = vqmovn_high_s32(vqmovn_s32(vcvtnq_s32_f32(v2)), vcvtnq_s32_f32(v3));
    const uint8x16_t bytes =
        vqmovun_high_s16(vqmovun_s16(vqaddq_s16(low, zero_point_)), vqaddq_s16(high, zero_point_));
    return vminq_u8(vmaxq_u8(bytes, lo_), hi_);
  }

 private:
  int16x8_t zero_point_;
  uint8x16_t lo_;
  uint8x16_t hi_;
};

// The shortcut's share of four results.
class Shortcut {
 public:
  explicit Shortcut(const DwconvRow& row)
      : zero_point_(vdupq_n_s32(row.residual_zero_point)),
        multiplier_(vdupq_n_f32(row.residual_multiplier)) {}

  WBCQ_INLINE float32x4_t part(const uint8_t* pixel, size_t p) const {
    const uint8x16_t bytes = vld1q_u8(pixel);
    const uint16x8_t words = p < 2 ? vmovl_u8(vget_low_u8(bytes)) : vmovl_high_u8(bytes);
    const uint32x4_t value = p % 2 == 0 ? vmovl_u16(vget_low_u16(words)) : vmovl_high_u16(words);
    const int32x4_t centred = vsubq_s32(vreinterpretq_s32_u32(value), zero_point_);
    return vmulq_f32(vcvtq_f32_s32(centred), multiplier_);
  }

 private:
  int32x4_t zero_point_;
  float32x4_t multiplier_;
};

// What is the same for every Simd of buffered.h.
struct SimdBase {
  static constexpr size_t kBlock = wbcq::kBlock;
  static constexpr size_t kSkewBytes = 0;
  using Epilogue = wbcq::Epilogue;
  using Residual = Shortcut;

  static void join(const PartOfGroup& lanes, const uint8_t* const (&pixels)[1], uint8_t* to) {
    PartOfGroup::save(to, lanes.load(pixels[0]));
  }
  static void split(const PartOfGroup& lanes, const uint8_t* from, uint8_t* const (&pixels)[1]) {
    for (size_t c = 0; c < lanes.channels; ++c) pixels[0][c] = from[c];
  }

  // The whole groups of a row, then the last one.
  template <typename Kernel>
  static void run_groups(const DwconvRow& row) {
    const size_t tail = row.channels % kBlock;
    const size_t whole = row.channels - tail;
    if (whole > 0) Kernel::run(row, WholeGroup(), 0, whole);
    if (tail > 0) Kernel::run(row, PartOfGroup{tail}, whole, tail);
  }

 protected:
  // Results of one output to its pixel.
  template <bool kResidual>
  WBCQ_INLINE static void finish(const Epilogue& epilogue, const Residual& residual,
                                 const std::byte* group, const int32x4_t (&acc)[4],
                                 const Target& target, size_t output) {
    float32x4_t v[4];
#pragma GCC unroll 4
    for (size_t p = 0; p < 4; ++p) {
      v[p] = Epilogue::product(acc[p], group + 4 * kBlock + p * 16);
      if constexpr (kResidual) {
        const uint8_t* pixel = target.residual + output * target.residual_stride;
        v[p] = vaddq_f32(v[p], residual.part(pixel, p));
      }
    }
    vst1q_u8(target.out + output * target.out_stride, epilogue.narrow(v[0], v[1], v[2], v[3]));
  }
};

}  // namespace
}  // namespace wbcq

#endif  // WBCQ_KERNELS_DWCONV_ARM_LANES_H_
