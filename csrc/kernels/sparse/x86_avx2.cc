// Tiles of 16 pixels for AVX2 without VNNI. As in the dense kernel, the product of a u8 and an s8
// pair saturates vpmaddubsw, so activations are taken as s8 = u8 - 128 and their sign moves to the
// weights: x * w = |x| * (sign(x) * w), of which int16 holds every pair. A product is five
// instructions, against four in the dense kernel, where |x| serves all columns; 4x4 blocks share
// it.
//
// Eight accumulators, x and |x| of both vectors, a weight and the product fill the 16 registers.
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/simd/floats_x86_avx2.h"
#include "kernels/sparse/sparse.h"

#define WBCQ_INLINE inline __attribute__((always_inline))

namespace wbcq {

extern const SparseKernel sparse_x86_avx2;

namespace {

constexpr size_t kLanes = 8;
constexpr size_t kVectors = 2;
constexpr bool kLoadsAhead = false;
constexpr bool kTwoSteps = false;

using Ints = __m256i;
using Bytes = __m256i;
using FourWeights =
    const int32_t*;  // broadcasts come from memory: loads have time, shuffles do not

struct Quads {
  __m256i value;
  __m256i magnitude;
};

struct Sums {
  static WBCQ_INLINE Sums of(Ints value) { return {value}; }
  __m256i v;
};

WBCQ_INLINE __m256i load(const void* p) {
  return _mm256_load_si256(static_cast<const __m256i*>(p));
}

WBCQ_INLINE Quads load_quads(const uint8_t* p) {
  const __m256i value = load(p);
  return {value, _mm256_abs_epi8(value)};
}
WBCQ_INLINE FourWeights load_four(const int32_t* p) { return p; }
template <size_t kOutput>
WBCQ_INLINE __m256i weights(FourWeights four) {
  return _mm256_set1_epi32(four[kOutput]);
}
WBCQ_INLINE void dot(Sums& sums, const Quads& quads, __m256i weights) {
  const __m256i pairs =
      _mm256_maddubs_epi16(quads.magnitude, _mm256_sign_epi8(weights, quads.value));
  sums.v = _mm256_add_epi32(sums.v, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
WBCQ_INLINE Ints total(const Sums& sums) { return sums.v; }
WBCQ_INLINE Ints load_ints(const int32_t* p) { return load(p); }
WBCQ_INLINE Ints broadcast_ints(int32_t value) { return _mm256_set1_epi32(value); }
WBCQ_INLINE void store_ints(int32_t* p, Ints a) {
  _mm256_store_si256(reinterpret_cast<__m256i*>(p), a);
}

// In float loads are what limits: one brings the weights of four outputs.
using FloatWeights = __m256;
WBCQ_INLINE FloatWeights load_float_weights(const int32_t* p) {
  return _mm256_broadcast_ps(reinterpret_cast<const __m128*>(p));
}
template <size_t kOutput>
WBCQ_INLINE Floats float_weight(FloatWeights four) {
  return {_mm256_permute_ps(four, 0x55 * kOutput)};
}

class Requantizer {
 public:
  WBCQ_INLINE explicit Requantizer(const SparseTile& tile)
      : zero_point_(_mm256_set1_epi16(static_cast<int16_t>(tile.zero_point))),
        lo_(_mm256_set1_epi8(static_cast<char>(tile.lo))),
        hi_(_mm256_set1_epi8(static_cast<char>(tile.hi))),
        residual_zero_point_(_mm256_set1_epi32(tile.residual_zero_point)),
        residual_mult_(_mm256_set1_ps(tile.residual_multiplier)) {}

  // Packs work in each 128-bit part, which is where the four outputs of four pixels come together.
  WBCQ_INLINE void store(const Ints (&acc)[kSparseGroup], const float* mult,
                         const uint32_t* residual, uint32_t* out) const {
    __m256 x[kSparseGroup];
#pragma GCC unroll 4
    for (size_t o = 0; o < kSparseGroup; ++o) {
      x[o] = _mm256_mul_ps(_mm256_cvtepi32_ps(acc[o]), _mm256_set1_ps(mult[o]));
    }
    if (residual != nullptr) {
      const __m256i r = load(residual);
      const __m256i low = _mm256_set1_epi32(255);
      x[0] = add_shortcut(x[0], _mm256_and_si256(r, low));
      x[1] = add_shortcut(x[1], _mm256_and_si256(_mm256_srli_epi32(r, 8), low));
      x[2] = add_shortcut(x[2], _mm256_and_si256(_mm256_srli_epi32(r, 16), low));
      x[3] = add_shortcut(x[3], _mm256_srli_epi32(r, 24));
    }
    const __m256i words0 = _mm256_packs_epi32(_mm256_cvtps_epi32(x[0]), _mm256_cvtps_epi32(x[1]));
    const __m256i words1 = _mm256_packs_epi32(_mm256_cvtps_epi32(x[2]), _mm256_cvtps_epi32(x[3]));
    const __m256i bytes = _mm256_packus_epi16(_mm256_adds_epi16(words0, zero_point_),
                                              _mm256_adds_epi16(words1, zero_point_));
    const __m256i clamped = _mm256_max_epu8(_mm256_min_epu8(bytes, hi_), lo_);
    const __m256i by_pixel = _mm256_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15,
                                              0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    _mm256_store_si256(reinterpret_cast<__m256i*>(out), _mm256_shuffle_epi8(clamped, by_pixel));
  }

 private:
  WBCQ_INLINE __m256 add_shortcut(__m256 x, __m256i residual) const {
    const __m256 shortcut = _mm256_cvtepi32_ps(_mm256_sub_epi32(residual, residual_zero_point_));
    return _mm256_add_ps(x, _mm256_mul_ps(shortcut, residual_mult_));
  }

  __m256i zero_point_;
  __m256i lo_;
  __m256i hi_;
  __m256i residual_zero_point_;
  __m256 residual_mult_;
};

WBCQ_INLINE void store_float(Ints acc, float mult, float bias, float* out) {
  const __m256 product = _mm256_mul_ps(_mm256_cvtepi32_ps(acc), _mm256_set1_ps(mult));
  _mm256_store_ps(out, _mm256_add_ps(product, _mm256_set1_ps(bias)));
}

WBCQ_INLINE Bytes load_bytes(const void* p) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}
WBCQ_INLINE void store_bytes(void* p, Bytes a) { _mm256_store_si256(static_cast<__m256i*>(p), a); }
WBCQ_INLINE Bytes centred(Bytes a) { return _mm256_xor_si256(a, _mm256_set1_epi8(-128)); }

WBCQ_INLINE void transpose(Bytes (&v)[kLanes]) {
  __m256i t[kLanes];
#pragma GCC unroll 4
  for (size_t i = 0; i < 4; ++i) {
    t[2 * i] = _mm256_unpacklo_epi32(v[2 * i], v[2 * i + 1]);
    t[2 * i + 1] = _mm256_unpackhi_epi32(v[2 * i], v[2 * i + 1]);
  }
#pragma GCC unroll 2
  for (size_t i = 0; i < 8; i += 4) {
    v[i] = _mm256_unpacklo_epi64(t[i], t[i + 2]);
    v[i + 1] = _mm256_unpackhi_epi64(t[i], t[i + 2]);
    v[i + 2] = _mm256_unpacklo_epi64(t[i + 1], t[i + 3]);
    v[i + 3] = _mm256_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
#pragma GCC unroll 4
  for (size_t i = 0; i < 4; ++i) {
    const __m256i low = _mm256_permute2x128_si256(v[i], v[4 + i], 0x20);
    v[4 + i] = _mm256_permute2x128_si256(v[i], v[4 + i], 0x31);
    v[i] = low;
  }
}

// A byte of the chunk may come from any of its four quarters: from each a shuffle, which gives
// zeros where it is not the one.
class Places {
 public:
  explicit Places(const uint8_t* order) {
    if (order == nullptr) return;
    for (size_t half = 0; half < 2; ++half) {
      for (size_t quarter = 0; quarter < 4; ++quarter) {
        const __m256i from = _mm256_xor_si256(load_bytes(order + half * 32),
                                              _mm256_set1_epi8(static_cast<char>(quarter * 16)));
        index_[half][quarter] = _mm256_adds_epu8(from, _mm256_set1_epi8(0x70));
      }
    }
  }
  WBCQ_INLINE void apply(uint8_t* chunk) const {
    __m256i result[2];
    for (size_t half = 0; half < 2; ++half) {
      __m256i parts[4];
      for (size_t quarter = 0; quarter < 4; ++quarter) {
        const __m256i bytes = _mm256_broadcastsi128_si256(
            _mm_load_si128(reinterpret_cast<const __m128i*>(chunk + quarter * 16)));
        parts[quarter] = _mm256_shuffle_epi8(bytes, index_[half][quarter]);
      }
      result[half] =
          _mm256_or_si256(_mm256_or_si256(parts[0], parts[1]), _mm256_or_si256(parts[2], parts[3]));
    }
    store_bytes(chunk, result[0]);
    store_bytes(chunk + 32, result[1]);
  }

 private:
  __m256i index_[2][4];
};

}  // namespace
}  // namespace wbcq

#include "kernels/sparse/chunks.h"
#include "kernels/sparse/vectorized.h"
#include "kernels/sparse/vectorized_f32.h"

namespace wbcq {

const SparseKernel sparse_x86_avx2 = {
    {"sparse_u8_u8_s8c_1x4_avx2", "sparse_u8_u8_s8c_2x4_avx2", "sparse_u8_u8_s8c_4x4_avx2"},
    kPixels,
    {kSparsePartBytes, kSparsePartBytes, kSparsePartBytes},
    /*lhs_offset=*/128,
    gather_chunks<true>,
    gather_chunks<false>,
    scatter_chunks,
    {run_u8<1>, run_u8<2>, run_u8<4>},
    {run_f32<1>, run_f32<2>, run_f32<4>},
    {"sparse_f32_f32_f32_1x1_avx2", "sparse_f32_f32_f32_2x1_avx2", "sparse_f32_f32_f32_4x1_avx2"},
    {run_float<1>, run_float<2>, run_float<4>}};

}  // namespace wbcq
