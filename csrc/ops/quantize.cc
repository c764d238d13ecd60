// float32 to u8: the caller's pictures (N, C, H, W), with the halo around them, or a tensor.
#include <cstring>

#include "ops/row_plan.h"

namespace wbcq {
namespace {

class QuantizeOp final : public Op {
 public:
  explicit QuantizeOp(const OpSource& source)
      : Op(source.name, "quantize", source.kernels->convert->name),
        kernels_(*source.kernels->convert),
        input_(*source.inputs[0]),
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
    const TensorLayout& layout = output_.layout;
    auto* out = reinterpret_cast<uint8_t*>(buffers.outputs[0]);
    for (size_t row = first; row < last; ++row) {
      const size_t picture = row / padded_rows();
      const size_t y = row % padded_rows() - layout.halo.top;  // wraps above the picture
      if (y >= output_.height) {
        std::memset(out + row * layout.row_stride, output_.zero_point, layout.row_stride);
        continue;
      }
      uint8_t* pixels = out + output_.row_offset(picture * output_.height + y);
      if (input_.is_planar && !output_.is_view) {
        quantize_planar(reinterpret_cast<const float*>(buffers.inputs[0]) +
                            picture * output_.channels * output_.pixels() + y * output_.width,
                        pixels);
      } else {
        quantize_nhwc(buffers.inputs[0] + input_.row_offset(picture * output_.height + y), pixels);
      }
      const size_t left = layout.halo.left * layout.pixel_stride;
      std::memset(pixels - left, output_.zero_point, left);
      std::memset(pixels + output_.width * layout.pixel_stride, output_.zero_point,
                  layout.halo.right * layout.pixel_stride);
    }
  }

 private:
  void quantize_planar(const float* in, uint8_t* out) const {
    QuantizePlanar args = {};
    args.pixels = output_.width;
    args.channels = output_.channels;
    args.in = in;
    args.plane_stride = output_.pixels();
    args.out = out;
    args.out_stride = output_.layout.pixel_stride;
    args.inverse_scale = inverse_scale_;
    args.zero_point = output_.zero_point;
    kernels_.quantize_planar(args);
  }

  void quantize_nhwc(const std::byte* in, uint8_t* out) const {
    QuantizeNhwc args = {};
    args.pixels = output_.width;
    args.channels = output_.channels;
    args.in = reinterpret_cast<const float*>(in);
    args.in_stride = input_.layout.pixel_stride / sizeof(float);
    args.out = out;
    args.out_stride = output_.layout.pixel_stride;
    args.inverse_scale = inverse_scale_;
    args.zero_point = output_.zero_point;
    kernels_.quantize_nhwc(args);
  }

  const ConvertKernels& kernels_;
  const Tensor& input_;
  const Tensor& output_;
  float inverse_scale_;
};

}  // namespace

Result<std::unique_ptr<Op>> make_quantize(const OpSource& source) {
  return std::unique_ptr<Op>(std::make_unique<QuantizeOp>(source));
}

}  // namespace wbcq
