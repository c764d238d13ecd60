// A function of one float.
#include <bit>

#include "ops/elementwise.h"

namespace wbcq {
namespace {

namespace attr = format::unary;

// The format counts the functions from 1, the kernels from 0, in one order.
constexpr UnaryFunction kernel_function(int32_t function) {
  return static_cast<UnaryFunction>(function - 1);
}
static_assert(kernel_function(attr::kRelu) == UnaryFunction::kRelu);
static_assert(kernel_function(attr::kRelu6) == UnaryFunction::kRelu6);
static_assert(kernel_function(attr::kLeakyRelu) == UnaryFunction::kLeakyRelu);
static_assert(kernel_function(attr::kHardswish) == UnaryFunction::kHardswish);
static_assert(kernel_function(attr::kHardsigmoid) == UnaryFunction::kHardsigmoid);
static_assert(kernel_function(attr::kSilu) == UnaryFunction::kSilu);
static_assert(kernel_function(attr::kSigmoid) == UnaryFunction::kSigmoid);
static_assert(kernel_function(attr::kGelu) == UnaryFunction::kGelu);
static_assert(kernel_function(attr::kGeluTanh) == UnaryFunction::kGeluTanh);
static_assert(kernel_function(attr::kTanh) == UnaryFunction::kTanh);
static_assert(kernel_function(attr::kExp) == UnaryFunction::kExp);
static_assert(kernel_function(attr::kSqrt) == UnaryFunction::kSqrt);
static_assert(kernel_function(attr::kRsqrt) == UnaryFunction::kRsqrt);
static_assert(kernel_function(attr::kReciprocal) == UnaryFunction::kReciprocal);
static_assert(kernel_function(attr::kNeg) == UnaryFunction::kNeg);
static_assert(kernel_function(attr::kAbs) == UnaryFunction::kAbs);
static_assert(kernel_function(attr::kClamp) == UnaryFunction::kClamp);
static_assert(kernel_function(attr::kAffine) == UnaryFunction::kAffine);
static_assert(kernel_function(attr::kElu) == UnaryFunction::kElu);
static_assert(kernel_function(attr::kSoftplus) == UnaryFunction::kSoftplus);
static_assert(kernel_function(attr::kMish) == UnaryFunction::kMish);

// Above it log(1 + exp(x)) is x in binary32, and exp(x) would overflow in the end.
constexpr float kSoftplusLinear = 20.0f;

class UnaryOp final : public ElementwiseOp {
 public:
  explicit UnaryOp(const OpSource& source)
      : ElementwiseOp(source, "unary", source.kernels->elementwise_f32->name),
        kernels_(*source.kernels->elementwise_f32),
        function_(kernel_function(source.attrs[attr::kFunction])),
        p0_(std::bit_cast<float>(source.attrs[attr::kP0])),
        p1_(function_ == UnaryFunction::kSoftplus ? kSoftplusLinear
                                                  : std::bit_cast<float>(source.attrs[attr::kP1])) {
  }

 private:
  void run(const Run& run) const override {
    kernels_.unary({function_, p0_, p1_, run.pixels, run.channels,
                    reinterpret_cast<const float*>(run.a), run.a_stride,
                    reinterpret_cast<float*>(run.out), run.out_stride});
  }

  const ElementwiseF32Kernels& kernels_;
  UnaryFunction function_;
  float p0_;
  float p1_;
};

}  // namespace

Result<std::unique_ptr<Op>> make_unary(const OpSource& source) {
  return std::unique_ptr<Op>(std::make_unique<UnaryOp>(source));
}

}  // namespace wbcq
