// 6x16 tile for AVX2: 12 accumulators, two vectors of the panel and one broadcast fill 15 of the 16
// registers.
#include "kernels/gemm_f32/x86_tile.h"
#include "kernels/simd/floats_x86_avx2.h"

namespace wbcq {
namespace {

constexpr size_t kMr = 6;
constexpr size_t kVectors = 2;
using Tile = F32Tile<Floats, kVectors>;

template <size_t kUsed>
void run_rows(const GemmF32Tile& tile) {
  switch (tile.rows) {
    case 1:
      return Tile::run<1, kUsed>(tile);
    case 2:
      return Tile::run<2, kUsed>(tile);
    case 3:
    case 4:
      return Tile::run<4, kUsed>(tile);
    default:
      return Tile::run<6, kUsed>(tile);
  }
}

void run(const GemmF32Tile& tile) {
  if (tile.cols > Tile::kLanes) {
    run_rows<2>(tile);
  } else {
    run_rows<1>(tile);
  }
}

}  // namespace

extern const GemmF32Kernel gemm_f32_x86_avx2 = {"gemm_f32_f32_f32_6x16_avx2", kMr,
                                                kVectors* Tile::kLanes, run};

}  // namespace wbcq
