// Softmax over the channels of each pixel.
#include "ops/elementwise.h"

namespace wbcq {
namespace {

class SoftmaxOp final : public ElementwiseOp {
 public:
  explicit SoftmaxOp(const OpSource& source)
      : ElementwiseOp(source, "softmax", source.kernels->elementwise_f32->name, Unit::kPixel),
        kernels_(*source.kernels->elementwise_f32) {}

 private:
  void run(const Run& run) const override {
    kernels_.softmax({run.pixels, run.channels, reinterpret_cast<const float*>(run.a), run.a_stride,
                      reinterpret_cast<float*>(run.out), run.out_stride});
  }

  const ElementwiseF32Kernels& kernels_;
};

}  // namespace

Result<std::unique_ptr<Op>> make_softmax(const OpSource& source) {
  return std::unique_ptr<Op>(std::make_unique<SoftmaxOp>(source));
}

}  // namespace wbcq
