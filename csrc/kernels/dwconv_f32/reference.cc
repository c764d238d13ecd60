// The scalar kernel: the contract of dwconv_f32.h in plain C++, for machines without a kernel of
// their own.
#include "kernels/dwconv_f32/dwconv_f32.h"

namespace wbcq {
namespace {

constexpr size_t kBlock = 16;

const float* pixel_at(const DwconvF32Row& row, size_t ky, ptrdiff_t column) {
  const bool inside = column >= 0 && static_cast<size_t>(column) < row.in_width;
  return inside ? row.rows[ky] + static_cast<size_t>(column) * row.pixel_stride : row.padding;
}

void accumulate(const DwconvF32Row& row, const float* group, size_t first_channel, size_t channels,
                size_t x, float (&acc)[kBlock]) {
  const DwconvGeometry& g = row.geometry;
  for (size_t c = 0; c < channels; ++c) acc[c] = group[c];
  const float* weights = group + kBlock;
  for (size_t ky = 0; ky < g.kernel_h; ++ky) {
    for (size_t kx = 0; kx < g.kernel_w; ++kx, weights += kBlock) {
      const auto offset = static_cast<ptrdiff_t>(x * g.stride_w + kx * g.dilation_w);
      const float* pixel = pixel_at(row, ky, row.first_column + offset) + first_channel;
      for (size_t c = 0; c < channels; ++c) acc[c] += pixel[c] * weights[c];
    }
  }
}

void run(const DwconvF32Row& row) {
  const size_t group_floats = kBlock * (1 + row.geometry.kernel_h * row.geometry.kernel_w);
  const float* group = row.packed;
  for (size_t first = 0; first < row.channels; first += kBlock, group += group_floats) {
    const size_t channels = row.channels - first < kBlock ? row.channels - first : kBlock;
    for (size_t x = 0; x < row.width; ++x) {
      float acc[kBlock];
      accumulate(row, group, first, channels, x, acc);
      for (size_t c = 0; c < channels; ++c) {
        float value = acc[c];
        if (row.residual != nullptr) value += row.residual[x * row.residual_stride + first + c];
        value = value < row.lo ? row.lo : value;
        row.out[x * row.out_stride + first + c] = value > row.hi ? row.hi : value;
      }
    }
  }
}

}  // namespace

extern const DwconvF32Kernel dwconv_f32_reference = {"dwconv_f32_f32_f32_anyc16_reference", kBlock,
                                                     run};

}  // namespace wbcq
