// 8x8 tile for Advanced SIMD: 16 accumulators, four steps of eight rows and two vectors of the
// panel fill 26 of the 32 registers. FMLA takes one lane of a vector of activations, so a row is
// loaded once every four steps and nothing is broadcast.
#include <arm_neon.h>

#include "kernels/gemm_f32/gemm_f32.h"

#define WBCQ_INLINE inline __attribute__((always_inline))

namespace wbcq {
namespace {

constexpr size_t kMr = 8;
constexpr size_t kNr = 8;
constexpr size_t kLanes = 4;
constexpr size_t kVectors = kNr / kLanes;

template <size_t kRows, int kLane>
WBCQ_INLINE void multiply_lane(const float32x4_t (&a)[kRows], const float* weights,
                               float32x4_t (&acc)[kRows][kVectors]) {
  const float32x4_t w0 = vld1q_f32(weights);
  const float32x4_t w1 = vld1q_f32(weights + kLanes);
#pragma GCC unroll 8
  for (size_t i = 0; i < kRows; ++i) {
    acc[i][0] = vfmaq_laneq_f32(acc[i][0], w0, a[i], kLane);
    acc[i][1] = vfmaq_laneq_f32(acc[i][1], w1, a[i], kLane);
  }
}

template <size_t kRows>
WBCQ_INLINE void accumulate(const GemmF32Tile& tile, float32x4_t (&acc)[kRows][kVectors]) {
#pragma GCC unroll 8
  for (size_t i = 0; i < kRows; ++i) {
    acc[i][0] = vld1q_f32(tile.panel);
    acc[i][1] = vld1q_f32(tile.panel + kLanes);
  }
  const float* weights = tile.panel + kNr;
  const float* const* lhs = tile.lhs;
  for (size_t segment = 0; segment < tile.segments; ++segment, lhs += tile.rows) {
    const float* p[kRows];
    // Rows that the tile lacks are computed from its last row and not stored.
#pragma GCC unroll 8
    for (size_t i = 0; i < kRows; ++i) p[i] = lhs[i < tile.rows ? i : tile.rows - 1];
    size_t left = tile.steps[segment];
    for (; left >= 4; left -= 4, weights += 4 * kNr) {
      float32x4_t a[kRows];
#pragma GCC unroll 8
      for (size_t i = 0; i < kRows; ++i) {
        a[i] = vld1q_f32(p[i]);
        p[i] += 4;
      }
      multiply_lane<kRows, 0>(a, weights, acc);
      multiply_lane<kRows, 1>(a, weights + kNr, acc);
      multiply_lane<kRows, 2>(a, weights + 2 * kNr, acc);
      multiply_lane<kRows, 3>(a, weights + 3 * kNr, acc);
    }
    for (; left > 0; --left, weights += kNr) {
      float32x4_t a[kRows];
#pragma GCC unroll 8
      for (size_t i = 0; i < kRows; ++i) a[i] = vld1q_dup_f32(p[i]++);
      multiply_lane<kRows, 0>(a, weights, acc);
    }
  }
}

// FMAX and FMIN let NaN through.
WBCQ_INLINE float32x4_t clamp(float32x4_t value, float lo, float hi) {
  return vminq_f32(vmaxq_f32(value, vdupq_n_f32(lo)), vdupq_n_f32(hi));
}

// Four columns of row i from `column` on, as far as the tile has them.
void finish(const GemmF32Tile& tile, size_t i, size_t column, float32x4_t value) {
  if (column >= tile.cols) return;
  const size_t left = tile.cols - column;
  float* out = tile.out + i * tile.out_stride + column;
  const float* residual = nullptr;
  if (tile.residual != nullptr) residual = tile.residual + i * tile.residual_stride + column;
  if (left >= kLanes) {
    if (residual != nullptr) value = vaddq_f32(value, vld1q_f32(residual));
    vst1q_f32(out, clamp(value, tile.lo, tile.hi));
    return;
  }
  float values[kLanes];
  vst1q_f32(values, value);
  for (size_t j = 0; residual != nullptr && j < left; ++j) values[j] += residual[j];
  vst1q_f32(values, clamp(vld1q_f32(values), tile.lo, tile.hi));
  for (size_t j = 0; j < left; ++j) out[j] = values[j];
}

template <size_t kRows>
void run_rows(const GemmF32Tile& tile) {
  float32x4_t acc[kRows][kVectors];
  accumulate<kRows>(tile, acc);
#pragma GCC unroll 8
  for (size_t i = 0; i < kRows; ++i) {
    if (i >= tile.rows) break;
    finish(tile, i, 0, acc[i][0]);
    finish(tile, i, kLanes, acc[i][1]);
  }
}

void run(const GemmF32Tile& tile) {
  switch (tile.rows) {
    case 1:
      return run_rows<1>(tile);
    case 2:
      return run_rows<2>(tile);
    case 3:
    case 4:
      return run_rows<4>(tile);
    case 5:
    case 6:
      return run_rows<6>(tile);
    default:
      return run_rows<8>(tile);
  }
}

}  // namespace

extern const GemmF32Kernel gemm_f32_arm_neon = {"gemm_f32_f32_f32_8x8_neon", kMr, kNr, run};

}  // namespace wbcq
