// u8 pixels to float32, both N, H, W, C.
#include "ops/row_plan.h"

namespace wbcq {
namespace {

class DequantizeOp final : public Op {
 public:
  explicit DequantizeOp(const OpSource& source)
      : Op(source.name, "dequantize", source.kernels->convert->name),
        kernels_(*source.kernels->convert),
        input_(*source.inputs[0]),
        output_(*source.outputs[0]) {
    cost_.activation_bytes = input_.pixels() * input_.channels * 5;
  }

  std::unique_ptr<OpPlan> plan(size_t batch, size_t /*threads*/) const override {
    return std::make_unique<RowPlan<DequantizeOp>>(*this, batch * output_.height);
  }

  void run_rows(const OpBuffers& buffers, size_t first, size_t last, std::byte*) const {
    Dequantize args = {};
    args.pixels = input_.width;
    args.channels = input_.channels;
    args.in_stride = input_.layout.pixel_stride;
    args.out_stride = output_.layout.pixel_stride / sizeof(float);
    args.scale = input_.scale;
    args.zero_point = input_.zero_point;
    for (size_t row = first; row < last; ++row) {
      args.in = reinterpret_cast<const uint8_t*>(buffers.inputs[0] + input_.row_offset(row));
      args.out = reinterpret_cast<float*>(buffers.outputs[0] + output_.row_offset(row));
      kernels_.dequantize(args);
    }
  }

 private:
  const ConvertKernels& kernels_;
  const Tensor& input_;
  const Tensor& output_;
};

}  // namespace

Result<std::unique_ptr<Op>> make_dequantize(const OpSource& source) {
  return std::unique_ptr<Op>(std::make_unique<DequantizeOp>(source));
}

}  // namespace wbcq
