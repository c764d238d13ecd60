// The scalar kernel: the contract of dwconv.h in plain C++, for any geometry and both outputs, and
// what every other kernel is compared with.
#include "kernels/dwconv/dwconv.h"
#include "quant/requant.h"

namespace wbcq {
namespace {

constexpr DwconvLayout kLayout = {/*lanes=*/1,
                                  /*parts=*/4,
                                  /*step_taps=*/1,
                                  /*weight_bytes=*/1, DwconvTapOrder::kSequential,
                                  /*lhs_offset=*/0};
constexpr size_t kBlock = kLayout.block();

struct Group {
  const int32_t* start;
  const float* mult;
  const float* bias;
  const int8_t* weights;
};

Group open_group(const DwconvRow& row, size_t first_channel) {
  const DwconvGeometry& g = row.geometry;
  const size_t bytes = kBlock * (12 + g.kernel_h * g.kernel_w);
  const size_t padded = (bytes + 63) / 64 * 64;
  const auto* group = static_cast<const std::byte*>(row.packed) + first_channel / kBlock * padded;
  const auto* words = reinterpret_cast<const float*>(group);
  return {reinterpret_cast<const int32_t*>(group), words + kBlock, words + 2 * kBlock,
          reinterpret_cast<const int8_t*>(words + 3 * kBlock)};
}

const uint8_t* pixel_at(const DwconvRow& row, size_t ky, ptrdiff_t column) {
  const bool inside = column >= 0 && static_cast<size_t>(column) < row.in_width;
  return inside ? row.rows[ky] + static_cast<size_t>(column) * row.pixel_stride : row.padding;
}

// Unsigned, because partial sums may leave int32 where the final value does not.
void accumulate(const DwconvRow& row, const Group& group, size_t first_channel, size_t channels,
                size_t x, int32_t (&acc)[kBlock]) {
  const DwconvGeometry& g = row.geometry;
  uint32_t sum[kBlock];
  for (size_t c = 0; c < channels; ++c) sum[c] = static_cast<uint32_t>(group.start[c]);
  const int8_t* weights = group.weights;
  for (size_t ky = 0; ky < g.kernel_h; ++ky) {
    for (size_t kx = 0; kx < g.kernel_w; ++kx, weights += kBlock) {
      const auto offset = static_cast<ptrdiff_t>(x * g.stride_w + kx * g.dilation_w);
      const uint8_t* pixel = pixel_at(row, ky, row.first_column + offset) + first_channel;
      for (size_t c = 0; c < channels; ++c) sum[c] += static_cast<uint32_t>(pixel[c] * weights[c]);
    }
  }
  for (size_t c = 0; c < channels; ++c) acc[c] = static_cast<int32_t>(sum[c]);
}

template <typename Store>
void for_each_output(const DwconvRow& row, Store store) {
  for (size_t first = 0; first < row.channels; first += kBlock) {
    const Group group = open_group(row, first);
    const size_t channels = row.channels - first < kBlock ? row.channels - first : kBlock;
    for (size_t x = 0; x < row.width; ++x) {
      int32_t acc[kBlock];
      accumulate(row, group, first, channels, x, acc);
      for (size_t c = 0; c < channels; ++c) store(group, x, first + c, c, acc[c]);
    }
  }
}

void run_u8(const DwconvRow& row) {
  for_each_output(row, [&](const Group& group, size_t x, size_t channel, size_t c, int32_t acc) {
    uint8_t* out = static_cast<uint8_t*>(row.out) + x * row.out_stride + channel;
    if (row.residual == nullptr) {
      *out = requantize(acc, group.mult[c], row.zero_point, row.lo, row.hi);
      return;
    }
    const int32_t residual =
        row.residual[x * row.residual_stride + channel] - row.residual_zero_point;
    *out = requantize_add(acc, group.mult[c], residual, row.residual_multiplier, row.zero_point,
                          row.lo, row.hi);
  });
}

void run_f32(const DwconvRow& row) {
  for_each_output(row, [&](const Group& group, size_t x, size_t channel, size_t c, int32_t acc) {
    auto* out = reinterpret_cast<float*>(static_cast<std::byte*>(row.out) + x * row.out_stride);
    out[channel] = static_cast<float>(acc) * group.mult[c] + group.bias[c];
  });
}

bool supports(const DwconvGeometry&) { return true; }

}  // namespace

extern const DwconvKernel dwconv_reference = {"dwconv_u8_u8_s8c_anyc16_reference", kLayout,
                                              supports, run_u8, run_f32};

}  // namespace wbcq
