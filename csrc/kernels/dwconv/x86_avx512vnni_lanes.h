// Vectors of the AVX-512 VNNI depthwise kernels: 64 channels of a pixel, or fewer channels of
// several pixels, and the way from accumulators back to bytes. For x86_avx512vnni.cc alone.
#ifndef WBCQ_KERNELS_DWCONV_X86_AVX512VNNI_LANES_H_
#define WBCQ_KERNELS_DWCONV_X86_AVX512VNNI_LANES_H_

#include <immintrin.h>

#include "kernels/dwconv/dwconv.h"
#include "kernels/dwconv/window.h"

namespace wbcq {
namespace {

constexpr size_t kBlock = 64;
constexpr size_t kVectorBytes = 64;
constexpr size_t kStepBytes = 4 * kBlock;     // weights of one step, or four taps of all channels
constexpr size_t kHeaderBytes = 12 * kBlock;  // start, mult, bias

constexpr size_t group_bytes(size_t steps) { return kHeaderBytes + steps * kStepBytes; }

// A part of a packed group.
WBCQ_INLINE __m512i load_start(const std::byte* group, size_t part) {
  return _mm512_load_si512(group + part * kVectorBytes);
}
WBCQ_INLINE __m512i load_mult(const std::byte* group, size_t part) {
  return _mm512_load_si512(group + 4 * kBlock + part * kVectorBytes);
}
WBCQ_INLINE __m512i load_weights(const std::byte* group, size_t step, size_t part) {
  return _mm512_load_si512(group + group_bytes(step) + part * kVectorBytes);
}

// How the 64 bytes of a vector map to the row: kPieces stretches of the row's outputs, all equally
// long, and 64 / kPieces channels of one pixel of each. A group of up to 16 channels so computes
// four outputs at a time instead of leaving three quarters of every vector empty. Unpacking keeps
// 128-bit lanes apart, so only loads and stores know.
//
// Vector is what holds the channels of one pixel; fewer channels than it has are masked.
template <int kPieceCount, bool kMasked>
struct Lanes;

template <bool kMasked>
struct Lanes<1, kMasked> {
  static constexpr size_t kPieces = 1;
  static constexpr bool kWhole = !kMasked;
  using Vector = __m512i;
  __mmask64 mask;

  explicit Lanes(size_t channels) : mask(~uint64_t{0} >> (64 - channels)) {}
  WBCQ_INLINE Vector load(const uint8_t* p) const {
    return kMasked ? _mm512_maskz_loadu_epi8(mask, p) : _mm512_loadu_si512(p);
  }
  WBCQ_INLINE static void save(void* p, Vector v) { _mm512_store_si512(p, v); }
  WBCQ_INLINE __m512i join(const uint8_t* const (&p)[1]) const { return load(p[0]); }
  WBCQ_INLINE void split(uint8_t* const (&p)[1], __m512i v) const {
    if constexpr (kMasked) {
      _mm512_mask_storeu_epi8(p[0], mask, v);
    } else {
      _mm512_storeu_si512(p[0], v);
    }
  }
  WBCQ_INLINE static Vector unpacklo8(Vector a, Vector b) { return _mm512_unpacklo_epi8(a, b); }
  WBCQ_INLINE static Vector unpackhi8(Vector a, Vector b) { return _mm512_unpackhi_epi8(a, b); }
  WBCQ_INLINE static Vector unpacklo16(Vector a, Vector b) { return _mm512_unpacklo_epi16(a, b); }
  WBCQ_INLINE static Vector unpackhi16(Vector a, Vector b) { return _mm512_unpackhi_epi16(a, b); }
  WBCQ_INLINE static __m512i repeat(const std::byte* p) { return _mm512_load_si512(p); }
};

template <>
struct Lanes<2, true> {
  static constexpr size_t kPieces = 2;
  static constexpr bool kWhole = false;
  using Vector = __m256i;
  __mmask32 mask;

  explicit Lanes(size_t channels) : mask(~uint32_t{0} >> (32 - channels)) {}
  WBCQ_INLINE Vector load(const uint8_t* p) const { return _mm256_maskz_loadu_epi8(mask, p); }
  WBCQ_INLINE static void save(void* p, Vector v) {
    _mm256_store_si256(static_cast<__m256i*>(p), v);
  }
  WBCQ_INLINE __m512i join(const uint8_t* const (&p)[2]) const {
    return _mm512_inserti64x4(_mm512_castsi256_si512(load(p[0])), load(p[1]), 1);
  }
  WBCQ_INLINE void split(uint8_t* const (&p)[2], __m512i v) const {
    _mm256_mask_storeu_epi8(p[0], mask, _mm512_castsi512_si256(v));
    _mm256_mask_storeu_epi8(p[1], mask, _mm512_extracti64x4_epi64(v, 1));
  }
  WBCQ_INLINE static Vector unpacklo8(Vector a, Vector b) { return _mm256_unpacklo_epi8(a, b); }
  WBCQ_INLINE static Vector unpackhi8(Vector a, Vector b) { return _mm256_unpackhi_epi8(a, b); }
  WBCQ_INLINE static Vector unpacklo16(Vector a, Vector b) { return _mm256_unpacklo_epi16(a, b); }
  WBCQ_INLINE static Vector unpackhi16(Vector a, Vector b) { return _mm256_unpackhi_epi16(a, b); }
  // The channels of one piece, once for each piece.
  WBCQ_INLINE static __m512i repeat(const std::byte* p) {
    return _mm512_broadcast_i64x4(_mm256_load_si256(reinterpret_cast<const __m256i*>(p)));
  }
};

template <>
struct Lanes<4, true> {
  static constexpr size_t kPieces = 4;
  static constexpr bool kWhole = false;
  using Vector = __m128i;
  __mmask16 mask;

