// The caller's float32 pictures (N, C, H, W) to u8 pixels, and the halo around them.
#include <cstring>

#include "ops/row_plan.h"

namespace wbcq {
namespace {

class QuantizeOp final : public Op {
 public:
  explicit QuantizeOp(const OpSource& source)
      : Op(source.name, "quantize", source.kernels->convert->name),
        kernels_(*source.kernels->convert),
        output_(*source.outputs[0]),
        inverse_scale_(1.0f / output_.scale) {
    cost_.activation_bytes = output_.pixels() * output_.channels * 5;
  }

  std::unique_ptr<OpPlan> plan(size_t batch, size_t /*threads*/) const override {
    return std::make_unique<RowPlan<QuantizeOp>>(*this, batch * padded_rows());
  }

  size_t padded_rows() const {
    return output_.layout.halo.top + output_.height + output_.layout.halo.bottom;
  }

  // Rows of the halo and of the picture, counted through all pictures.
  void run_rows(const OpBuffers& buffers, size_t first, size_t last, std::byte*) const {
    const auto* in = reinterpret_cast<const float*>(buffers.inputs[0]);
    auto* out = reinterpret_cast<uint8_t*>(buffers.outputs[0]);
    for (size_t row = first; row < last; ++row) {
      const size_t y = row % padded_rows() - output_.layout.halo.top;  // wraps above the picture
      const float* picture = in + row / padded_rows() * output_.channels * output_.pixels();
      run_row(picture, y, out + row * output_.layout.row_stride);
    }
  }

 private:
  void run_row(const float* picture, size_t y, uint8_t* out) const {
    const TensorLayout& layout = output_.layout;
    if (y >= output_.height) {
      std::memset(out, output_.zero_point, layout.row_stride);
      return;
    }
    QuantizePlanar args = {};
    args.pixels = output_.width;
    args.channels = output_.channels;
    args.in = picture + y * output_.width;
    args.plane_stride = output_.pixels();
    args.out = out + layout.halo.left * layout.pixel_stride;
    args.out_stride = layout.pixel_stride;
    args.inverse_scale = inverse_scale_;
    args.zero_point = output_.zero_point;
    kernels_.quantize_planar(args);
    std::memset(out, output_.zero_point, layout.halo.left * layout.pixel_stride);
    std::memset(args.out + output_.width * layout.pixel_stride, output_.zero_point,
                layout.halo.right * layout.pixel_stride);
  }

  const ConvertKernels& kernels_;
  const Tensor& output_;
  float inverse_scale_;
};

}  // namespace

Result<std::unique_ptr<Op>> make_quantize(const OpSource& source) {
  return std::unique_ptr<Op>(std::make_unique<QuantizeOp>(source));
}

}  // namespace wbcq
