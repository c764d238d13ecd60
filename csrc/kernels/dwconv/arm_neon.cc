// Depthwise kernels of Advanced SIMD (docs/design/depthwise.md). SMULL and SMLAL add the products
// of two taps in 16 bits: 2 * 128 * 127 = 32512 is exact. Then they are added to 32 bits, modulo
// 2^32.
#include "kernels/dwconv/arm_lanes.h"
#include "kernels/dwconv/buffered.h"
#include "kernels/dwconv/dwconv.h"

namespace wbcq {
namespace {

// A step holds one tap of 16 channels.
struct Simd : SimdBase {
  static constexpr size_t kStepTaps = 1;
  static constexpr size_t kStepBytes = kBlock;
  static constexpr size_t kWeightBytes = kBlock;
  static constexpr size_t kOutputs = 2;

  template <typename Lanes>
  WBCQ_INLINE static void interleave(const Lanes& lanes, const uint8_t* const (&pixels)[1],
                                     std::byte* to) {
    vst1q_u8(reinterpret_cast<uint8_t*>(to), to_signed(lanes.load(pixels[0])));
  }

  // kCount outputs next to each other.
  template <size_t kCount, bool kResidual, typename Window>
  WBCQ_INLINE static void multiply(const Window& window, const Epilogue& epilogue,
                                   const Residual& residual, const std::byte* columns,
                                   const std::byte* group, const Target& target) {
    int32x4_t acc[kCount][4];
#pragma GCC unroll 4
    for (size_t p = 0; p < 4; ++p) {
      acc[0][p] = vld1q_s32(reinterpret_cast<const int32_t*>(group) + 4 * p);
#pragma GCC unroll 2
      for (size_t o = 1; o < kCount; ++o) acc[o][p] = acc[0][p];
    }
    const std::byte* weights = group + kHeaderBytes;
    size_t s = 0;
    for (; s + 2 <= window.steps(); s += 2, weights += 2 * kWeightBytes) {
      const int8x16_t w0 = load(weights);
      const int8x16_t w1 = load(weights + kWeightBytes);
#pragma GCC unroll 2
      for (size_t o = 0; o < kCount; ++o) {
        const std::byte* output = columns + o * window.stride_bytes();
        const int8x16_t v0 = load(output + window.offset(s));
        const int8x16_t v1 = load(output + window.offset(s + 1));
        const int16x8_t low =
            vmlal_s8(vmull_s8(vget_low_s8(v0), vget_low_s8(w0)), vget_low_s8(v1), vget_low_s8(w1));
        add(acc[o], low, vmlal_high_s8(vmull_high_s8(v0, w0), v1, w1));
      }
    }
    if (s < window.steps()) {
      const int8x16_t w = load(weights);
#pragma GCC unroll 2
      for (size_t o = 0; o < kCount; ++o) {
        const int8x16_t v = load(columns + o * window.stride_bytes() + window.offset(s));
        add(acc[o], vmull_s8(vget_low_s8(v), vget_low_s8(w)), vmull_high_s8(v, w));
      }
    }
#pragma GCC unroll 2
    for (size_t o = 0; o < kCount; ++o) {
      finish<kResidual>(epilogue, residual, group, acc[o], target, o);
    }
  }

 private:
  WBCQ_INLINE static int8x16_t load(const std::byte* p) {
    return vld1q_s8(reinterpret_cast<const int8_t*>(p));
  }
  WBCQ_INLINE static void add(int32x4_t (&acc)[4], int16x8_t low, int16x8_t high) {
    acc[0] = vaddw_s16(acc[0], vget_low_s16(low));
    acc[1] = vaddw_high_s16(acc[1], low);
    acc[2] = vaddw_s16(acc[2], vget_low_s16(high));
    acc[3] = vaddw_high_s16(acc[3], high);
  }
};

constexpr DwconvLayout kLayout = {/*lanes=*/1,
                                  /*parts=*/4,
                                  /*step_taps=*/Simd::kStepTaps,
                                  /*weight_bytes=*/1,
                                  DwconvTapOrder::kColumns,
                                  /*lhs_offset=*/128};

template <size_t kStride>
using Fixed3x3 = RunBuffered<Simd, FixedWindow<Simd, 3, 3, kStride>>;

}  // namespace

extern const DwconvKernel dwconv_3x3s1_arm_neon = {"dwconv_u8_u8_s8c_3x3s1c16_neon", kLayout,
                                                   is_window<3, 1>, run_row<Simd, Fixed3x3<1>>,
                                                   nullptr};

extern const DwconvKernel dwconv_3x3s2_arm_neon = {"dwconv_u8_u8_s8c_3x3s2c16_neon", kLayout,
                                                   is_window<3, 2>, run_row<Simd, Fixed3x3<2>>,
                                                   nullptr};

extern const DwconvKernel dwconv_any_arm_neon = {
    "dwconv_u8_u8_s8c_anyc16_neon", kLayout, fits_buffer<Simd>,
    run_row<Simd, RunBuffered<Simd, AnyWindow<Simd>>>, nullptr};

}  // namespace wbcq
