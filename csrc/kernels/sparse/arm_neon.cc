// Tiles of 8 pixels for ARMv8.0, which has no dot product. As in the dense kernel activations are
// taken as s8 = u8 - 128, so that int16 holds the sum of two products: those of two steps of a
// list. A vector of such sums is of two pixels, two to be added for each; an accumulator keeps them
// so, and one pairwise addition finishes four pixels.
//
// 16 accumulators; two vectors of activations and one of weights for each of two steps, and the
// products in flight.
#include "kernels/sparse/arm_lanes.h"

namespace wbcq {

extern const SparseKernel sparse_arm_neon;

namespace {

constexpr size_t kVectors = 2;
constexpr bool kLoadsAhead = false;
constexpr bool kTwoSteps = true;

using FourWeights = const int32_t*;

struct Sums {
  static WBCQ_INLINE Sums of(Ints value) {
    const int32x4_t zero = vdupq_n_s32(0);
    return {vzip1q_s32(value, zero), vzip2q_s32(value, zero)};
  }
  int32x4_t low;
  int32x4_t high;
};

WBCQ_INLINE Quads load_quads(const uint8_t* p) { return vreinterpretq_s8_u8(vld1q_u8(p)); }
WBCQ_INLINE FourWeights load_four(const int32_t* p) { return p; }
template <size_t kOutput>
WBCQ_INLINE int8x16_t weights(FourWeights four) {
  return vreinterpretq_s8_s32(vld1q_dup_s32(four + kOutput));
}
WBCQ_INLINE void dot(Sums& sums, Quads quads, int8x16_t w) {
  sums.low = vpadalq_s16(sums.low, vmull_s8(vget_low_s8(quads), vget_low_s8(w)));
  sums.high = vpadalq_s16(sums.high, vmull_high_s8(quads, w));
}
WBCQ_INLINE void dot(Sums& sums, Quads a, int8x16_t w, Quads b, int8x16_t x) {
  const int16x8_t low = vmull_s8(vget_low_s8(a), vget_low_s8(w));
  const int16x8_t high = vmull_high_s8(a, w);
  sums.low = vpadalq_s16(sums.low, vmlal_s8(low, vget_low_s8(b), vget_low_s8(x)));
  sums.high = vpadalq_s16(sums.high, vmlal_high_s8(high, b, x));
}
WBCQ_INLINE Ints total(const Sums& sums) { return vpaddq_s32(sums.low, sums.high); }

}  // namespace
}  // namespace wbcq

#include "kernels/sparse/chunks.h"
#include "kernels/sparse/vectorized.h"
#include "kernels/sparse/vectorized_f32.h"

namespace wbcq {

const SparseKernel sparse_arm_neon = {
    {"sparse_u8_u8_s8c_1x4_neon", "sparse_u8_u8_s8c_2x4_neon", "sparse_u8_u8_s8c_4x4_neon"},
    kPixels,
    {kSparsePartBytes, kSparsePartBytes, kSparsePartBytes},
    /*lhs_offset=*/128,
    gather_chunks<true>,
    gather_chunks<false>,
    scatter_chunks,
    {run_u8<1>, run_u8<2>, run_u8<4>},
    {run_f32<1>, run_f32<2>, run_f32<4>},
    {"sparse_f32_f32_f32_1x1_neon", "sparse_f32_f32_f32_2x1_neon", "sparse_f32_f32_f32_4x1_neon"},
    {run_float<1>, run_float<2>, run_float<4>}};

}  // namespace wbcq
