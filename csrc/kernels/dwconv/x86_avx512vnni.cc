// Depthwise kernels of AVX-512 VNNI (docs/design/depthwise.md): rows are interleaved so that
// VPDPBUSD multiplies four taps of a channel at once. It does not saturate: sums are exact modulo
// 2^32.
#include <immintrin.h>

#include "kernels/dwconv/buffered.h"
#include "kernels/dwconv/dwconv.h"
#include "kernels/dwconv/x86_avx512vnni_3x3.h"
#include "kernels/dwconv/x86_avx512vnni_5x5.h"
#include "kernels/dwconv/x86_avx512vnni_lanes.h"

namespace wbcq {
namespace {

// The shortcut's share of a result.
class Shortcut {
 public:
  explicit Shortcut(const DwconvRow& row)
      : zero_point_(_mm512_set1_epi32(row.residual_zero_point)),
        multiplier_(_mm512_set1_ps(row.residual_multiplier)) {}

  WBCQ_INLINE __m512 part(__m512i bytes, size_t p) const {
    const __m512i zero = _mm512_setzero_si512();
    const __m512i words =
        p < 2 ? _mm512_unpacklo_epi8(bytes, zero) : _mm512_unpackhi_epi8(bytes, zero);
    const __m512i value =
        p % 2 == 0 ? _mm512_unpacklo_epi16(words, zero) : _mm512_unpackhi_epi16(words, zero);
    return _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(value, zero_point_)), multiplier_);
  }

 private:
  __m512i zero_point_;
  __m512 multiplier_;
};

// For buffered.h: a step holds four taps of 64 channels in the four vectors that unpacking gives.
struct Simd {
  static constexpr size_t kBlock = wbcq::kBlock;
  static constexpr size_t kStepTaps = 4;
  static constexpr size_t kStepBytes = wbcq::kStepBytes;
  static constexpr size_t kWeightBytes = wbcq::kStepBytes;
  // Loads at a distance of 1024 bytes take twice as long.
  static constexpr size_t kSkewBytes = kVectorBytes;
  static constexpr size_t kOutputs = 4;
  using Vector = __m512i;
  using Epilogue = wbcq::Epilogue;
  using Residual = Shortcut;

