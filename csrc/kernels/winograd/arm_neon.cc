// Exact Winograd on ARMv8.0: products of 4 tiles by 16 output channels, 16 accumulators, one vector
// of V for eight channels of each tile and two of U. SMLAL by element takes four products of
// int16; with a dot product (16 products of 8 bits) direct convolution is as fast.
#include "kernels/gemm/arm_store.h"
#include "kernels/winograd/winograd.h"

namespace wbcq {

extern const WinogradKernel winograd_arm_neon;

namespace {

constexpr size_t kMr = 4;
constexpr size_t kNr = 16;
constexpr size_t kRun = 8;
constexpr size_t kVectors = kNr / kLanes;
constexpr size_t kStartPosition = 7;
constexpr size_t kTileStride = kWinogradPositions * kNr;  // int32 of M

// out = B^T d, modulo 2^16 within, exact at the end.
WBCQ_INLINE void transform_six(const int16x8_t (&d)[6], int16x8_t (&out)[6]) {
  const int16x8_t a = vsubq_s16(d[4], vshlq_n_s16(d[2], 2));
  const int16x8_t b = vsubq_s16(d[3], vshlq_n_s16(d[1], 2));
  const int16x8_t c = vsubq_s16(d[4], d[2]);
  const int16x8_t f = vsubq_s16(d[3], d[1]);
  const int16x8_t e = vaddq_s16(f, f);
  out[0] = vaddq_s16(vshlq_n_s16(vsubq_s16(d[0], d[2]), 2), c);
  out[1] = vaddq_s16(a, b);
  out[2] = vsubq_s16(a, b);
  out[3] = vaddq_s16(c, e);
  out[4] = vsubq_s16(c, e);
  out[5] = vsubq_s16(vsubq_s16(d[5], d[3]), vaddq_s16(e, e));
}

WBCQ_INLINE void transform_tile(const uint8_t* const* pixels, size_t tiles, size_t first,
                                int16_t* v, size_t position_stride) {
  int16_t columns[6][6][kRun];
#pragma GCC unroll 6
  for (size_t x = 0; x < 6; ++x) {
    int16x8_t d[6], t[6];
#pragma GCC unroll 6
    for (size_t y = 0; y < 6; ++y) {
      d[y] = vreinterpretq_s16_u16(vmovl_u8(vld1_u8(pixels[(y * 6 + x) * tiles] + first)));
    }
    transform_six(d, t);
#pragma GCC unroll 6
    for (size_t y = 0; y < 6; ++y) vst1q_s16(columns[y][x], t[y]);
  }
  for (size_t y = 0; y < 6; ++y) {
    int16x8_t d[6], out[6];
#pragma GCC unroll 6
    for (size_t x = 0; x < 6; ++x) d[x] = vld1q_s16(columns[y][x]);
    transform_six(d, out);
#pragma GCC unroll 6
    for (size_t x = 0; x < 6; ++x, v += position_stride) vst1q_s16(v, out[x]);
  }
}

void transform_input(const WinogradInputTiles& args) {
  int16_t* v = args.v;
  for (size_t first = 0; first < args.channels; first += kRun) {
    for (size_t tile = 0; tile < args.tiles; ++tile, v += kRun) {
      transform_tile(args.pixels + tile, args.tiles, first, v, args.position_stride);
    }
  }
}

template <int kChannel, size_t kRows>
WBCQ_INLINE void multiply_channel(const int16x8_t (&v)[kRows], const int16_t* u,
                                  int32x4_t (&acc)[kRows][kVectors]) {
  const int16x8_t u0 = vld1q_s16(u + kChannel * kNr);
  const int16x8_t u1 = vld1q_s16(u + kChannel * kNr + 8);
#pragma GCC unroll 4
  for (size_t i = 0; i < kRows; ++i) {
    acc[i][0] = vmlal_laneq_s16(acc[i][0], vget_low_s16(u0), v[i], kChannel);
    acc[i][1] = vmlal_high_laneq_s16(acc[i][1], u0, v[i], kChannel);
    acc[i][2] = vmlal_laneq_s16(acc[i][2], vget_low_s16(u1), v[i], kChannel);
    acc[i][3] = vmlal_high_laneq_s16(acc[i][3], u1, v[i], kChannel);
  }
}

template <size_t kRows>
WBCQ_INLINE void multiply_position(const int16_t* v, const int16_t* u, size_t channels,
                                   const int32_t* start, int32_t* m) {
  int32x4_t acc[kRows][kVectors];
#pragma GCC unroll 4
  for (size_t i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (size_t j = 0; j < kVectors; ++j) {
      acc[i][j] = start == nullptr ? vdupq_n_s32(0) : vld1q_s32(start + j * kLanes);
    }
  }
  for (; channels >= kRun; channels -= kRun, v += kRows * kRun, u += kRun * kNr) {
    int16x8_t x[kRows];
#pragma GCC unroll 4
    for (size_t i = 0; i < kRows; ++i) x[i] = vld1q_s16(v + i * kRun);
    multiply_channel<0>(x, u, acc);
    multiply_channel<1>(x, u, acc);
    multiply_channel<2>(x, u, acc);
    multiply_channel<3>(x, u, acc);
    multiply_channel<4>(x, u, acc);
    multiply_channel<5>(x, u, acc);
    multiply_channel<6>(x, u, acc);
    multiply_channel<7>(x, u, acc);
  }
  for (; channels != 0; --channels, ++v, u += kNr) {
    int16x8_t x[kRows];
#pragma GCC unroll 4
    for (size_t i = 0; i < kRows; ++i) x[i] = vld1q_dup_s16(v + i * kRun);
    multiply_channel<0>(x, u, acc);
  }
#pragma GCC unroll 4
  for (size_t i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (size_t j = 0; j < kVectors; ++j) vst1q_s32(m + i * kTileStride + j * kLanes, acc[i][j]);
  }
}

template <size_t kRows>
void multiply_rows(const WinogradProduct& args) {
  const int16_t* u = args.u;
  for (size_t p = args.first_position; p < args.first_position + args.positions; ++p) {
    const int32_t* start = p == kStartPosition ? args.start : nullptr;
    multiply_position<kRows>(args.v + p * args.position_stride, u, args.channels, start,
                             args.m + p * kNr);
    u += args.channels * kNr;
  }
}

constexpr void (*kMultiply[kMr])(const WinogradProduct&) = {multiply_rows<1>, multiply_rows<2>,
                                                            multiply_rows<3>, multiply_rows<4>};

void multiply(const WinogradProduct& args) { kMultiply[args.tiles - 1](args); }

// out = A^T m, modulo 2^32.
WBCQ_INLINE void transform_four(const int32x4_t (&m)[6], int32x4_t (&out)[4]) {
  const int32x4_t s12 = vaddq_s32(m[1], m[2]);
  const int32x4_t d12 = vsubq_s32(m[1], m[2]);
  const int32x4_t s34 = vaddq_s32(m[3], m[4]);
  const int32x4_t d34 = vsubq_s32(m[3], m[4]);
  out[0] = vaddq_s32(vaddq_s32(m[0], s34), vshlq_n_s32(s12, 2));
  out[1] = vaddq_s32(vaddq_s32(d12, d12), d34);
  out[2] = vaddq_s32(s12, s34);
  out[3] = vaddq_s32(vaddq_s32(m[5], d12), vaddq_s32(d34, d34));
}

// Where the exponent of row or column i of D begins among a panel's multipliers.
constexpr size_t kTwos[4] = {2, 1, 0, 0};

// The columns of M, transformed, of four channels: four rows of six.
WBCQ_INLINE void transform_columns(const int32_t* m, int32_t (&columns)[4][6][kLanes]) {
#pragma GCC unroll 6
  for (size_t x = 0; x < 6; ++x) {
    int32x4_t t[6], column[4];
#pragma GCC unroll 6
    for (size_t y = 0; y < 6; ++y) t[y] = vld1q_s32(m + (y * 6 + x) * kNr);
    transform_four(t, column);
#pragma GCC unroll 4
    for (size_t y = 0; y < 4; ++y) vst1q_s32(columns[y][x], column[y]);
  }
}

// The accumulators of row y, times 9 * 2^k / 9.
WBCQ_INLINE void transform_row(const int32_t (&row)[6][kLanes], int32x4_t (&acc)[4]) {
  int32x4_t t[6];
#pragma GCC unroll 6
  for (size_t x = 0; x < 6; ++x) t[x] = vld1q_s32(row[x]);
  transform_four(t, acc);
#pragma GCC unroll 4
  for (size_t x = 0; x < 4; ++x) acc[x] = vmulq_s32(acc[x], vdupq_n_s32(0x38E38E39));
}

// Eight channels of one tile. Every conversion on the way to u8 saturates and is monotone, so
// clamping at the end equals clamping the float.
void transform_back(const WinogradOutputTiles& args, const WinogradPlace& place, const int32_t* m,
                    size_t first) {
  const int16x8_t zero_point = vdupq_n_s16(static_cast<int16_t>(args.zero_point));
  const uint8x8_t lo = vdup_n_u8(static_cast<uint8_t>(args.lo));
  const uint8x8_t hi = vdup_n_u8(static_cast<uint8_t>(args.hi));
  const int16x8_t residual_zero_point = vdupq_n_s16(static_cast<int16_t>(args.residual_zero_point));
  const float32x4_t residual_mult = vdupq_n_f32(args.residual_multiplier);
  const size_t count = args.channels - first;
  int32_t columns[2][4][6][kLanes];
  transform_columns(m, columns[0]);
  transform_columns(m + kLanes, columns[1]);
  for (size_t y = 0; y < place.rows; ++y) {
    int32x4_t acc[2][4];
    transform_row(columns[0][y], acc[0]);
    transform_row(columns[1][y], acc[1]);
#pragma GCC unroll 4
    for (size_t x = 0; x < 4; ++x) {
      if (x == place.cols) break;
      const float* mult =
          static_cast<const float*>(args.panel) + (1 + kTwos[y] + kTwos[x]) * kNr + first;
      float32x4_t low = vmulq_f32(vcvtq_f32_s32(acc[0][x]), vld1q_f32(mult));
      float32x4_t high = vmulq_f32(vcvtq_f32_s32(acc[1][x]), vld1q_f32(mult + kLanes));
      if (args.residual != nullptr) {
        const uint8_t* residual = args.residual + place.residual + y * args.residual_row_stride +
                                  x * args.residual_pixel_stride + first;
        const uint16x8_t r = vmovl_u8(load_bytes(residual, count));
        const int16x8_t centred = vsubq_s16(vreinterpretq_s16_u16(r), residual_zero_point);
        const float32x4_t shortcut_low = vcvtq_f32_s32(vmovl_s16(vget_low_s16(centred)));
        const float32x4_t shortcut_high = vcvtq_f32_s32(vmovl_high_s16(centred));
        low = vaddq_f32(low, vmulq_f32(shortcut_low, residual_mult));
        high = vaddq_f32(high, vmulq_f32(shortcut_high, residual_mult));
      }
      const int16x4_t narrow = vqmovn_s32(vcvtnq_s32_f32(low));
      const int16x8_t rounded = vqmovn_high_s32(narrow, vcvtnq_s32_f32(high));
      const uint8x8_t bytes = vqmovun_s16(vqaddq_s16(rounded, zero_point));
      uint8_t* out = args.out + place.out + y * args.out_row_stride + x * args.out_pixel_stride;
      store_bytes(out + first, vmax_u8(vmin_u8(bytes, hi), lo), count);
    }
  }
}

void transform_output(const WinogradOutputTiles& args) {
  for (size_t tile = 0; tile < args.tiles; ++tile) {
    for (size_t first = 0; first < args.channels; first += 8) {
      transform_back(args, args.places[tile], args.m + tile * kTileStride + first, first);
    }
  }
}

}  // namespace

const WinogradKernel winograd_arm_neon = {"winograd_u8_u8_s8c_4x16c1_neon",
                                          kMr,
                                          kNr,
                                          /*kr=*/1,
                                          kRun,
                                          /*transform_weights=*/nullptr,
                                          transform_input,
                                          multiply,
                                          transform_output};

}  // namespace wbcq
