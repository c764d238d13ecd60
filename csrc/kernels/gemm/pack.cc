#include "kernels/gemm/pack.h"

#include <cstring>

namespace wbcq {
namespace {

constexpr size_t kPanelAlignment = 64;

size_t ceil_div(size_t a, size_t b) { return (a + b - 1) / b; }

size_t steps_per_tap(size_t kr, std::span<const uint32_t> slices) {
  size_t steps = 0;
  for (uint32_t channels : slices) steps += ceil_div(channels, kr);
  return steps;
}

size_t channels_of(std::span<const uint32_t> slices) {
  size_t channels = 0;
  for (uint32_t c : slices) channels += c;
  return channels;
}

// Writes the weights of output channel `column` into its kr bytes of every step and returns the
// channel's share of start[]: -sum over slices of (zero_point - lhs_offset) * sum of weights.
int64_t pack_column(const GemmKernel& kernel, const GemmPackInput& input, const int8_t* weights,
                    size_t column, int8_t* panel_weights) {
  int64_t correction = 0;
  int8_t* step = panel_weights + column * kernel.kr;
  for (size_t tap = 0; tap < input.taps; ++tap) {
    for (size_t slice = 0; slice < input.slices.size(); ++slice) {
      const size_t channels = input.slices[slice];
      int64_t sum = 0;
      for (size_t first = 0; first < channels; first += kernel.kr) {
        const size_t count = channels - first < kernel.kr ? channels - first : kernel.kr;
        for (size_t k = 0; k < count; ++k) {
          step[k] = weights[first + k];
          sum += weights[first + k];
        }
        step += kernel.nr * kernel.kr;
      }
      correction -= (int64_t{input.zero_points[slice]} - kernel.lhs_offset) * sum;
      weights += channels;
    }
  }
  return correction;
}

}  // namespace

size_t gemm_total_steps(size_t kr, size_t taps, std::span<const uint32_t> slices) {
  return taps * steps_per_tap(kr, slices);
}

size_t gemm_header_bytes(const GemmKernel& kernel) {
  return kernel.nr * (sizeof(int32_t) + 2 * sizeof(float));
}

size_t gemm_panel_bytes(const GemmKernel& kernel, size_t total_steps) {
  const size_t bytes = gemm_header_bytes(kernel) + total_steps * kernel.nr * kernel.kr;
  return ceil_div(bytes, kPanelAlignment) * kPanelAlignment;
}

size_t gemm_packed_bytes(const GemmKernel& kernel, const GemmPackInput& input) {
  const size_t steps = gemm_total_steps(kernel.kr, input.taps, input.slices);
  return ceil_div(input.out_channels, kernel.nr) * gemm_panel_bytes(kernel, steps);
}

void gemm_pack(const GemmKernel& kernel, const GemmPackInput& input, void* packed) {
  const size_t nr = kernel.nr;
  const size_t depth = input.taps * channels_of(input.slices);
  const size_t panel_bytes =
      gemm_panel_bytes(kernel, gemm_total_steps(kernel.kr, input.taps, input.slices));
  std::memset(packed, 0, gemm_packed_bytes(kernel, input));
  for (size_t channel = 0; channel < input.out_channels; ++channel) {
    const size_t column = channel % nr;
    std::byte* panel = static_cast<std::byte*>(packed) + channel / nr * panel_bytes;
    auto* start = reinterpret_cast<int32_t*>(panel);
    auto* mult = reinterpret_cast<float*>(panel) + nr;
    auto* bias = reinterpret_cast<float*>(panel) + 2 * nr;
    auto* weights = reinterpret_cast<int8_t*>(panel + gemm_header_bytes(kernel));
    int64_t sum = pack_column(kernel, input, input.weights + channel * depth, column, weights);
    if (input.bias != nullptr) sum += input.bias[channel];
    start[column] = static_cast<int32_t>(static_cast<uint32_t>(sum));
    mult[column] = input.multipliers[channel];
    if (input.float_bias != nullptr) bias[column] = input.float_bias[channel];
  }
}

}  // namespace wbcq
