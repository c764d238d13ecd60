// Tiles of 64 pixels for AVX-512 VNNI. A step of four 1x4 blocks is 18 loads, two of them a cycle,
// for 16 vpdpbusd; the weights come out of one load through shuffles, which have a free port. A 4x4
// block needs nine loads for sixteen, which take the eight cycles they need anyway.
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/simd/floats_x86_avx512vnni.h"
#include "kernels/sparse/sparse.h"

#define WBCQ_INLINE inline __attribute__((always_inline))

namespace wbcq {

extern const SparseKernel sparse_x86_avx512vnni;

namespace {

constexpr size_t kLanes = 16;
constexpr size_t kVectors = 4;
constexpr bool kLoadsAhead = true;
constexpr bool kTwoSteps = false;

using Ints = __m512i;
using Quads = __m512i;
using FourWeights = __m512i;

struct Sums {
  static WBCQ_INLINE Sums of(Ints value) { return {value}; }
  __m512i v;
};

WBCQ_INLINE Quads load_quads(const uint8_t* p) { return _mm512_load_si512(p); }
WBCQ_INLINE FourWeights load_four(const int32_t* p) {
  return _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
template <size_t kOutput>
WBCQ_INLINE __m512i weights(FourWeights four) {
  return _mm512_shuffle_epi32(four, static_cast<_MM_PERM_ENUM>(0x55 * kOutput));
}
// Assembly, because GCC 12 copies and spills accumulators around the builtin's tied operand.
WBCQ_INLINE void dot(Sums& sums, Quads quads, __m512i weights) {
  __asm__("vpdpbusd %2, %1, %0" : "+v"(sums.v) : "v"(quads), "v"(weights));
}
WBCQ_INLINE Ints total(const Sums& sums) { return sums.v; }
WBCQ_INLINE Ints load_ints(const int32_t* p) { return _mm512_load_si512(p); }
WBCQ_INLINE Ints broadcast_ints(int32_t value) { return _mm512_set1_epi32(value); }
WBCQ_INLINE void store_ints(int32_t* p, Ints a) { _mm512_store_si512(p, a); }

using FloatWeights = __m512;
WBCQ_INLINE FloatWeights load_float_weights(const int32_t* p) {
  return _mm512_castsi512_ps(load_four(p));
}
template <size_t kOutput>
WBCQ_INLINE Floats float_weight(FloatWeights four) {
  return {_mm512_permute_ps(four, 0x55 * kOutput)};
}

class Requantizer {
 public:
  WBCQ_INLINE explicit Requantizer(const SparseTile& tile)
      : zero_point_(_mm512_set1_epi16(static_cast<int16_t>(tile.zero_point))),
        lo_(_mm512_set1_epi8(static_cast<char>(tile.lo))),
        hi_(_mm512_set1_epi8(static_cast<char>(tile.hi))),
        residual_zero_point_(_mm512_set1_epi32(tile.residual_zero_point)),
        residual_mult_(_mm512_set1_ps(tile.residual_multiplier)) {}

  // Packs work in each 128-bit part, which is where the four outputs of four pixels come together.
  WBCQ_INLINE void store(const Ints (&acc)[kSparseGroup], const float* mult,
                         const uint32_t* residual, uint32_t* out) const {
    __m512 x[kSparseGroup];
#pragma GCC unroll 4
    for (size_t o = 0; o < kSparseGroup; ++o) {
      x[o] = _mm512_mul_ps(_mm512_cvtepi32_ps(acc[o]), _mm512_set1_ps(mult[o]));
    }
    if (residual != nullptr) {
      const __m512i r = _mm512_load_si512(residual);
      const __m512i low = _mm512_set1_epi32(255);
      x[0] = add_shortcut(x[0], _mm512_and_si512(r, low));
      x[1] = add_shortcut(x[1], _mm512_and_si512(_mm512_srli_epi32(r, 8), low));
      x[2] = add_shortcut(x[2], _mm512_and_si512(_mm512_srli_epi32(r, 16), low));
      x[3] = add_shortcut(x[3], _mm512_srli_epi32(r, 24));
    }
    const __m512i words0 = _mm512_packs_epi32(_mm512_cvtps_epi32(x[0]), _mm512_cvtps_epi32(x[1]));
    const __m512i words1 = _mm512_packs_epi32(_mm512_cvtps_epi32(x[2]), _mm512_cvtps_epi32(x[3]));
    const __m512i bytes = _mm512_packus_epi16(_mm512_adds_epi16(words0, zero_point_),
                                              _mm512_adds_epi16(words1, zero_point_));
    const __m512i clamped = _mm512_max_epu8(_mm512_min_epu8(bytes, hi_), lo_);
    const __m512i by_pixel =
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
    _mm512_store_si512(out, _mm512_shuffle_epi8(clamped, by_pixel));
  }

 private:
  WBCQ_INLINE __m512 add_shortcut(__m512 x, __m512i residual) const {
    const __m512 shortcut = _mm512_cvtepi32_ps(_mm512_sub_epi32(residual, residual_zero_point_));
    return _mm512_add_ps(x, _mm512_mul_ps(shortcut, residual_mult_));
  }

  __m512i zero_point_;
  __m512i lo_;
  __m512i hi_;
  __m512i residual_zero_point_;
  __m512 residual_mult_;
};

WBCQ_INLINE void store_float(Ints acc, float mult, float bias, float* out) {
  const __m512 product = _mm512_mul_ps(_mm512_cvtepi32_ps(acc), _mm512_set1_ps(mult));
  _mm512_store_ps(out, _mm512_add_ps(product, _mm512_set1_ps(bias)));
}

WBCQ_INLINE void transpose(__m512i (&v)[16]) {
  __m512i t[16];
#pragma GCC unroll 8
  for (size_t i = 0; i < 8; ++i) {
    t[2 * i] = _mm512_unpacklo_epi32(v[2 * i], v[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_epi32(v[2 * i], v[2 * i + 1]);
  }
#pragma GCC unroll 4
  for (size_t i = 0; i < 16; i += 4) {
    v[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    v[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    v[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    v[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
#pragma GCC unroll 4
  for (size_t i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_i32x4(v[i], v[4 + i], 0x88);
    t[4 + i] = _mm512_shuffle_i32x4(v[i], v[4 + i], 0xdd);
    t[8 + i] = _mm512_shuffle_i32x4(v[8 + i], v[12 + i], 0x88);
    t[12 + i] = _mm512_shuffle_i32x4(v[8 + i], v[12 + i], 0xdd);
  }
#pragma GCC unroll 4
  for (size_t i = 0; i < 4; ++i) {
    v[i] = _mm512_shuffle_i32x4(t[i], t[8 + i], 0x88);
    v[8 + i] = _mm512_shuffle_i32x4(t[i], t[8 + i], 0xdd);
    v[4 + i] = _mm512_shuffle_i32x4(t[4 + i], t[12 + i], 0x88);
    v[12 + i] = _mm512_shuffle_i32x4(t[4 + i], t[12 + i], 0xdd);
  }
}

WBCQ_INLINE void permute(__m512i (&v)[16], const uint8_t* order) {
  const __m512i index = _mm512_loadu_si512(order);
#pragma GCC unroll 16
  for (size_t i = 0; i < 16; ++i) v[i] = _mm512_permutexvar_epi8(index, v[i]);
}

WBCQ_INLINE __mmask64 first_bytes(size_t count) {
  return count >= 64 ? ~__mmask64{0} : (__mmask64{1} << count) - 1;
}

constexpr size_t kChunk = kLanes * kSparseQuad;  // bytes of a pixel that one transposition takes

void gather(const SparseGather& args) {
  for (size_t p = 0; p < args.count; p += kLanes) {
    const uint8_t* pixels[kLanes];
    for (size_t i = 0; i < kLanes; ++i) {
      pixels[i] = args.pixels[p + i < args.count ? p + i : args.count - 1] + args.first;
    }
    for (size_t first = 0; first < args.bytes; first += kChunk) {
      const __mmask64 mask = first_bytes(args.bytes - first);
      __m512i v[kLanes];
#pragma GCC unroll 16
      for (size_t i = 0; i < kLanes; ++i) v[i] = _mm512_maskz_loadu_epi8(mask, pixels[i] + first);
      if (args.order != nullptr) permute(v, args.order);
      transpose(v);
      uint32_t* quads = args.quads + first / kSparseQuad * (kVectors * kLanes) + p;
      const size_t left = (args.bytes - first + kSparseQuad - 1) / kSparseQuad;
#pragma GCC unroll 16
      for (size_t i = 0; i < kLanes; ++i) {
        if (i < left) _mm512_store_si512(quads + i * (kVectors * kLanes), v[i]);
      }
    }
  }
}

void scatter(const SparseScatter& args) {
  for (size_t p = 0; p < args.count; p += kLanes) {
    uint8_t* pixels = args.pixels + p * args.pixel_stride;
    for (size_t first = 0; first < args.bytes; first += kChunk) {
      const uint32_t* quads = args.quads + first / kSparseQuad * (kVectors * kLanes) + p;
      const size_t left = (args.bytes - first + kSparseQuad - 1) / kSparseQuad;
      __m512i v[kLanes];
#pragma GCC unroll 16
      for (size_t i = 0; i < kLanes; ++i) {
        v[i] = _mm512_load_si512(quads + (i < left ? i : 0) * (kVectors * kLanes));
      }
      transpose(v);
      if (args.order != nullptr) permute(v, args.order);
      const __mmask64 mask = first_bytes(args.bytes - first);
#pragma GCC unroll 16
      for (size_t i = 0; i < kLanes; ++i) {
        if (p + i < args.count) {
          _mm512_mask_storeu_epi8(pixels + i * args.pixel_stride + first, mask, v[i]);
        }
      }
    }
  }
}

}  // namespace
}  // namespace wbcq

#include "kernels/sparse/vectorized.h"
#include "kernels/sparse/vectorized_f32.h"

namespace wbcq {

const SparseKernel sparse_x86_avx512vnni = {
    {"sparse_u8_u8_s8c_1x4_avx512vnni", "sparse_u8_u8_s8c_2x4_avx512vnni",
     "sparse_u8_u8_s8c_4x4_avx512vnni"},
    kPixels,
    {kSparsePartBytes, kSparsePartBytes, 2 * kSparsePartBytes},
    /*lhs_offset=*/0,
    gather,
    gather,
    scatter,
    {run_u8<1>, run_u8<2>, run_u8<4>},
    {run_f32<1>, run_f32<2>, run_f32<4>},
    {"sparse_f32_f32_f32_1x1_avx512vnni", "sparse_f32_f32_f32_2x1_avx512vnni",
     "sparse_f32_f32_f32_4x1_avx512vnni"},
    {run_float<1>, run_float<2>, run_float<4>}};

}  // namespace wbcq
