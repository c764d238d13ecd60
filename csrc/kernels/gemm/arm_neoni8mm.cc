// 4x16 tile for FEAT_I8MM. USMMLA multiplies two rows of eight u8 by two columns of eight s8: 32
// products an instruction, twice SDOT's, with the activations as they are. Accumulators hold 2x2
// blocks: two pairs of rows by eight pairs of columns make 16; four vectors of activations (two
// steps) and two of weights leave room to load ahead.
#include "kernels/gemm/arm_store.h"

namespace wbcq {

extern const GemmKernel gemm_arm_neoni8mm;

namespace {

constexpr size_t kMr = 4;
constexpr size_t kNr = 16;
constexpr size_t kKr = 8;
constexpr size_t kStepBytes = kNr * kKr;
constexpr size_t kHeaderBytes = kNr * 12;

// Volatile for the same reason as in arm_neondot.cc: order, and no spills.
WBCQ_INLINE void usmmla(int32x4_t& acc, uint8x16_t a, int8x16_t w) {
  __asm__ volatile("usmmla %0.4s, %1.16b, %2.16b" : "+w"(acc) : "w"(a), "w"(w));
}

// One step. `w` holds its first vector on entry and the first of the next step on return.
template <bool kLast, size_t kPairs, size_t kVectors>
WBCQ_INLINE void dot_step(const uint8x16_t (&a)[kPairs], const int8_t* weights, int8x16_t& w,
                          int32x4_t (&acc)[kPairs][2 * kVectors]) {
#pragma GCC unroll 8
  for (size_t p = 0; p < 2 * kVectors; ++p) {
    const int8x16_t current = w;
    if (p + 1 < 2 * kVectors) {
      w = vld1q_s8(weights + (p + 1) * 16);
    } else if (!kLast) {
      w = vld1q_s8(weights + kStepBytes);
    }
#pragma GCC unroll 2
    for (size_t i = 0; i < kPairs; ++i) usmmla(acc[i][p], a[i], current);
  }
}

WBCQ_INLINE uint8x16_t zip_low(uint8x16_t a, uint8x16_t b) {
  return vreinterpretq_u8_u64(vzip1q_u64(vreinterpretq_u64_u8(a), vreinterpretq_u64_u8(b)));
}
WBCQ_INLINE uint8x16_t zip_high(uint8x16_t a, uint8x16_t b) {
  return vreinterpretq_u8_u64(vzip2q_u64(vreinterpretq_u64_u8(a), vreinterpretq_u64_u8(b)));
}

// An odd last row is paired with itself; its second sums are dropped.
constexpr size_t pairs_of(size_t rows) { return (rows + 1) / 2; }

template <size_t kRows, size_t kVectors>
WBCQ_INLINE void accumulate(const GemmTile& tile, int32x4_t (&acc)[pairs_of(kRows)][2 * kVectors]) {
  constexpr size_t kPairs = pairs_of(kRows);
  const auto* start = static_cast<const int32_t*>(tile.panel);
#pragma GCC unroll 8
  for (size_t p = 0; p < 2 * kVectors; ++p) {
    const int32x2_t pair = vld1_s32(start + 2 * p);
#pragma GCC unroll 2
    for (size_t i = 0; i < kPairs; ++i) acc[i][p] = vcombine_s32(pair, pair);
  }
  const int8_t* weights = static_cast<const int8_t*>(tile.panel) + kHeaderBytes;
  const uint8_t* const* lhs = tile.lhs;
  for (size_t segment = 0; segment < tile.segments; ++segment, lhs += kRows) {
    const uint8_t* row[2 * kPairs];
#pragma GCC unroll 4
    for (size_t i = 0; i < 2 * kPairs; ++i)
      row[i] = lhs[i < kRows ? i : kRows - 1] + tile.channel_offset;
    size_t steps = tile.steps[segment];
    size_t offset = 0;
    for (; steps >= 2; steps -= 2, offset += 2 * kKr, weights += 2 * kStepBytes) {
      int8x16_t w = vld1q_s8(weights);
      uint8x16_t first[kPairs], second[kPairs];
#pragma GCC unroll 2
      for (size_t i = 0; i < kPairs; ++i) {
        const uint8x16_t even = vld1q_u8(row[2 * i] + offset);
        const uint8x16_t odd = vld1q_u8(row[2 * i + 1] + offset);
        first[i] = zip_low(even, odd);
        second[i] = zip_high(even, odd);
      }
      dot_step<false, kPairs, kVectors>(first, weights, w, acc);
      dot_step<true, kPairs, kVectors>(second, weights + kStepBytes, w, acc);
    }
    if (steps != 0) {
      int8x16_t w = vld1q_s8(weights);
      uint8x16_t a[kPairs];
#pragma GCC unroll 2
      for (size_t i = 0; i < kPairs; ++i) {
        a[i] = vcombine_u8(vld1_u8(row[2 * i] + offset), vld1_u8(row[2 * i + 1] + offset));
      }
      dot_step<true, kPairs, kVectors>(a, weights, w, acc);
      weights += kStepBytes;
    }
  }
}

template <size_t kRows, size_t kVectors>
void run_rows(const GemmTile& tile, Output output) {
  int32x4_t blocks[pairs_of(kRows)][2 * kVectors];
  accumulate<kRows, kVectors>(tile, blocks);
  int32x4_t acc[kRows][kVectors];
#pragma GCC unroll 4
  for (size_t i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (size_t v = 0; v < kVectors; ++v) {
      const int64x2_t left = vreinterpretq_s64_s32(blocks[i / 2][2 * v]);
      const int64x2_t right = vreinterpretq_s64_s32(blocks[i / 2][2 * v + 1]);
      const int64x2_t sums = i % 2 == 0 ? vzip1q_s64(left, right) : vzip2q_s64(left, right);
      acc[i][v] = vreinterpretq_s32_s64(sums);
    }
  }
  store_tile<kNr, kRows, kVectors>(tile, acc, output);
}

using RunRows = void (*)(const GemmTile&, Output);

// By rows, and by the number of vectors that hold the columns.
constexpr RunRows kRunRows[kMr][kNr / kLanes] = {
    {run_rows<1, 1>, run_rows<1, 2>, run_rows<1, 3>, run_rows<1, 4>},
    {run_rows<2, 1>, run_rows<2, 2>, run_rows<2, 3>, run_rows<2, 4>},
    {run_rows<3, 1>, run_rows<3, 2>, run_rows<3, 3>, run_rows<3, 4>},
    {run_rows<4, 1>, run_rows<4, 2>, run_rows<4, 3>, run_rows<4, 4>}};

void run(const GemmTile& strip, Output output) {
  const RunRows run_rows = kRunRows[strip.rows - 1][(strip.cols - 1) / kLanes];
  for_each_tile(strip, [&](const GemmTile& tile) { run_rows(tile, output); });
}

void run_u8(const GemmTile& tile) { run(tile, Output::kU8); }
void run_f32(const GemmTile& tile) { run(tile, Output::kF32); }

}  // namespace

const GemmKernel gemm_arm_neoni8mm = {
    "gemm_u8_u8_s8c_4x16c8_neoni8mm", kMr, kNr, kLanes, kKr, /*lhs_offset=*/0, run_u8, run_f32};

}  // namespace wbcq
