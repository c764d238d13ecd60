#include "kernels/winograd/pack.h"

#include <algorithm>
#include <cstring>

namespace wbcq {
namespace {

constexpr size_t kPanelAlignment = 64;
constexpr size_t kTaps = 9;
constexpr size_t kMultipliers = 5;
constexpr size_t kHeaderWords = 1 + kMultipliers;
constexpr int64_t kAccumulatorLimit = int64_t{1} << 25;
constexpr float kLeastMultiplier = 0x1p-120f;

// One row of G for each of the points 0, 1, -1, 2, -2 and infinity.
constexpr int kG[6][3] = {{6, 0, 0}, {-1, -1, -1}, {-1, 1, -1}, {1, 2, 4}, {1, -2, 4}, {0, 0, 6}};

size_t ceil_div(size_t a, size_t b) { return (a + b - 1) / b; }

// U = G g G^T of one input channel of a filter; taps are `stride` weights apart.
void transform_filter(const int8_t* weights, size_t stride, int16_t (&u)[kWinogradPositions]) {
  int columns[6][3];
  for (size_t i = 0; i < 6; ++i) {
    for (size_t x = 0; x < 3; ++x) {
      columns[i][x] = 0;
      for (size_t y = 0; y < 3; ++y) columns[i][x] += kG[i][y] * weights[(y * 3 + x) * stride];
    }
  }
  for (size_t i = 0; i < 6; ++i) {
    for (size_t j = 0; j < 6; ++j) {
      int sum = 0;
      for (size_t x = 0; x < 3; ++x) sum += kG[j][x] * columns[i][x];
      u[i * 6 + j] = static_cast<int16_t>(sum);
    }
  }
}

}  // namespace

bool winograd_is_exact(const WinogradPackInput& input) {
  const size_t depth = kTaps * input.in_channels;
  for (size_t channel = 0; channel < input.out_channels; ++channel) {
    const int8_t* weights = input.weights + channel * depth;
    int64_t positive = 0;
    int64_t sum = 0;
    for (size_t i = 0; i < depth; ++i) {
      sum += weights[i];
      positive += std::max<int64_t>(weights[i], 0);
    }
    const int64_t start = input.bias[channel] - input.zero_point * sum;
    const int64_t most = start + 255 * positive;
    const int64_t least = start + 255 * (sum - positive);
    if (most >= kAccumulatorLimit || least <= -kAccumulatorLimit) return false;
    if (!(input.multipliers[channel] >= kLeastMultiplier)) return false;
  }
  return true;
}

size_t winograd_steps(const WinogradKernel& kernel, size_t in_channels) {
  return ceil_div(in_channels, kernel.kr);
}

size_t winograd_header_bytes(const WinogradKernel& kernel) {
  return kernel.nr * kHeaderWords * sizeof(int32_t);
}

size_t winograd_panel_bytes(const WinogradKernel& kernel, size_t in_channels) {
  const size_t u = kWinogradPositions * winograd_steps(kernel, in_channels) * kernel.kr;
  const size_t bytes = winograd_header_bytes(kernel) + kernel.nr * u * sizeof(int16_t);
  return ceil_div(bytes, kPanelAlignment) * kPanelAlignment;
}

size_t winograd_packed_bytes(const WinogradKernel& kernel, const WinogradPackInput& input) {
  return ceil_div(input.out_channels, kernel.nr) * winograd_panel_bytes(kernel, input.in_channels);
}

void winograd_pack(const WinogradKernel& kernel, const WinogradPackInput& input, void* packed) {
  const size_t nr = kernel.nr;
  const size_t steps = winograd_steps(kernel, input.in_channels);
  const size_t panel_bytes = winograd_panel_bytes(kernel, input.in_channels);
  const size_t depth = kTaps * input.in_channels;
  std::memset(packed, 0, winograd_packed_bytes(kernel, input));
  for (size_t channel = 0; channel < input.out_channels; ++channel) {
    const size_t column = channel % nr;
    std::byte* panel = static_cast<std::byte*>(packed) + channel / nr * panel_bytes;
    auto* start = reinterpret_cast<uint32_t*>(panel);
    auto* mult = reinterpret_cast<float*>(panel) + nr;
    auto* u = reinterpret_cast<int16_t*>(panel) + 2 * kHeaderWords * nr;
    const int8_t* weights = input.weights + channel * depth;
    int64_t sum = 0;
    for (size_t i = 0; i < depth; ++i) sum += weights[i];
    start[column] = static_cast<uint32_t>(36 * (input.bias[channel] - input.zero_point * sum));
    float multiplier = input.multipliers[channel] * 0.25f;
    for (size_t k = 0; k < kMultipliers; ++k, multiplier *= 0.5f)
      mult[k * nr + column] = multiplier;
    for (size_t c = 0; c < input.in_channels; ++c) {
      int16_t transformed[kWinogradPositions];
      transform_filter(weights + c, input.in_channels, transformed);
      int16_t* first = u + (c / kernel.kr * nr + column) * kernel.kr + c % kernel.kr;
      for (size_t p = 0; p < kWinogradPositions; ++p) {
        first[p * steps * nr * kernel.kr] = transformed[p];
      }
    }
  }
}

}  // namespace wbcq
