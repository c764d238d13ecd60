// Addition of two tensors of one shape.
#include "ops/row_plan.h"

namespace wbcq {
namespace {

class AddOp final : public Op {
 public:
  explicit AddOp(const OpSource& source)
      : Op(source.name, "add", source.kernels->elementwise->name),
        kernels_(*source.kernels->elementwise),
        a_(*source.inputs[0]),
        b_(*source.inputs[1]),
        output_(*source.outputs[0]),
        lo_(source.attrs[format::add::kLo]),
        hi_(source.attrs[format::add::kHi]) {
    cost_.activation_bytes = 3 * output_.pixels() * output_.channels;
  }

  bool may_overwrite(size_t) const override { return true; }
  std::unique_ptr<OpPlan> plan(size_t batch, size_t /*threads*/) const override {
    return std::make_unique<RowPlan<AddOp>>(*this, batch * output_.height);
  }

  // Rows count through all pictures. The gaps between pixels are added as well: one long run is
  // faster than many short ones.
  void run_rows(const OpBuffers& buffers, size_t first, size_t last, std::byte*) const {
    const size_t offset = first * output_.layout.row_stride;
    AddU8 args = {};
    args.pixels = 1;
    args.channels = (last - first) * output_.layout.row_stride;
    args.a = reinterpret_cast<const uint8_t*>(buffers.inputs[0]) + offset;
    args.b = reinterpret_cast<const uint8_t*>(buffers.inputs[1]) + offset;
    args.out = reinterpret_cast<uint8_t*>(buffers.outputs[0]) + offset;
    args.a_zero_point = a_.zero_point;
    args.a_multiplier = a_.scale / output_.scale;
    args.b_zero_point = b_.zero_point;
    args.b_multiplier = b_.scale / output_.scale;
    args.zero_point = output_.zero_point;
    args.lo = lo_;
    args.hi = hi_;
    kernels_.add_u8(args);
  }

 private:
  const ElementwiseKernels& kernels_;
  const Tensor& a_;
  const Tensor& b_;
  const Tensor& output_;
  int32_t lo_;
  int32_t hi_;
};

}  // namespace

Result<std::unique_ptr<Op>> make_add(const OpSource& source) {
  return std::unique_ptr<Op>(std::make_unique<AddOp>(source));
}

}  // namespace wbcq
