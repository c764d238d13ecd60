// Multiplication of two tensors.
#include "ops/elementwise.h"
#include "ops/rounding.h"

namespace wbcq {
namespace {

namespace attr = format::mul;

class MulOp final : public ElementwiseOp {
 public:
  explicit MulOp(const OpSource& source)
      : ElementwiseOp(source, "mul", source.kernels->elementwise->name),
        kernels_(*source.kernels->elementwise),
        rounding_(source, {attr::kLo, attr::kHi, attr::kPreScale, attr::kPreZeroPoint}, 0) {
    const float product = a().scale * b().scale;
    multiplier_ = product / rounding_.scale();
  }

 private:
  void run(const Run& run) const override {
    MulU8 args = {};
    args.pixels = run.pixels;
    args.channels = run.channels;
    args.a = reinterpret_cast<const uint8_t*>(run.a);
    args.a_stride = run.a_stride;
    args.b = reinterpret_cast<const uint8_t*>(run.b);
    args.b_stride = run.b_stride;
    args.out = reinterpret_cast<uint8_t*>(run.out);
    args.out_stride = run.out_stride;
    args.a_zero_point = a().zero_point;
    args.b_zero_point = b().zero_point;
    args.multiplier = multiplier_;
    args.zero_point = rounding_.zero_point();
    args.lo = rounding_.lo();
    args.hi = rounding_.hi();
    kernels_.mul_u8(args);
    rounding_.apply_table(args.out, run.out_stride, run.pixels, run.channels);
  }

  const ElementwiseKernels& kernels_;
  Rounding rounding_;
  float multiplier_;
};

}  // namespace

Result<std::unique_ptr<Op>> make_mul(const OpSource& source) {
  if (source.inputs[0]->dtype == format::DType::kF32) return make_binary(source);
  return std::unique_ptr<Op>(std::make_unique<MulOp>(source));
}

}  // namespace wbcq
