// The scalar kernel: the contract of winograd.h in plain C++, for machines without a kernel of
// their own and as what every other kernel is compared with.
#include "kernels/winograd/winograd.h"
#include "quant/requant.h"

namespace wbcq {

extern const WinogradKernel winograd_reference;

namespace {

constexpr size_t kMr = 4;
constexpr size_t kNr = 8;
constexpr size_t kRun = 8;
constexpr size_t kStartPosition = 7;
constexpr uint32_t kInverseOf9 = 0x38E38E39;

constexpr int kBt[6][6] = {{4, 0, -5, 0, 1, 0},  {0, -4, -4, 1, 1, 0}, {0, 4, -4, -1, 1, 0},
                           {0, -2, -1, 2, 1, 0}, {0, 2, -1, -2, 1, 0}, {0, 4, 0, -5, 0, 1}};
constexpr int kG[6][3] = {{6, 0, 0}, {-1, -1, -1}, {-1, 1, -1}, {1, 2, 4}, {1, -2, 4}, {0, 0, 6}};
constexpr int kAt[4][6] = {
    {1, 4, 4, 1, 1, 0}, {0, 2, -2, 1, -1, 0}, {0, 1, 1, 1, 1, 0}, {0, 1, -1, 2, -2, 1}};
constexpr size_t kTwos[4] = {3, 2, 1, 1};  // D = 3 * 2^kTwos

void transform_input(const WinogradInputTiles& tiles) {
  for (size_t tile = 0; tile < tiles.tiles; ++tile) {
    for (size_t c = 0; c < (tiles.channels + kRun - 1) / kRun * kRun; ++c) {
      int columns[6][6] = {};
      for (size_t i = 0; i < 6; ++i) {
        for (size_t x = 0; x < 6; ++x) {
          for (size_t y = 0; y < 6 && c < tiles.channels; ++y) {
            columns[i][x] += kBt[i][y] * tiles.pixels[(y * 6 + x) * tiles.tiles + tile][c];
          }
        }
      }
      int16_t* v = tiles.v + (c / kRun * tiles.tiles + tile) * kRun + c % kRun;
      for (size_t i = 0; i < 6; ++i) {
        for (size_t j = 0; j < 6; ++j) {
          int sum = 0;
          for (size_t x = 0; x < 6; ++x) sum += kBt[j][x] * columns[i][x];
          v[(i * 6 + j) * tiles.position_stride] = static_cast<int16_t>(sum);
        }
      }
    }
  }
}

void transform_weights(const WinogradWeights& args) {
  const size_t first = kWinogradParts[args.part];
  for (size_t p = first; p < kWinogradParts[args.part + 1]; ++p) {
    const int(&gy)[3] = kG[p / 6];
    const int(&gx)[3] = kG[p % 6];
    int16_t* u = args.u + (p - first) * args.position_stride;
    for (size_t c = 0; c < args.channels; ++c) {
      for (size_t n = 0; n < kNr; ++n) {
        int sum = 0;
        for (size_t tap = 0; tap < 9; ++tap) {
          sum += gy[tap / 3] * gx[tap % 3] *
                 args.filters[((tap * args.channels + c / 4 * 4) * kNr) + n * 4 + c % 4];
        }
        *u++ = static_cast<int16_t>(sum);
      }
    }
  }
}

void multiply_position(const WinogradProduct& product, size_t position) {
  const int16_t* u = product.u + (position - product.first_position) * product.channels * kNr;
  const int16_t* v = product.v + position * product.position_stride;
  for (size_t tile = 0; tile < product.tiles; ++tile) {
    int32_t* m = product.m + (tile * kWinogradPositions + position) * kNr;
    for (size_t n = 0; n < kNr; ++n) {
      // Unsigned, because sums wrap around.
      uint32_t sum = position == kStartPosition ? static_cast<uint32_t>(product.start[n]) : 0;
      for (size_t c = 0; c < product.channels; ++c) {
        const int16_t x = v[(c / kRun * product.tiles + tile) * kRun + c % kRun];
        sum += static_cast<uint32_t>(x * u[c * kNr + n]);
      }
      m[n] = static_cast<int32_t>(sum);
    }
  }
}

void multiply(const WinogradProduct& product) {
  for (size_t i = 0; i < product.positions; ++i) {
    multiply_position(product, product.first_position + i);
  }
}

// The accumulators of one tile and column, times D from both sides.
void transform_back(const int32_t* m, uint32_t (&y)[4][4]) {
  uint32_t columns[4][6] = {};
  for (size_t i = 0; i < 4; ++i) {
    for (size_t x = 0; x < 6; ++x) {
      for (size_t r = 0; r < 6; ++r) {
        columns[i][x] +=
            static_cast<uint32_t>(kAt[i][r]) * static_cast<uint32_t>(m[(r * 6 + x) * kNr]);
      }
    }
  }
  for (size_t i = 0; i < 4; ++i) {
    for (size_t j = 0; j < 4; ++j) {
      y[i][j] = 0;
      for (size_t x = 0; x < 6; ++x) y[i][j] += static_cast<uint32_t>(kAt[j][x]) * columns[i][x];
    }
  }
}

void transform_output(const WinogradOutputTiles& tiles) {
  const float* mult = static_cast<const float*>(tiles.panel) + kNr;
  for (size_t tile = 0; tile < tiles.tiles; ++tile) {
    const WinogradPlace& place = tiles.places[tile];
    for (size_t n = 0; n < tiles.channels; ++n) {
      uint32_t y[4][4];
      transform_back(tiles.m + tile * kWinogradPositions * kNr + n, y);
      for (size_t i = 0; i < place.rows; ++i) {
        for (size_t j = 0; j < place.cols; ++j) {
          const size_t twos = kTwos[i] + kTwos[j];
          const auto acc = static_cast<int32_t>(y[i][j] * kInverseOf9);
          const float m = mult[(twos - 2) * kNr + n];
          uint8_t* out =
              tiles.out + place.out + i * tiles.out_row_stride + j * tiles.out_pixel_stride + n;
          if (tiles.residual == nullptr) {
            *out = requantize(acc, m, tiles.zero_point, tiles.lo, tiles.hi);
          } else {
            const uint8_t residual = tiles.residual[place.residual + i * tiles.residual_row_stride +
                                                    j * tiles.residual_pixel_stride + n];
            *out = requantize_add(acc, m, residual - tiles.residual_zero_point,
                                  tiles.residual_multiplier, tiles.zero_point, tiles.lo, tiles.hi);
          }
        }
      }
    }
  }
}

}  // namespace

const WinogradKernel winograd_reference = {"winograd_u8_u8_s8c_4x8c1_reference",
                                           kMr,
                                           kNr,
                                           /*kr=*/1,
                                           kRun,
                                           transform_weights,
                                           transform_input,
                                           multiply,
                                           transform_output};

}  // namespace wbcq
