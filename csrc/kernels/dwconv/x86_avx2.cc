// Depthwise kernels of AVX2 (docs/design/depthwise.md). VPMADDWD multiplies two taps of a channel
// at once, widened to words: two products of at most 255 * 127 are exact, which VPMADDUBSW's words
// would not hold.
#include <immintrin.h>

#include "kernels/dwconv/buffered.h"
#include "kernels/dwconv/dwconv.h"

namespace wbcq {
namespace {

constexpr size_t kVectorBytes = 32;
constexpr size_t kParts = 2;

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

// The 16 channels of a whole group.
struct WholeGroup {
  static constexpr size_t kPieces = 1;
  static constexpr bool kWhole = true;
  WBCQ_INLINE __m128i load(const uint8_t* p) const {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  }
  WBCQ_INLINE static void save(uint8_t* p, __m128i v) {
    _mm_store_si128(reinterpret_cast<__m128i*>(p), v);
  }
};

// Fewer than 16.
struct PartOfGroup {
  static constexpr size_t kPieces = 1;
  static constexpr bool kWhole = false;
  size_t channels;
  WBCQ_INLINE __m128i load(const uint8_t* p) const {
    if (channels < 8) return _mm_cvtsi64_si128(static_cast<long long>(load_up_to_8(p, channels)));
    const __m128i low = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
    if (channels == 8) return low;
    return _mm_insert_epi64(low, static_cast<long long>(load_up_to_8(p + 8, channels - 8)), 1);
  }
  WBCQ_INLINE static void save(uint8_t* p, __m128i v) { WholeGroup::save(p, v); }
};

class Epilogue {
 public:
  explicit Epilogue(const DwconvRow& row)
      : hi_(_mm256_set1_ps(static_cast<float>(row.hi - row.zero_point))),
        zero_point_(_mm256_set1_epi16(static_cast<int16_t>(row.zero_point))),
        lo_(_mm_set1_epi8(static_cast<char>(row.lo))) {}

  // An integer of at most hi, zero point not yet added. Too large is caught before the conversion;
  // too small, even beyond int32, becomes a large negative number, which the packs saturate.
  WBCQ_INLINE __m256i round(__m256 value) const {
    return _mm256_cvtps_epi32(_mm256_min_ps(value, hi_));
  }
  // Two parts to bytes in the channels' own order.
  WBCQ_INLINE __m128i narrow(__m256i q0, __m256i q1) const {
    const __m256i words = _mm256_adds_epi16(_mm256_packs_epi32(q0, q1), zero_point_);
    const __m128i bytes =
        _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    return _mm_max_epu8(bytes, lo_);
  }

 private:
  __m256 hi_;
  __m256i zero_point_;
  __m128i lo_;
};

// The shortcut's share of a result.
class Shortcut {
 public:
  explicit Shortcut(const DwconvRow& row)
      : zero_point_(_mm256_set1_epi32(row.residual_zero_point)),
        multiplier_(_mm256_set1_ps(row.residual_multiplier)) {}

  WBCQ_INLINE __m256 part(const uint8_t* pixel, size_t p) const {
    const __m256i words =
        _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(pixel)));
    const __m256i zero = _mm256_setzero_si256();
    const __m256i value =
        p == 0 ? _mm256_unpacklo_epi16(words, zero) : _mm256_unpackhi_epi16(words, zero);
    return _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_sub_epi32(value, zero_point_)), multiplier_);
  }

 private:
  __m256i zero_point_;
  __m256 multiplier_;
};

// For buffered.h: a step holds two taps of 16 channels as words, in the two vectors that unpacking
// gives.
struct Simd {
  static constexpr size_t kBlock = 16;
  static constexpr size_t kStepTaps = 2;
  static constexpr size_t kStepBytes = kParts * kVectorBytes;
  static constexpr size_t kWeightBytes = kParts * kVectorBytes;
  static constexpr size_t kSkewBytes = 0;
  static constexpr size_t kOutputs = 4;
  using Vector = __m256i;
  using Epilogue = wbcq::Epilogue;
  using Residual = Shortcut;

  WBCQ_INLINE static Vector load(const std::byte* p) {
    return _mm256_load_si256(reinterpret_cast<const __m256i*>(p));
  }
  WBCQ_INLINE static void multiply_add(Vector& acc, Vector taps, Vector weights) {
    acc = _mm256_add_epi32(acc, _mm256_madd_epi16(taps, weights));
  }

  template <typename Lanes>
  WBCQ_INLINE static void interleave(const Lanes& lanes, const uint8_t* const (&pixels)[2],
                                     std::byte* to) {
    const __m256i v0 = _mm256_cvtepu8_epi16(lanes.load(pixels[0]));
    const __m256i v1 = _mm256_cvtepu8_epi16(lanes.load(pixels[1]));
    auto* out = reinterpret_cast<__m256i*>(to);
    _mm256_store_si256(out, _mm256_unpacklo_epi16(v0, v1));
    _mm256_store_si256(out + 1, _mm256_unpackhi_epi16(v0, v1));
  }

  // kCount outputs next to each other.
  template <size_t kCount, bool kResidual, typename Window>
  WBCQ_INLINE static void multiply(const Window& window, const Epilogue& epilogue,
                                   const Residual& residual, const std::byte* columns,
                                   const std::byte* group, const Target& target) {
    __m256i q[kParts][kCount];
#pragma GCC unroll 2
    for (size_t p = 0; p < kParts; ++p) {
      __m256i acc[kCount];
#pragma GCC unroll 4
      for (size_t o = 0; o < kCount; ++o) acc[o] = load(group + p * kVectorBytes);
      window.accumulate(columns + p * kVectorBytes, group + 12 * kBlock + p * kVectorBytes, acc);
      const __m256 mult = _mm256_castsi256_ps(load(group + 4 * kBlock + p * kVectorBytes));
#pragma GCC unroll 4
      for (size_t o = 0; o < kCount; ++o) {
        __m256 value = _mm256_mul_ps(_mm256_cvtepi32_ps(acc[o]), mult);
        if constexpr (kResidual) {
          const uint8_t* pixel = target.residual + o * target.residual_stride;
          value = _mm256_add_ps(value, residual.part(pixel, p));
        }
        q[p][o] = epilogue.round(value);
      }
    }
#pragma GCC unroll 4
    for (size_t o = 0; o < kCount; ++o) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(target.out + o * target.out_stride),
                       epilogue.narrow(q[0][o], q[1][o]));
    }
  }

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
};

constexpr DwconvLayout kLayout = {/*lanes=*/2,
                                  /*parts=*/kParts,
                                  /*step_taps=*/Simd::kStepTaps,
                                  /*weight_bytes=*/2,
                                  DwconvTapOrder::kColumns,
                                  /*lhs_offset=*/0};

}  // namespace

extern const DwconvKernel dwconv_any_x86_avx2 = {
    "dwconv_u8_u8_s8c_anyc16_avx2", kLayout, fits_buffer<Simd>,
    run_row<Simd, RunBuffered<Simd, AnyWindow<Simd>>>, nullptr};

}  // namespace wbcq