  WBCQ_INLINE static Vector load(const std::byte* p) { return _mm512_load_si512(p); }
  // Assembly, because GCC 12 copies and spills accumulators around the builtin's tied operand.
  WBCQ_INLINE static void multiply_add(Vector& acc, Vector taps, Vector weights) {
    __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(taps), "v"(weights));
  }

  template <typename L>
  WBCQ_INLINE static void interleave(const L& lanes, const uint8_t* const (&pixels)[4],
                                     std::byte* to) {
    const auto v0 = lanes.load(pixels[0]);
    const auto v1 = lanes.load(pixels[1]);
    const auto v2 = lanes.load(pixels[2]);
    const auto v3 = lanes.load(pixels[3]);
    const auto low01 = L::unpacklo8(v0, v1);
    const auto high01 = L::unpackhi8(v0, v1);
    const auto low23 = L::unpacklo8(v2, v3);
    const auto high23 = L::unpackhi8(v2, v3);
    L::save(to, L::unpacklo16(low01, low23));
    L::save(to + kVectorBytes, L::unpackhi16(low01, low23));
    L::save(to + 2 * kVectorBytes, L::unpacklo16(high01, high23));
    L::save(to + 3 * kVectorBytes, L::unpackhi16(high01, high23));
  }

  // kCount outputs next to each other.
  template <size_t kCount, bool kResidual, typename Window>
  WBCQ_INLINE static void multiply(const Window& window, const Epilogue& epilogue,
                                   const Residual& residual, const std::byte* columns,
                                   const std::byte* group, const Target& target) {
    __m512i q[4][kCount];
#pragma GCC unroll 4
    for (size_t p = 0; p < 4; ++p) {
      __m512i acc[kCount];
#pragma GCC unroll 4
      for (size_t o = 0; o < kCount; ++o) acc[o] = load_start(group, p);
      window.accumulate(columns + p * kVectorBytes, group + kHeaderBytes + p * kVectorBytes, acc);
      const __m512i mult = load_mult(group, p);
#pragma GCC unroll 4
      for (size_t o = 0; o < kCount; ++o) {
        __m512 value = Epilogue::product(acc[o], mult);
        if constexpr (kResidual) {
          const __m512i bytes = _mm512_loadu_si512(target.residual + o * target.residual_stride);
          value = _mm512_add_ps(value, residual.part(bytes, p));
        }
        q[p][o] = epilogue.round(value);
        if (p % 2 == 1) q[p][o] = _mm512_packs_epi32(q[p - 1][o], q[p][o]);
      }
    }
#pragma GCC unroll 4
    for (size_t o = 0; o < kCount; ++o) {
      _mm512_storeu_si512(target.out + o * target.out_stride, epilogue.narrow(q[1][o], q[3][o]));
    }
  }

  template <typename L>
  static void join(const L& lanes, const uint8_t* const (&pixels)[L::kPieces], uint8_t* to) {
    _mm512_store_si512(to, lanes.join(pixels));
  }
  template <typename L>
  static void split(const L& lanes, const uint8_t* from, uint8_t* const (&pixels)[L::kPieces]) {
    lanes.split(pixels, _mm512_load_si512(from));
  }

  // The whole groups of a row, then the last one in as many pieces as its channels leave room for.
  template <typename Kernel>
  static void run_groups(const DwconvRow& row) {
    const size_t tail = row.channels % kBlock;
    const size_t whole = row.channels - tail;
    if (whole > 0) Kernel::run(row, Lanes<1, false>(kBlock), 0, whole);
    if (tail > 32) {
      Kernel::run(row, Lanes<1, true>(tail), whole, tail);
    } else if (tail > 16) {
      Kernel::run(row, Lanes<2, true>(tail), whole, tail);
    } else if (tail > 0) {
      Kernel::run(row, Lanes<4, true>(tail), whole, tail);
    }
  }
};

constexpr DwconvLayout kLayout = {/*lanes=*/4,
                                  /*parts=*/4,
                                  /*step_taps=*/Simd::kStepTaps,
                                  /*weight_bytes=*/1,
                                  DwconvTapOrder::kColumns,
                                  /*lhs_offset=*/0};

}  // namespace

extern const DwconvKernel dwconv_3x3s1_x86_avx512vnni = {"dwconv_u8_u8_s8c_3x3s1c64_avx512vnni",
                                                         kLayout, is_window<3, 1>,
                                                         run_row<Simd, Run3x3<1>>, nullptr};

extern const DwconvKernel dwconv_3x3s2_x86_avx512vnni = {"dwconv_u8_u8_s8c_3x3s2c64_avx512vnni",
                                                         kLayout, is_window<3, 2>,
                                                         run_row<Simd, Run3x3<2>>, nullptr};

extern const DwconvKernel dwconv_5x5s1_x86_avx512vnni = {
    "dwconv_u8_u8_s8c_5x5s1c64_avx512vnni", kLayout, is_window<5, 1>,
    run_row<Simd, Run5x5<Simd, 1>>,         nullptr, kBandRows};

extern const DwconvKernel dwconv_5x5s2_x86_avx512vnni = {
    "dwconv_u8_u8_s8c_5x5s2c64_avx512vnni", kLayout, is_window<5, 2>,
    run_row<Simd, Run5x5<Simd, 2>>,         nullptr, kBandRows};

extern const DwconvKernel dwconv_any_x86_avx512vnni = {
    "dwconv_u8_u8_s8c_anyc64_avx512vnni", kLayout, fits_buffer<Simd>,
    run_row<Simd, RunBuffered<Simd, AnyWindow<Simd>>>, nullptr};

}  // namespace wbcq
