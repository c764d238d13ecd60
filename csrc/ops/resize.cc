// Resizing by nearest neighbour and by bilinear interpolation.
#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/row_plan.h"

namespace wbcq {
namespace {

namespace attr = format::resize;

// Where an output pixel lies along one axis: between the input pixels `first` and `second`. Every
// operation rounds to binary32, as docs/design/numerics.md defines it.
struct Position {
  size_t first;
  size_t second;
  float fraction;  // of the way from first to second
};

std::vector<Position> nearest_positions(size_t size, size_t out) {
  const float step = static_cast<float>(size) / static_cast<float>(out);
  std::vector<Position> positions;
  for (size_t o = 0; o < out; ++o) {
    const auto index = static_cast<size_t>(std::floor(static_cast<float>(o) * step));
    const size_t clipped = std::min(index, size - 1);
    positions.push_back({clipped, clipped, 0.0f});
  }
  return positions;
}

std::vector<Position> bilinear_positions(size_t size, size_t out, bool align_corners) {
  float step = static_cast<float>(size) / static_cast<float>(out);
  if (align_corners) {
    step = out > 1 ? static_cast<float>(size - 1) / static_cast<float>(out - 1) : 0.0f;
  }
  std::vector<Position> positions;
  for (size_t o = 0; o < out; ++o) {
    const auto pixel = static_cast<float>(o);
    float position = pixel * step;
    if (!align_corners) {
      const float scaled = (pixel + 0.5f) * step;
      position = std::max(scaled - 0.5f, 0.0f);
    }
    const size_t first = std::min(static_cast<size_t>(position), size - 1);
    const float fraction = std::min(position - static_cast<float>(first), 1.0f);
    positions.push_back({first, std::min(first + 1, size - 1), fraction});
  }
  return positions;
}

class ResizeOp final : public Op {
 public:
  explicit ResizeOp(const OpSource& source)
      : Op(source.name, "resize", source.kernels->resize->name),
        kernels_(*source.kernels->resize),
        input_(*source.inputs[0]),
        output_(*source.outputs[0]),
        bilinear_(source.attrs[attr::kMode] == attr::kBilinear) {
    const bool align_corners = source.attrs[attr::kAlignCorners] != 0;
    const auto positions = [&](size_t size, size_t out) {
      return bilinear_ ? bilinear_positions(size, out, align_corners)
                       : nearest_positions(size, out);
    };
    rows_ = positions(input_.height, output_.height);
    const size_t stride = input_.layout.pixel_stride;
    for (const Position& column : positions(input_.width, output_.width)) {
      if (bilinear_) {
        const size_t elements = stride / input_.element_bytes();
        taps_.push_back({column.first * elements, column.second * elements, column.fraction});
      } else {
        offsets_.push_back(column.first * stride);
      }
    }
    cost_.activation_bytes =
        input_.pixels() * input_.pixel_bytes() + output_.pixels() * output_.pixel_bytes();
  }

  std::unique_ptr<OpPlan> plan(size_t batch, size_t /*threads*/) const override {
    return std::make_unique<RowPlan<ResizeOp>>(*this, batch * output_.height);
  }

  void run_rows(const OpBuffers& buffers, size_t first, size_t last, std::byte*) const {
    for (size_t row = first; row < last; ++row) {
      const Position& position = rows_[row % output_.height];
      const size_t picture = row / output_.height * input_.height;
      const std::byte* top = buffers.inputs[0] + input_.row_offset(picture + position.first);
      const std::byte* bottom = buffers.inputs[0] + input_.row_offset(picture + position.second);
      std::byte* out = buffers.outputs[0] + output_.row_offset(row);
      if (!bilinear_) {
        kernels_.nearest({output_.width, output_.pixel_bytes(),
                          reinterpret_cast<const uint8_t*>(top), offsets_.data(),
                          reinterpret_cast<uint8_t*>(out), output_.layout.pixel_stride});
      } else if (output_.dtype == format::DType::kU8) {
        kernels_.bilinear_u8(bilinear_row<uint8_t>(top, bottom, position.fraction, out));
      } else {
        kernels_.bilinear_f32(bilinear_row<float>(top, bottom, position.fraction, out));
      }
    }
  }

 private:
  template <typename T>
  ResizeBilinearRow<T> bilinear_row(const std::byte* top, const std::byte* bottom, float fraction,
                                    std::byte* out) const {
    return {output_.width,
            output_.channels,
            reinterpret_cast<const T*>(top),
            reinterpret_cast<const T*>(bottom),
            taps_.data(),
            fraction,
            reinterpret_cast<T*>(out),
            output_.layout.pixel_stride / sizeof(T)};
  }

  const ResizeKernels& kernels_;
  const Tensor& input_;
  const Tensor& output_;
  bool bilinear_;
  std::vector<Position> rows_;
  std::vector<ResizeTap> taps_;  // of each output column, if bilinear
  std::vector<size_t> offsets_;  // else
};

}  // namespace

Result<std::unique_ptr<Op>> make_resize(const OpSource& source) {
  return std::unique_ptr<Op>(std::make_unique<ResizeOp>(source));
}

}  // namespace wbcq
