#include "kernels/dwconv_f32/pack.h"

#include <cstring>

namespace wbcq {
namespace {

constexpr size_t kGroupAlignment = 64;

size_t ceil_div(size_t a, size_t b) { return (a + b - 1) / b; }

size_t taps_of(const DwconvGeometry& geometry) { return geometry.kernel_h * geometry.kernel_w; }

}  // namespace

size_t dwconv_f32_group_bytes(const DwconvF32Kernel& kernel, const DwconvGeometry& geometry) {
  const size_t bytes = kernel.block * (1 + taps_of(geometry)) * sizeof(float);
  return ceil_div(bytes, kGroupAlignment) * kGroupAlignment;
}

size_t dwconv_f32_packed_bytes(const DwconvF32Kernel& kernel, const DwconvF32PackInput& input) {
  return ceil_div(input.channels, kernel.block) * dwconv_f32_group_bytes(kernel, input.geometry);
}

void dwconv_f32_pack(const DwconvF32Kernel& kernel, const DwconvF32PackInput& input, void* packed) {
  const size_t block = kernel.block;
  const size_t taps = taps_of(input.geometry);
  const size_t group_bytes = dwconv_f32_group_bytes(kernel, input.geometry);
  std::memset(packed, 0, dwconv_f32_packed_bytes(kernel, input));
  for (size_t channel = 0; channel < input.channels; ++channel) {
    std::byte* group = static_cast<std::byte*>(packed) + channel / block * group_bytes;
    auto* column = reinterpret_cast<float*>(group) + channel % block;
    if (input.bias != nullptr) *column = input.bias[channel];
    const float* weights = input.weights + channel * taps;
    for (size_t tap = 0; tap < taps; ++tap) column[(1 + tap) * block] = weights[tap];
  }
}

}  // namespace wbcq
