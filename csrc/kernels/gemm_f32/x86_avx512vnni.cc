// 12x32 tile for AVX-512: 24 accumulators, two vectors of the panel and one broadcast fill 27 of
// the 32 registers; a step is 14 loads for 24 multiplications, so two loads a cycle keep two of
// them a cycle busy.
#include "kernels/gemm_f32/x86_tile.h"
#include "kernels/simd/floats_x86_avx512vnni.h"

namespace wbcq {
namespace {

constexpr size_t kMr = 12;
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
    case 5:
    case 6:
      return Tile::run<6, kUsed>(tile);
    case 7:
    case 8:
      return Tile::run<8, kUsed>(tile);
    case 9:
    case 10:
      return Tile::run<10, kUsed>(tile);
    default:
      return Tile::run<12, kUsed>(tile);
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

extern const GemmF32Kernel gemm_f32_x86_avx512vnni = {"gemm_f32_f32_f32_12x32_avx512vnni", kMr,
                                                      kVectors* Tile::kLanes, run};

}  // namespace wbcq
