#include "ops/pool2d.h"

namespace wbcq {
namespace {

class MaxPool2dOp final : public Pool2d {
 public:
  explicit MaxPool2dOp(const OpSource& source) : Pool2d(source, "max_pool2d") {}

 private:
  void run_window(const Window& window) const override {
    kernels().pool->max_pool({window.taps, output().channels, window.rows, window.out});
  }
};

}  // namespace

Result<std::unique_ptr<Op>> make_max_pool2d(const OpSource& source) {
  return std::unique_ptr<Op>(std::make_unique<MaxPool2dOp>(source));
}

}  // namespace wbcq
