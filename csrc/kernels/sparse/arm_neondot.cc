// Tiles of 16 pixels for ARMv8.2 SDOT, which takes the weights of a step's four outputs by lane
// from one vector. A step of four 1x4 blocks is 16 vectors of activations for 16 SDOT; a 4x4 block
// is four for 16. SDOT by lane wants both operands signed: activations are taken as s8 = u8 - 128.
// I8MM has nothing to add: its products are of two outputs by two pixels over eight channels, more
// than a block has.
#include "kernels/sparse/arm_lanes.h"

namespace wbcq {

extern const SparseKernel sparse_arm_neondot;

namespace {

constexpr size_t kVectors = 4;
constexpr bool kLoadsAhead = true;
constexpr bool kTwoSteps = false;

using FourWeights = int8x16_t;
template <size_t kOutput>
struct Lane {
  int8x16_t four;
};

struct Sums {
  static WBCQ_INLINE Sums of(Ints value) { return {value}; }
  int32x4_t v;
};

// Volatile assembly keeps loads an output ahead of their use, which an in-order core needs; left
// alone, GCC puts each just before it.
WBCQ_INLINE Quads load_quads(const uint8_t* p) {
  Quads quads;
  __asm__ volatile("ldr %q0, %1" : "=w"(quads) : "m"(*reinterpret_cast<const Quads*>(p)));
  return quads;
}
WBCQ_INLINE FourWeights load_four(const int32_t* p) { return vreinterpretq_s8_s32(vld1q_s32(p)); }
template <size_t kOutput>
WBCQ_INLINE Lane<kOutput> weights(FourWeights four) {
  return {four};
}
template <size_t kOutput>
WBCQ_INLINE void dot(Sums& sums, Quads quads, Lane<kOutput> weights) {
  __asm__ volatile("sdot %0.4s, %1.16b, %2.4b[%3]"
                   : "+w"(sums.v)
                   : "w"(quads), "w"(weights.four), "i"(kOutput));
}
WBCQ_INLINE Ints total(const Sums& sums) { return sums.v; }

}  // namespace
}  // namespace wbcq

#include "kernels/sparse/chunks.h"
#include "kernels/sparse/vectorized.h"
#include "kernels/sparse/vectorized_f32.h"

namespace wbcq {

const SparseKernel sparse_arm_neondot = {
    {"sparse_u8_u8_s8c_1x4_neondot", "sparse_u8_u8_s8c_2x4_neondot",
     "sparse_u8_u8_s8c_4x4_neondot"},
    kPixels,
    {kSparsePartBytes, kSparsePartBytes, kSparsePartBytes},
    /*lhs_offset=*/128,
    gather_chunks<true>,
    gather_chunks<false>,
    scatter_chunks,
    {run_u8<1>, run_u8<2>, run_u8<4>},
    {run_f32<1>, run_f32<2>, run_f32<4>},
    {"sparse_f32_f32_f32_1x1_neondot", "sparse_f32_f32_f32_2x1_neondot",
     "sparse_f32_f32_f32_4x1_neondot"},
    {run_float<1>, run_float<2>, run_float<4>}};

}  // namespace wbcq
