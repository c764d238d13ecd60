// The scalar kernel: the contract of gemm.h in plain C++, for machines without a kernel of their
// own and as what every other kernel is compared with.
#include "kernels/gemm/gemm.h"
#include "kernels/gemm/strip.h"
#include "quant/requant.h"

namespace wbcq {

extern const GemmKernel gemm_reference;

namespace {

constexpr size_t kMr = 4;
constexpr size_t kNr = 8;
constexpr size_t kKr = 4;

struct Panel {
  const int32_t* start;
  const float* mult;
  const float* bias;
  const int8_t* weights;
};

Panel open_panel(const void* panel) {
  const auto* words = static_cast<const float*>(panel);
  return {static_cast<const int32_t*>(panel), words + kNr, words + 2 * kNr,
          reinterpret_cast<const int8_t*>(words + 3 * kNr)};
}

// Unsigned, because partial sums may leave int32 where the final value does not.
void accumulate(const GemmTile& tile, const Panel& panel, uint32_t (&acc)[kMr][kNr]) {
  for (size_t i = 0; i < tile.rows; ++i) {
    for (size_t j = 0; j < kNr; ++j) acc[i][j] = static_cast<uint32_t>(panel.start[j]);
  }
  const int8_t* weights = panel.weights;
  const uint8_t* const* lhs = tile.lhs;
  for (size_t segment = 0; segment < tile.segments; ++segment, lhs += tile.rows) {
    for (size_t offset = 0; offset < tile.steps[segment] * kKr; offset += kKr) {
      for (size_t i = 0; i < tile.rows; ++i) {
        const uint8_t* a = lhs[i] + tile.channel_offset + offset;
        for (size_t j = 0; j < kNr; ++j) {
          const int8_t* w = weights + j * kKr;
          acc[i][j] += static_cast<uint32_t>(a[0] * w[0] + a[1] * w[1] + a[2] * w[2] + a[3] * w[3]);
        }
      }
      weights += kNr * kKr;
    }
  }
}

void run_tile_u8(const GemmTile& tile) {
  const Panel panel = open_panel(tile.panel);
  uint32_t acc[kMr][kNr];
  accumulate(tile, panel, acc);
  for (size_t i = 0; i < tile.rows; ++i) {
    uint8_t* out = static_cast<uint8_t*>(tile.out) + i * tile.out_stride;
    for (size_t j = 0; j < tile.cols; ++j) {
      const auto sum = static_cast<int32_t>(acc[i][j]);
      if (tile.residual == nullptr) {
        out[j] = requantize(sum, panel.mult[j], tile.zero_point, tile.lo, tile.hi);
      } else {
        const int32_t residual =
            tile.residual[i * tile.residual_stride + j] - tile.residual_zero_point;
        out[j] = requantize_add(sum, panel.mult[j], residual, tile.residual_multiplier,
                                tile.zero_point, tile.lo, tile.hi);
      }
    }
  }
}

void run_tile_f32(const GemmTile& tile) {
  const Panel panel = open_panel(tile.panel);
  uint32_t acc[kMr][kNr];
  accumulate(tile, panel, acc);
  for (size_t i = 0; i < tile.rows; ++i) {
    auto* out = reinterpret_cast<float*>(static_cast<std::byte*>(tile.out) + i * tile.out_stride);
    for (size_t j = 0; j < tile.cols; ++j) {
      out[j] = static_cast<float>(static_cast<int32_t>(acc[i][j])) * panel.mult[j] + panel.bias[j];
    }
  }
}

void run_u8(const GemmTile& strip) { for_each_tile(strip, run_tile_u8); }
void run_f32(const GemmTile& strip) { for_each_tile(strip, run_tile_f32); }

}  // namespace

const GemmKernel gemm_reference = {"gemm_u8_u8_s8c_4x8c4_reference",
                                   kMr,
                                   kNr,
                                   /*lanes=*/kNr,
                                   kKr,
                                   /*lhs_offset=*/0,
                                   run_u8,
                                   run_f32};

}  // namespace wbcq
