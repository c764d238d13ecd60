// 4x8 tile for ARMv8.0, which has no dot product. SMULL and SMLAL multiply s8 into int16:
// activations are taken as s8 = u8 - 128, so two products are at most 2 * 128 * 127 = 32512 and
// fit. SADALP then adds neighbouring products into int32.
//
// A vector of products holds two columns of four products each, so an accumulator keeps two partial
// sums for each of two columns, and one pairwise addition finishes them. 16 accumulators, four
// vectors of weights for two steps, two of activations and the products in flight fit the 32
// registers.
#include "kernels/gemm/arm_store.h"

namespace wbcq {

extern const GemmKernel gemm_arm_neon;

namespace {

constexpr size_t kMr = 4;
constexpr size_t kNr = 8;
constexpr size_t kKr = 4;
constexpr size_t kStepBytes = kNr * kKr;
constexpr size_t kHeaderBytes = kNr * 12;

// The s8 quad in all four lanes of 32 bits.
template <int kLane>
WBCQ_INLINE int8x16_t spread(int8x8_t quads) {
  return vreinterpretq_s8_s32(vdupq_lane_s32(vreinterpret_s32_s8(quads), kLane));
}

// Volatile assembly keeps the order of the source, which an in-order core needs: four products in
// flight, each three instructions away from its next use.
WBCQ_INLINE void multiply_low(int16x8_t& p, int8x16_t w, int8x16_t a) {
  __asm__ volatile("smull %0.8h, %1.8b, %2.8b" : "=w"(p) : "w"(w), "w"(a));
}
WBCQ_INLINE void multiply_high(int16x8_t& p, int8x16_t w, int8x16_t a) {
  __asm__ volatile("smull2 %0.8h, %1.16b, %2.16b" : "=w"(p) : "w"(w), "w"(a));
}
WBCQ_INLINE void multiply_add_low(int16x8_t& p, int8x16_t w, int8x16_t a) {
  __asm__ volatile("smlal %0.8h, %1.8b, %2.8b" : "+w"(p) : "w"(w), "w"(a));
}
WBCQ_INLINE void multiply_add_high(int16x8_t& p, int8x16_t w, int8x16_t a) {
  __asm__ volatile("smlal2 %0.8h, %1.16b, %2.16b" : "+w"(p) : "w"(w), "w"(a));
}
WBCQ_INLINE void add_pairs(int32x4_t& acc, int16x8_t p) {
  __asm__ volatile("sadalp %0.4s, %1.8h" : "+w"(acc) : "w"(p));
}

WBCQ_INLINE int8x8_t load_eight(const uint8_t* p) {
  return vreinterpret_s8_u8(veor_u8(vld1_u8(p), vdup_n_u8(128)));
}

// Two steps: eight activations of every row, each row's prepared while the one before is
// multiplied.
template <size_t kRows, size_t kVectors>
WBCQ_INLINE void dot_two_steps(const uint8_t* const (&row)[kRows], size_t offset,
                               const int8_t* weights, int32x4_t (&acc)[kRows][2 * kVectors]) {
  int8x8_t a = load_eight(row[0] + offset);
  int8x16_t w0[kVectors], w1[kVectors];
#pragma GCC unroll 2
  for (size_t v = 0; v < kVectors; ++v) {
    w0[v] = vld1q_s8(weights + v * 16);
    w1[v] = vld1q_s8(weights + kStepBytes + v * 16);
  }
  int8x16_t a0 = spread<0>(a);
  int8x16_t a1 = spread<1>(a);
#pragma GCC unroll 4
  for (size_t i = 0; i < kRows; ++i) {
    int16x8_t products[2 * kVectors];
    if (i + 1 < kRows) a = load_eight(row[i + 1] + offset);
#pragma GCC unroll 2
    for (size_t v = 0; v < kVectors; ++v) {
      multiply_low(products[2 * v], w0[v], a0);
      multiply_high(products[2 * v + 1], w0[v], a0);
    }
    if (i + 1 < kRows) a0 = spread<0>(a);
#pragma GCC unroll 2
    for (size_t v = 0; v < kVectors; ++v) {
      multiply_add_low(products[2 * v], w1[v], a1);
      multiply_add_high(products[2 * v + 1], w1[v], a1);
    }
    if (i + 1 < kRows) a1 = spread<1>(a);
#pragma GCC unroll 4
    for (size_t p = 0; p < 2 * kVectors; ++p) add_pairs(acc[i][p], products[p]);
  }
}

template <size_t kRows, size_t kVectors>
WBCQ_INLINE void dot_step(const uint8_t* const (&row)[kRows], size_t offset, const int8_t* weights,
                          int32x4_t (&acc)[kRows][2 * kVectors]) {
#pragma GCC unroll 4
  for (size_t i = 0; i < kRows; ++i) {
    uint32_t quad;
    __builtin_memcpy(&quad, row[i] + offset, sizeof(quad));
    const int8x16_t a = vreinterpretq_s8_u32(vdupq_n_u32(quad ^ 0x80808080u));
#pragma GCC unroll 2
    for (size_t v = 0; v < kVectors; ++v) {
      const int8x16_t w = vld1q_s8(weights + v * 16);
      const int16x8_t low = vmull_s8(vget_low_s8(w), vget_low_s8(a));
      acc[i][2 * v] = vpadalq_s16(acc[i][2 * v], low);
      acc[i][2 * v + 1] = vpadalq_s16(acc[i][2 * v + 1], vmull_high_s8(w, a));
    }
  }
}

template <size_t kRows, size_t kVectors>
WBCQ_INLINE void accumulate(const GemmTile& tile, int32x4_t (&sum)[kRows][kVectors]) {
  int32x4_t acc[kRows][2 * kVectors];
#pragma GCC unroll 4
  for (size_t i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (size_t p = 0; p < 2 * kVectors; ++p) acc[i][p] = vdupq_n_s32(0);
  }
  const int8_t* weights = static_cast<const int8_t*>(tile.panel) + kHeaderBytes;
  const uint8_t* const* lhs = tile.lhs;
  for (size_t segment = 0; segment < tile.segments; ++segment, lhs += kRows) {
    const uint8_t* row[kRows];
#pragma GCC unroll 4
    for (size_t i = 0; i < kRows; ++i) row[i] = lhs[i] + tile.channel_offset;
    size_t steps = tile.steps[segment];
    size_t offset = 0;
    for (; steps >= 2; steps -= 2, offset += 2 * kKr, weights += 2 * kStepBytes) {
      dot_two_steps<kRows, kVectors>(row, offset, weights, acc);
    }
    if (steps != 0) {
      dot_step<kRows, kVectors>(row, offset, weights, acc);
      weights += kStepBytes;
    }
  }
  const auto* start = static_cast<const int32_t*>(tile.panel);
#pragma GCC unroll 4
  for (size_t i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
    for (size_t v = 0; v < kVectors; ++v) {
      sum[i][v] =
          vaddq_s32(vpaddq_s32(acc[i][2 * v], acc[i][2 * v + 1]), vld1q_s32(start + v * kLanes));
    }
  }
}

template <size_t kRows, size_t kVectors>
void run_rows(const GemmTile& tile, Output output) {
  int32x4_t acc[kRows][kVectors];
  accumulate<kRows, kVectors>(tile, acc);
  store_tile<kNr, kRows, kVectors>(tile, acc, output);
}

using RunRows = void (*)(const GemmTile&, Output);

// By rows, and by the number of vectors that hold the columns.
constexpr RunRows kRunRows[kMr][kNr / kLanes] = {{run_rows<1, 1>, run_rows<1, 2>},
                                                 {run_rows<2, 1>, run_rows<2, 2>},
                                                 {run_rows<3, 1>, run_rows<3, 2>},
                                                 {run_rows<4, 1>, run_rows<4, 2>}};

void run(const GemmTile& strip, Output output) {
  const RunRows run_rows = kRunRows[strip.rows - 1][(strip.cols - 1) / kLanes];
  for_each_tile(strip, [&](const GemmTile& tile) { run_rows(tile, output); });
}

void run_u8(const GemmTile& tile) { run(tile, Output::kU8); }
void run_f32(const GemmTile& tile) { run(tile, Output::kF32); }

}  // namespace

const GemmKernel gemm_arm_neon = {"gemm_u8_u8_s8c_4x8c4_neon", kMr,    kNr,    kLanes, kKr,
                                  /*lhs_offset=*/128,          run_u8, run_f32};

}  // namespace wbcq
