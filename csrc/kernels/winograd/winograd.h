// Exact INT8 Winograd convolution F(4x4, 3x3): 36 products for 16 outputs instead of 144, and the
// bits of direct convolution. docs/design/winograd.md derives and proves it; in short:
//
//   V = B^T d B            of a tile of 6x6 activations d, |V| <= 17,340: int16
//   U = G g G^T            of a filter g of 3x3 weights, |U| <= 6,223: int16
//   M = sum over channels of U * V, at each of the 36 positions, modulo 2^32
//   D Y D = A^T M A        modulo 2^32, D = diag(24, 12, 6, 6) = 3 * diag(8, 4, 2, 2)
//   Y = the 4x4 accumulators of the tile, zero point and bias included
//
//   out = clamp(rne(float(Y) * mult [+ shortcut]) + z, lo, hi), as in kernels/gemm/gemm.h
//
// Multiplying by 1/9 modulo 2^32 leaves 2^k * Y, k from 2 to 6, if |Y| < 2^25, which
// winograd_is_exact() has checked; float(2^k * Y) * (mult * 2^-k) is float(Y) * mult.
#ifndef WBCQ_KERNELS_WINOGRAD_WINOGRAD_H_
#define WBCQ_KERNELS_WINOGRAD_WINOGRAD_H_

#include <cstddef>
#include <cstdint>

namespace wbcq {

inline constexpr size_t kWinogradOutput = 4;  // outputs of a tile along each axis
inline constexpr size_t kWinogradInput = 6;   // inputs of a tile along each axis
inline constexpr size_t kWinogradPositions = 36;
// Rows of positions whose filters are transformed together: 1 and 2, like 3 and 4, are sums and
// differences of the same numbers.
inline constexpr size_t kWinogradParts[5] = {0, 6, 18, 30, 36};

// A group of at most mr tiles goes through transform_input, multiply and transform_output
// together.
//
// V holds, for each position, for each run of channel_run channels (the last padded with zeros),
// for each tile of the group channel_run values: v[position * position_stride + (run * tiles +
// tile) * channel_run + c]. 64-byte aligned, position_stride a multiple of 32.
struct WinogradInputTiles {
  size_t tiles;                  // 1 to mr
  size_t channels;               // at least 1; up to 15 bytes past them may be read
  const uint8_t* const* pixels;  // [36][tiles]: where the inputs of the tiles lie, row by row
  int16_t* v;
  size_t position_stride;
};

// Filters to U of some positions. The filters are those of a panel of kernels/gemm of as many
// columns, whose steps hold kWinogradFilterStep channels: [9][channels / 4][nr][4].
inline constexpr size_t kWinogradFilterStep = 4;

struct WinogradWeights {
  size_t channels;         // a multiple of 4
  const int8_t* filters;   // 64-byte aligned
  size_t part;             // positions kWinogradParts[part] to kWinogradParts[part + 1]
  int16_t* u;              // [positions of the part][steps][nr][kr], 64-byte aligned
  size_t position_stride;  // a multiple of 32
};

// m[tile][position][nr], 64-byte aligned, for all nr columns of a panel.
struct WinogradProduct {
  size_t tiles;  // 1 to mr
  size_t channels;
  const int16_t* v;
  size_t position_stride;
  const int32_t* start;  // layouts in pack.h
  const int16_t* u;      // of first_position
  size_t first_position;
  size_t positions;
  int32_t* m;
  // Null, or weights that should come into L2 meanwhile: so many bytes for each position.
  const void* prefetch;
  size_t prefetch_stride;
};

// Where the outputs of a tile lie, in bytes; `rows` by `cols` of its 4x4 lie inside the picture.
struct WinogradPlace {
  size_t out;
  size_t residual;
  uint32_t rows;
  uint32_t cols;
};

// residual == out with equal strides and places is allowed.
struct WinogradOutputTiles {
  size_t tiles;     // any number
  size_t channels;  // 1 to nr; exactly `channels` bytes of each pixel are written
  const int32_t* m;
  const void* panel;
  const WinogradPlace* places;  // [tiles]
  uint8_t* out;
  size_t out_row_stride;
  size_t out_pixel_stride;
  const uint8_t* residual;  // null, or u8: exactly `channels` bytes of each pixel are read
  size_t residual_row_stride;
  size_t residual_pixel_stride;
  float residual_multiplier;
  int32_t residual_zero_point;
  int32_t zero_point;
  int32_t lo;
  int32_t hi;
};

// kr is the number of consecutive input channels that a packed step holds for each output channel.
struct WinogradKernel {
  const char* name;
  size_t mr;
  size_t nr;
  size_t kr;
  size_t channel_run;  // a multiple of kr
  // Null where filters are always transformed when they are packed.
  void (*transform_weights)(const WinogradWeights& weights);
  void (*transform_input)(const WinogradInputTiles& tiles);
  void (*multiply)(const WinogradProduct& product);
  void (*transform_output)(const WinogradOutputTiles& tiles);
};

}  // namespace wbcq

#endif  // WBCQ_KERNELS_WINOGRAD_WINOGRAD_H_
