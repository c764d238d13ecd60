// Depthwise kernels of Advanced SIMD with SDOT (docs/design/depthwise.md): rows are interleaved so
// that one instruction multiplies four taps of four channels. It adds modulo 2^32.
#include "kernels/dwconv/arm_lanes.h"
#include "kernels/dwconv/buffered.h"
#include "kernels/dwconv/dwconv.h"

namespace wbcq {
namespace {

// A step holds four taps of 16 channels, four channels a vector, in their natural order.
struct Simd : SimdBase {
  static constexpr size_t kStepTaps = 4;
  static constexpr size_t kStepBytes = 4 * kBlock;
  static constexpr size_t kWeightBytes = 4 * kBlock;
  static constexpr size_t kOutputs = 4;
  using Vector = int32x4_t;

  WBCQ_INLINE static Vector load(const std::byte* p) {
    return vld1q_s32(reinterpret_cast<const int32_t*>(p));
  }
  WBCQ_INLINE static void multiply_add(Vector& acc, Vector taps, Vector weights) {
    acc = vdotq_s32(acc, vreinterpretq_s8_s32(taps), vreinterpretq_s8_s32(weights));
  }

  template <typename Lanes>
  WBCQ_INLINE static void interleave(const Lanes& lanes, const uint8_t* const (&pixels)[4],
                                     std::byte* to) {
    const uint8x16_t v0 = to_signed(lanes.load(pixels[0]));
    const uint8x16_t v1 = to_signed(lanes.load(pixels[1]));
    const uint8x16_t v2 = to_signed(lanes.load(pixels[2]));
    const uint8x16_t v3 = to_signed(lanes.load(pixels[3]));
    const uint16x8_t low01 = vreinterpretq_u16_u8(vzip1q_u8(v0, v1));
    const uint16x8_t high01 = vreinterpretq_u16_u8(vzip2q_u8(v0, v1));
    const uint16x8_t low23 = vreinterpretq_u16_u8(vzip1q_u8(v2, v3));
    const uint16x8_t high23 = vreinterpretq_u16_u8(vzip2q_u8(v2, v3));
    auto* out = reinterpret_cast<uint16_t*>(to);
    vst1q_u16(out, vzip1q_u16(low01, low23));
    vst1q_u16(out + 8, vzip2q_u16(low01, low23));
    vst1q_u16(out + 16, vzip1q_u16(high01, high23));
    vst1q_u16(out + 24, vzip2q_u16(high01, high23));
  }

  // kCount outputs next to each other.
  template <size_t kCount, bool kResidual, typename Window>
  WBCQ_INLINE static void multiply(const Window& window, const Epilogue& epilogue,
                                   const Residual& residual, const std::byte* columns,
                                   const std::byte* group, const Target& target) {
    int32x4_t sums[kCount][4];
#pragma GCC unroll 4
    for (size_t p = 0; p < 4; ++p) {
      int32x4_t acc[kCount];
#pragma GCC unroll 4
      for (size_t o = 0; o < kCount; ++o) acc[o] = load(group + p * 16);
      window.accumulate(columns + p * 16, group + kHeaderBytes + p * 16, acc);
#pragma GCC unroll 4
      for (size_t o = 0; o < kCount; ++o) sums[o][p] = acc[o];
    }
#pragma GCC unroll 4
    for (size_t o = 0; o < kCount; ++o) {
      finish<kResidual>(epilogue, residual, group, sums[o], target, o);
    }
  }
};

constexpr DwconvLayout kLayout = {/*lanes=*/1,
                                  /*parts=*/4,
                                  /*step_taps=*/Simd::kStepTaps,
                                  /*weight_bytes=*/1,
                                  DwconvTapOrder::kColumns,
                                  /*lhs_offset=*/128};

template <size_t kKernel, size_t kStride>
using Fixed = RunBuffered<Simd, FixedWindow<Simd, kKernel, kKernel, kStride>>;

}  // namespace

extern const DwconvKernel dwconv_3x3s1_arm_neondot = {"dwconv_u8_u8_s8c_3x3s1c16_neondot", kLayout,
                                                      is_window<3, 1>, run_row<Simd, Fixed<3, 1>>,
                                                      nullptr};

extern const DwconvKernel dwconv_3x3s2_arm_neondot = {"dwconv_u8_u8_s8c_3x3s2c16_neondot", kLayout,
                                                      is_window<3, 2>, run_row<Simd, Fixed<3, 2>>,
                                                      nullptr};

extern const DwconvKernel dwconv_5x5s1_arm_neondot = {"dwconv_u8_u8_s8c_5x5s1c16_neondot", kLayout,
                                                      is_window<5, 1>, run_row<Simd, Fixed<5, 1>>,
                                                      nullptr};

extern const DwconvKernel dwconv_5x5s2_arm_neondot = {"dwconv_u8_u8_s8c_5x5s2c16_neondot", kLayout,
                                                      is_window<5, 2>, run_row<Simd, Fixed<5, 2>>,
                                                      nullptr};

extern const DwconvKernel dwconv_any_arm_neondot = {
    "dwconv_u8_u8_s8c_anyc16_neondot", kLayout, fits_buffer<Simd>,
    run_row<Simd, RunBuffered<Simd, AnyWindow<Simd>>>, nullptr};

}  // namespace wbcq
