// Addition and subtraction of two tensors.
#include "ops/elementwise.h"
#include "ops/rounding.h"

namespace wbcq {
namespace {

namespace attr = format::add;

class AddOp final : public ElementwiseOp {
 public:
  explicit AddOp(const OpSource& source)
      : ElementwiseOp(source, "add", source.kernels->elementwise->name),
        kernels_(*source.kernels->elementwise),
        rounding_(source, {attr::kLo, attr::kHi, attr::kPreScale, attr::kPreZeroPoint}, 0),
        a_multiplier_(a().scale / rounding_.scale()),
        b_multiplier_(b().scale / rounding_.scale()) {
    // A negation is exact: the sum is the difference to the bit.
    if (source.attrs[attr::kSubtract] != 0) b_multiplier_ = -b_multiplier_;
  }

 private:
  void run(const Run& run) const override {
    AddU8 args = {};
    args.pixels = run.pixels;
    args.channels = run.channels;
    args.a = reinterpret_cast<const uint8_t*>(run.a);
    args.a_stride = run.a_stride;
    args.b = reinterpret_cast<const uint8_t*>(run.b);
    args.b_stride = run.b_stride;
    args.out = reinterpret_cast<uint8_t*>(run.out);
    args.out_stride = run.out_stride;
    args.a_zero_point = a().zero_point;
    args.a_multiplier = a_multiplier_;
    args.b_zero_point = b().zero_point;
    args.b_multiplier = b_multiplier_;
    args.zero_point = rounding_.zero_point();
    args.lo = rounding_.lo();
    args.hi = rounding_.hi();
    kernels_.add_u8(args);
    rounding_.apply_table(args.out, run.out_stride, run.pixels, run.channels);
  }

  const ElementwiseKernels& kernels_;
  Rounding rounding_;
  float a_multiplier_;
  float b_multiplier_;
};

}  // namespace

Result<std::unique_ptr<Op>> make_add(const OpSource& source) {
  if (source.inputs[0]->dtype == format::DType::kF32) return make_binary(source);
  return std::unique_ptr<Op>(std::make_unique<AddOp>(source));
}

}  // namespace wbcq