  explicit Lanes(size_t channels) : mask(static_cast<__mmask16>(0xFFFFu >> (16 - channels))) {}
  WBCQ_INLINE Vector load(const uint8_t* p) const { return _mm_maskz_loadu_epi8(mask, p); }
  WBCQ_INLINE static void save(void* p, Vector v) { _mm_store_si128(static_cast<__m128i*>(p), v); }
  WBCQ_INLINE __m512i join(const uint8_t* const (&p)[4]) const {
    __m512i v = _mm512_castsi128_si512(load(p[0]));
    v = _mm512_inserti32x4(v, load(p[1]), 1);
    v = _mm512_inserti32x4(v, load(p[2]), 2);
    return _mm512_inserti32x4(v, load(p[3]), 3);
  }
  WBCQ_INLINE void split(uint8_t* const (&p)[4], __m512i v) const {
    _mm_mask_storeu_epi8(p[0], mask, _mm512_castsi512_si128(v));
    _mm_mask_storeu_epi8(p[1], mask, _mm512_extracti32x4_epi32(v, 1));
    _mm_mask_storeu_epi8(p[2], mask, _mm512_extracti32x4_epi32(v, 2));
    _mm_mask_storeu_epi8(p[3], mask, _mm512_extracti32x4_epi32(v, 3));
  }
  WBCQ_INLINE static Vector unpacklo8(Vector a, Vector b) { return _mm_unpacklo_epi8(a, b); }
  WBCQ_INLINE static Vector unpackhi8(Vector a, Vector b) { return _mm_unpackhi_epi8(a, b); }
  WBCQ_INLINE static Vector unpacklo16(Vector a, Vector b) { return _mm_unpacklo_epi16(a, b); }
  WBCQ_INLINE static Vector unpackhi16(Vector a, Vector b) { return _mm_unpackhi_epi16(a, b); }
  WBCQ_INLINE static __m512i repeat(const std::byte* p) {
    return _mm512_broadcast_i32x4(_mm_load_si128(reinterpret_cast<const __m128i*>(p)));
  }
};

template <typename L>
WBCQ_INLINE const std::byte* repeat_group(const L&, const std::byte* group, size_t bytes,
                                          std::byte* to) {
  for (size_t i = 0; i < bytes; i += kVectorBytes) {
    _mm512_store_si512(to + i, L::repeat(group + i));
  }
  return to;
}

// Where the outputs of the pieces go.
template <typename L>
struct Output {
  uint8_t* pixels[L::kPieces];
  size_t stride;

  WBCQ_INLINE void write(const L& lanes, __m512i bytes) {
    lanes.split(pixels, bytes);
    for (uint8_t*& pixel : pixels) pixel += stride;
  }
};

// From accumulators to bytes.
class Epilogue {
 public:
  explicit Epilogue(const DwconvRow& row)
      : hi_(_mm512_set1_ps(static_cast<float>(row.hi - row.zero_point))),
        zero_point_(_mm512_set1_epi16(static_cast<int16_t>(row.zero_point))),
        lo_(_mm512_set1_epi8(static_cast<char>(row.lo))) {}

  WBCQ_INLINE static __m512 product(__m512i acc, __m512i mult) {
    return _mm512_mul_ps(_mm512_cvtepi32_ps(acc), _mm512_castsi512_ps(mult));
  }
  // An integer of at most hi, zero point not yet added. Too large is caught before the conversion;
  // too small, even beyond int32, becomes a large negative number, which the packs saturate.
  WBCQ_INLINE __m512i round(__m512 value) const {
    return _mm512_cvtps_epi32(_mm512_min_ps(value, hi_));
  }
  WBCQ_INLINE __m512i scale(__m512i acc, __m512i mult) const { return round(product(acc, mult)); }
  // Four parts to bytes in the channels' own order.
  WBCQ_INLINE __m512i narrow(__m512i q0, __m512i q1, __m512i q2, __m512i q3) const {
    return narrow(_mm512_packs_epi32(q0, q1), _mm512_packs_epi32(q2, q3));
  }
  WBCQ_INLINE __m512i narrow(__m512i words01, __m512i words23) const {
    words01 = _mm512_adds_epi16(words01, zero_point_);
    words23 = _mm512_adds_epi16(words23, zero_point_);
    return _mm512_max_epu8(_mm512_packus_epi16(words01, words23), lo_);
  }

 private:
  __m512 hi_;
  __m512i zero_point_;
  __m512i lo_;
};

}  // namespace
}  // namespace wbcq

#endif  // WBCQ_KERNELS_DWCONV_X86_AVX512VNNI_LANES_H_
