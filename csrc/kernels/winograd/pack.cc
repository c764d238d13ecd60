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

// Filters of one step of a panel: a value for each of `count` pairs of channels, nr x kr at most.
constexpr size_t kMostPairs = 64;
using Pairs = int16_t[kMostPairs];

// out = sum of g[y] * in[y * stride], for every pair.
void combine(const int (&g)[3], const Pairs* in, size_t stride, size_t count, int16_t* out) {
  const int16_t *a = in[0], *b = in[stride], *c = in[2 * stride];
  for (size_t i = 0; i < count; ++i) {
    out[i] = static_cast<int16_t>(g[0] * a[i] + g[1] * b[i] + g[2] * c[i]);
  }
}

// U = G g G^T; taps [3][3]. Position p goes to u + p * position_stride: whole runs of `count`,
// because positions lie kilobytes apart.
void transform_filters(const Pairs (&taps)[kTaps], size_t count, size_t position_stride,
                       int16_t* u) {
  for (size_t i = 0; i < 6; ++i) {
    Pairs row[3];
    for (size_t x = 0; x < 3; ++x) combine(kG[i], taps + x, 3, count, row[x]);
    for (size_t j = 0; j < 6; ++j) {
      combine(kG[j], row, 1, count, u + (i * 6 + j) * position_stride);
    }
  }
}

// Output channels of a panel.
struct Columns {
  size_t first;
  size_t count;
};

void pack_header(const WinogradPackInput& input, Columns columns, size_t nr, std::byte* panel) {
  const size_t depth = kTaps * input.in_channels;
  std::memset(panel, 0, nr * kHeaderWords * sizeof(int32_t));
  auto* start = reinterpret_cast<uint32_t*>(panel);
  auto* mult = reinterpret_cast<float*>(panel) + nr;
  for (size_t column = 0; column < columns.count; ++column) {
    const size_t channel = columns.first + column;
    const int8_t* weights = input.weights + channel * depth;
    int64_t sum = 0;
    for (size_t i = 0; i < depth; ++i) sum += weights[i];
    start[column] = static_cast<uint32_t>(36 * (input.bias[channel] - input.zero_point * sum));
    float multiplier = input.multipliers[channel] * 0.25f;
    for (size_t k = 0; k < kMultipliers; ++k, multiplier *= 0.5f)
      mult[k * nr + column] = multiplier;
  }
}

// Channels first_channel to first_channel + kr of each column.
void gather_taps(const WinogradPackInput& input, Columns columns, size_t first_channel, size_t kr,
                 Pairs (&taps)[kTaps]) {
  const size_t channels = std::min(kr, input.in_channels - first_channel);
  for (size_t column = 0; column < columns.count; ++column) {
    const int8_t* weights =
        input.weights + (columns.first + column) * kTaps * input.in_channels + first_channel;
    for (size_t tap = 0; tap < kTaps; ++tap) {
      for (size_t c = 0; c < channels; ++c) {
        taps[tap][column * kr + c] = weights[tap * input.in_channels + c];
      }
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

size_t winograd_panel_bytes(const WinogradKernel& kernel, size_t in_channels,
                            WinogradWeightForm form) {
  size_t bytes = winograd_header_bytes(kernel);
  if (form == WinogradWeightForm::kTransformed) {
    const size_t pairs = winograd_steps(kernel, in_channels) * kernel.kr * kernel.nr;
    bytes += kWinogradPositions * pairs * sizeof(int16_t);
  }
  return ceil_div(bytes, kPanelAlignment) * kPanelAlignment;
}

size_t winograd_packed_bytes(const WinogradKernel& kernel, const WinogradPackInput& input,
                             WinogradWeightForm form) {
  return ceil_div(input.out_channels, kernel.nr) *
         winograd_panel_bytes(kernel, input.in_channels, form);
}

void winograd_pack(const WinogradKernel& kernel, const WinogradPackInput& input,
                   WinogradWeightForm form, void* packed) {
  const size_t nr = kernel.nr;
  const size_t steps = winograd_steps(kernel, input.in_channels);
  const size_t pairs = nr * kernel.kr;
  const size_t panel_bytes = winograd_panel_bytes(kernel, input.in_channels, form);
  for (size_t first = 0; first < input.out_channels; first += nr) {
    std::byte* panel = static_cast<std::byte*>(packed) + first / nr * panel_bytes;
    const Columns columns = {first, std::min(nr, input.out_channels - first)};
    pack_header(input, columns, nr, panel);
    std::byte* end = panel + winograd_header_bytes(kernel);
    if (form == WinogradWeightForm::kTransformed) {
      auto* u = reinterpret_cast<int16_t*>(end);
      for (size_t step = 0; step < steps; ++step) {
        Pairs taps[kTaps] = {};
        gather_taps(input, columns, step * kernel.kr, kernel.kr, taps);
        transform_filters(taps, pairs, steps * pairs, u + step * pairs);
      }
      end += kWinogradPositions * steps * pairs * sizeof(int16_t);
    }
    std::memset(end, 0, static_cast<size_t>(panel + panel_bytes - end));
  }
}

}  // namespace wbcq
