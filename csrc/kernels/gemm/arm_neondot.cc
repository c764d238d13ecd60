// 4x16 tile for ARMv8.2 SDOT: 16 accumulators, four rows of 16 activations and two vectors of
// weights. SDOT by lane wants both operands signed: activations are taken as s8 = u8 - 128. Low and
// wide, because the XOR that does it is one instruction for 16 activations of a row whatever the
// width.
#include "kernels/gemm/arm_store.h"

namespace wbcq {

extern const GemmKernel gemm_arm_neondot;

namespace {

constexpr size_t kMr = 4;
constexpr size_t kNr = 16;
constexpr size_t kKr = 4;
constexpr size_t kStepBytes = kNr * kKr;
constexpr size_t kHeaderBytes = kNr * 12;
constexpr size_t kUnroll = 4;  // steps for which one vector holds a row's activations

// Volatile assembly keeps the order of the source: each load of weights stands one group of
// products before its use, which an in-order core needs, and GCC's scheduler, left alone, spills
// accumulators.
template <int kLane>
WBCQ_INLINE void sdot(int32x4_t& acc, int8x16_t w, int8x16_t a) {
  __asm__ volatile("sdot %0.4s, %1.16b, %2.4b[%3]" : "+w"(acc) : "w"(w), "w"(a), "i"(kLane));
}

// One step. `w` holds its first vector on entry and the first of the next step on return.
template <int kLane, bool kLast, size_t kRows, size_t kVectors>
WBCQ_INLINE void dot_step(const int8x16_t (&a)[kRows], const int8_t* weights, int8x16_t& w,
                          int32x4_t (&acc)[kRows][kVectors]) {
#pragma GCC unroll 4
  for (size_t v = 0; v < kVectors; ++v) {
    const int8x16_t current = w;
    if (v + 1 < kVectors) {
      w = vld1q_s8(weights + (v + 1) * 16);
    } else if (!kLast) {
      w = vld1q_s8(weights + kStepBytes);
    }
#pragma GCC unroll 4
    for (size_t i = 0; i < kRows; ++i) sdot<kLane>(acc[i][v], current, a[i]);
  }
}

template <size_t kRows, size_t kVectors>
WBCQ_INLINE void accumulate(const GemmTile& tile, int32x4_t (&acc)[kRows][kVectors]) {
  const auto* start = static_cast<const int32_t*>(tile.panel);
#pragma GCC unroll 4
  for (size_t i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (size_t v = 0; v < kVectors; ++v) acc[i][v] = vld1q_s32(start + v * kLanes);
  }
  const uint8x16_t top = vdupq_n_u8(128);
  const int8_t* weights = static_cast<const int8_t*>(tile.panel) + kHeaderBytes;
  const uint8_t* const* lhs = tile.lhs;
  for (size_t segment = 0; segment < tile.segments; ++segment, lhs += kRows) {
    const uint8_t* row[kRows];
#pragma GCC unroll 4
    for (size_t i = 0; i < kRows; ++i) row[i] = lhs[i] + tile.channel_offset;
    size_t steps = tile.steps[segment];
    size_t offset = 0;
    int8x16_t a[kRows];
    for (; steps >= kUnroll; steps -= kUnroll, offset += kUnroll * kKr) {
      int8x16_t w = vld1q_s8(weights);
#pragma GCC unroll 4
      for (size_t i = 0; i < kRows; ++i) {
        a[i] = vreinterpretq_s8_u8(veorq_u8(vld1q_u8(row[i] + offset), top));
      }
      dot_step<0, false, kRows, kVectors>(a, weights, w, acc);
      dot_step<1, false, kRows, kVectors>(a, weights + kStepBytes, w, acc);
      dot_step<2, false, kRows, kVectors>(a, weights + 2 * kStepBytes, w, acc);
      dot_step<3, true, kRows, kVectors>(a, weights + 3 * kStepBytes, w, acc);
      weights += kUnroll * kStepBytes;
    }
    for (; steps > 0; --steps, offset += kKr, weights += kStepBytes) {
      int8x16_t w = vld1q_s8(weights);
#pragma GCC unroll 4
      for (size_t i = 0; i < kRows; ++i) {
        uint32_t quad;
        __builtin_memcpy(&quad, row[i] + offset, sizeof(quad));
        a[i] = vreinterpretq_s8_u8(veorq_u8(vreinterpretq_u8_u32(vdupq_n_u32(quad)), top));
      }
      dot_step<0, true, kRows, kVectors>(a, weights, w, acc);
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

const GemmKernel gemm_arm_neondot = {
    "gemm_u8_u8_s8c_4x16c4_neondot", kMr, kNr, kLanes, kKr, /*lhs_offset=*/128, run_u8, run_f32};

}  // namespace wbcq
