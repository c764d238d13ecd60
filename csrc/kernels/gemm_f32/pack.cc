#include "kernels/gemm_f32/pack.h"

#include <cstring>

namespace wbcq {
namespace {

constexpr size_t kPanelAlignment = 64;

size_t ceil_div(size_t a, size_t b) { return (a + b - 1) / b; }

}  // namespace

size_t gemm_f32_panel_bytes(const GemmF32Kernel& kernel, size_t total_steps) {
  const size_t bytes = kernel.nr * (1 + total_steps) * sizeof(float);
  return ceil_div(bytes, kPanelAlignment) * kPanelAlignment;
}

size_t gemm_f32_packed_bytes(const GemmF32Kernel& kernel, const GemmF32PackInput& input) {
  return ceil_div(input.out_channels, kernel.nr) * gemm_f32_panel_bytes(kernel, input.total_steps);
}

void gemm_f32_pack(const GemmF32Kernel& kernel, const GemmF32PackInput& input, void* packed) {
  const size_t nr = kernel.nr;
  const size_t panel_bytes = gemm_f32_panel_bytes(kernel, input.total_steps);
  std::memset(packed, 0, gemm_f32_packed_bytes(kernel, input));
  for (size_t channel = 0; channel < input.out_channels; ++channel) {
    std::byte* panel = static_cast<std::byte*>(packed) + channel / nr * panel_bytes;
    auto* column = reinterpret_cast<float*>(panel) + channel % nr;
    if (input.bias != nullptr) *column = input.bias[channel];
    const float* weights = input.weights + channel * input.total_steps;
    for (size_t step = 0; step < input.total_steps; ++step) column[(1 + step) * nr] = weights[step];
  }
}

}  // namespace wbcq
