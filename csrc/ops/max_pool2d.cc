#include "ops/pool2d.h"

namespace wbcq {
namespace {

class MaxPool2dOp final : public Pool2d<uint8_t> {
 public:
  explicit MaxPool2dOp(const OpSource& source)
      : Pool2d(source, "max_pool2d", source.kernels->pool->name) {}

 private:
  void run_window(const Window& window) const override {
    kernels().pool->max_pool({window.taps, output().channels, window.rows, window.out});
  }
};

class MaxPool2dF32Op final : public Pool2d<float> {
 public:
  explicit MaxPool2dF32Op(const OpSource& source)
      : Pool2d(source, "max_pool2d", source.kernels->pool_f32->name) {}

 private:
  void run_window(const Window& window) const override {
    kernels().pool_f32->max_pool({window.taps, output().channels, window.rows, window.out});
  }
};

}  // namespace

Result<std::unique_ptr<Op>> make_max_pool2d(const OpSource& source) {
  if (source.inputs[0]->dtype == format::DType::kF32) {
    return std::unique_ptr<Op>(std::make_unique<MaxPool2dF32Op>(source));
  }
  return std::unique_ptr<Op>(std::make_unique<MaxPool2dOp>(source));
}

}  // namespace wbcq
