// The FP32 tile in terms of Floats (kernels/simd): broadcast one activation, multiply it by the
// vectors of a packed step. For x86 kernel files; everything is local to the file that includes it.
#ifndef WBCQ_KERNELS_GEMM_F32_X86_TILE_H_
#define WBCQ_KERNELS_GEMM_F32_X86_TILE_H_

#include "kernels/gemm_f32/gemm_f32.h"

#define WBCQ_INLINE inline __attribute__((always_inline))

namespace wbcq {
namespace {

// Accumulators, the vectors of a step and one broadcast fill the registers: kMr * kVectors is
// chosen so that they just fit. Rows that the tile lacks are computed from its last row and not
// stored, which keeps the number of instances small.
template <typename Floats, size_t kVectors>
class F32Tile {
 public:
  static constexpr size_t kLanes = Floats::kLanes;

  template <size_t kRows, size_t kUsed>
  static void run(const GemmF32Tile& tile) {
    Floats acc[kRows][kUsed];
    accumulate<kRows, kUsed>(tile, acc);
    const Floats lo = Floats::of(tile.lo);
    const Floats hi = Floats::of(tile.hi);
#pragma GCC unroll 16
    for (size_t i = 0; i < kRows; ++i) {
      if (i >= tile.rows) break;
#pragma GCC unroll 4
      for (size_t v = 0; v < kUsed; ++v) finish(tile, i, v * kLanes, acc[i][v], lo, hi);
    }
  }

 private:
  template <size_t kRows, size_t kUsed>
  WBCQ_INLINE static void accumulate(const GemmF32Tile& tile, Floats (&acc)[kRows][kUsed]) {
#pragma GCC unroll 16
    for (size_t i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
      for (size_t v = 0; v < kUsed; ++v) acc[i][v] = Floats::load(tile.panel + v * kLanes);
    }
    const float* weights = tile.panel + kVectors * kLanes;
    const float* const* lhs = tile.lhs;
    for (size_t segment = 0; segment < tile.segments; ++segment, lhs += tile.rows) {
      const float* a[kRows];
#pragma GCC unroll 16
      for (size_t i = 0; i < kRows; ++i) a[i] = lhs[i < tile.rows ? i : tile.rows - 1];
      const size_t steps = tile.steps[segment];
#pragma GCC unroll 2
      for (size_t k = 0; k < steps; ++k, weights += kVectors * kLanes) {
        Floats w[kUsed];
#pragma GCC unroll 4
        for (size_t v = 0; v < kUsed; ++v) w[v] = Floats::load(weights + v * kLanes);
#pragma GCC unroll 16
        for (size_t i = 0; i < kRows; ++i) {
          const Floats value = Floats::of(a[i][k]);
#pragma GCC unroll 4
          for (size_t v = 0; v < kUsed; ++v) acc[i][v] = Floats::fma(value, w[v], acc[i][v]);
        }
      }
    }
  }

  // Columns [column, column + kLanes) of row i, as far as the tile has them.
  WBCQ_INLINE static void finish(const GemmF32Tile& tile, size_t i, size_t column, Floats value,
                                 Floats lo, Floats hi) {
    if (column >= tile.cols) return;
    const size_t left = tile.cols - column;
    float* out = tile.out + i * tile.out_stride + column;
    const float* residual = nullptr;
    if (tile.residual != nullptr) residual = tile.residual + i * tile.residual_stride + column;
    if (left >= kLanes) {
      if (residual != nullptr) value = value + Floats::load(residual);
      clamp(value, lo, hi).store(out);
    } else {
      if (residual != nullptr) value = value + Floats::load_first(residual, left, value);
      clamp(value, lo, hi).store_first(out, left);
    }
  }

  // NaN passes: it is the second operand.
  WBCQ_INLINE static Floats clamp(Floats value, Floats lo, Floats hi) {
    return Floats::min(hi, Floats::max(lo, value));
  }
};

}  // namespace
}  // namespace wbcq

#endif  // WBCQ_KERNELS_GEMM_F32_X86_TILE_H_
