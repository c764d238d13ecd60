// The scalar kernel: the contract of gemm_f32.h in plain C++, for machines without a kernel of
// their own.
#include "kernels/gemm_f32/gemm_f32.h"

namespace wbcq {
namespace {

constexpr size_t kMr = 4;
constexpr size_t kNr = 8;

void accumulate(const GemmF32Tile& tile, float (&acc)[kMr][kNr]) {
  for (size_t i = 0; i < tile.rows; ++i) {
    for (size_t j = 0; j < kNr; ++j) acc[i][j] = tile.panel[j];
  }
  const float* weights = tile.panel + kNr;
  const float* const* lhs = tile.lhs;
  for (size_t segment = 0; segment < tile.segments; ++segment, lhs += tile.rows) {
    for (size_t k = 0; k < tile.steps[segment]; ++k, weights += kNr) {
      for (size_t i = 0; i < tile.rows; ++i) {
        for (size_t j = 0; j < kNr; ++j) acc[i][j] += lhs[i][k] * weights[j];
      }
    }
  }
}

void run(const GemmF32Tile& tile) {
  float acc[kMr][kNr];
  accumulate(tile, acc);
  for (size_t i = 0; i < tile.rows; ++i) {
    for (size_t j = 0; j < tile.cols; ++j) {
      float value = acc[i][j];
      if (tile.residual != nullptr) value += tile.residual[i * tile.residual_stride + j];
      value = value < tile.lo ? tile.lo : value;
      tile.out[i * tile.out_stride + j] = value > tile.hi ? tile.hi : value;
    }
  }
}

}  // namespace

extern const GemmF32Kernel gemm_f32_reference = {"gemm_f32_f32_f32_4x8_reference", kMr, kNr, run};

}  // namespace wbcq
