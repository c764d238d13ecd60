#include "kernels/dwconv/pack.h"

#include <cstring>

namespace wbcq {
namespace {

constexpr size_t kGroupAlignment = 64;

size_t ceil_div(size_t a, size_t b) { return (a + b - 1) / b; }

// Where a tap's weight lies: its step, and its slot in the step.
struct Place {
  size_t step;
  size_t slot;
};

// Column steps of kColumns: a row that is left over alone is served by row steps instead.
size_t steps_per_column(const DwconvLayout& layout, const DwconvGeometry& geometry) {
  const size_t rest = geometry.kernel_h % layout.step_taps;
  return geometry.kernel_h / layout.step_taps + (rest > 1 ? 1 : 0);
}

bool has_row_steps(const DwconvLayout& layout, const DwconvGeometry& geometry) {
  return geometry.kernel_h % layout.step_taps == 1;
}

Place place_of(const DwconvLayout& layout, const DwconvGeometry& geometry, size_t ky, size_t kx) {
  if (layout.order == DwconvTapOrder::kSequential) {
    const size_t tap = ky * geometry.kernel_w + kx;
    return {tap / layout.step_taps, tap % layout.step_taps};
  }
  const size_t per_column = steps_per_column(layout, geometry);
  if (ky / layout.step_taps < per_column) {
    return {kx * per_column + ky / layout.step_taps, ky % layout.step_taps};
  }
  const size_t from_right = geometry.kernel_w - 1 - kx;
  return {geometry.kernel_w * per_column + from_right / layout.step_taps,
          from_right % layout.step_taps};
}

// Element of a group's arrays that belongs to a channel of the group.
size_t element_of(const DwconvLayout& layout, size_t channel) {
  const size_t lane = channel / (layout.parts * 4);
  const size_t part = channel / 4 % layout.parts;
  return (part * layout.lanes + lane) * 4 + channel % 4;
}

void store_weight(const DwconvLayout& layout, std::byte* weights, size_t index, int8_t value) {
  if (layout.weight_bytes == 1) {
    std::memcpy(weights + index, &value, 1);
  } else {
    const int16_t wide = value;
    std::memcpy(weights + index * sizeof(wide), &wide, sizeof(wide));
  }
}

// Writes the weights of one channel and returns their sum.
int64_t pack_channel(const DwconvLayout& layout, const DwconvGeometry& geometry,
                     const int8_t* source, size_t element, std::byte* weights) {
  int64_t sum = 0;
  for (size_t ky = 0; ky < geometry.kernel_h; ++ky) {
    for (size_t kx = 0; kx < geometry.kernel_w; ++kx) {
      const int8_t value = source[ky * geometry.kernel_w + kx];
      const Place place = place_of(layout, geometry, ky, kx);
      const size_t index = (place.step * layout.block() + element) * layout.step_taps + place.slot;
      store_weight(layout, weights, index, value);
      sum += value;
    }
  }
  return sum;
}

}  // namespace

size_t dwconv_steps(const DwconvLayout& layout, const DwconvGeometry& geometry) {
  if (layout.order == DwconvTapOrder::kSequential) {
    return ceil_div(geometry.kernel_h * geometry.kernel_w, layout.step_taps);
  }
  const size_t row_steps =
      has_row_steps(layout, geometry) ? ceil_div(geometry.kernel_w, layout.step_taps) : 0;
  return geometry.kernel_w * steps_per_column(layout, geometry) + row_steps;
}

size_t dwconv_group_bytes(const DwconvLayout& layout, const DwconvGeometry& geometry) {
  const size_t header = sizeof(int32_t) + 2 * sizeof(float);
  const size_t weights = dwconv_steps(layout, geometry) * layout.step_taps * layout.weight_bytes;
  return ceil_div(layout.block() * (header + weights), kGroupAlignment) * kGroupAlignment;
}

size_t dwconv_packed_bytes(const DwconvLayout& layout, const DwconvPackInput& input) {
  return ceil_div(input.channels, layout.block()) * dwconv_group_bytes(layout, input.geometry);
}

void dwconv_pack(const DwconvLayout& layout, const DwconvPackInput& input, void* packed) {
  const size_t block = layout.block();
  const size_t taps = input.geometry.kernel_h * input.geometry.kernel_w;
  const size_t group_bytes = dwconv_group_bytes(layout, input.geometry);
  std::memset(packed, 0, dwconv_packed_bytes(layout, input));
  for (size_t channel = 0; channel < input.channels; ++channel) {
    const size_t element = element_of(layout, channel % block);
    std::byte* group = static_cast<std::byte*>(packed) + channel / block * group_bytes;
    auto* start = reinterpret_cast<int32_t*>(group);
    auto* mult = reinterpret_cast<float*>(group) + block;
    auto* bias = reinterpret_cast<float*>(group) + 2 * block;
    const int64_t sum = pack_channel(layout, input.geometry, input.weights + channel * taps,
                                     element, group + 12 * block);
    int64_t first = -(int64_t{input.zero_point} - layout.lhs_offset) * sum;
    if (input.bias != nullptr) first += input.bias[channel];
    start[element] = static_cast<int32_t>(static_cast<uint32_t>(first));
    mult[element] = input.multipliers[channel];
    if (input.float_bias != nullptr) bias[element] = input.float_bias[channel];
  }
}

}  // namespace wbcq
