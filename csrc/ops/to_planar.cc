// Reorders a float output from N, H, W, C to N, C, H, W.
#include <algorithm>

#include "ops/row_plan.h"

namespace wbcq {
namespace {

// Squares of 16 pixels by 16 channels: a cache line each way.
constexpr size_t kBlock = 16;

class ToPlanarOp final : public Op {
 public:
  explicit ToPlanarOp(const Tensor& tensor)
      : Op(tensor.name, "to_planar", "to_planar_reference"),
        tensor_(tensor),
        blocks_(ceil_div(tensor.channels, kBlock)) {
    cost_.activation_bytes = 2 * tensor.pixels() * tensor.channels * sizeof(float);
  }

  std::unique_ptr<OpPlan> plan(size_t batch, size_t /*threads*/) const override {
    return std::make_unique<RowPlan<ToPlanarOp>>(*this, batch * blocks_);
  }

  void run_rows(const OpBuffers& buffers, size_t first, size_t last, std::byte*) const {
    const auto* in = reinterpret_cast<const float*>(buffers.inputs[0]);
    auto* out = reinterpret_cast<float*>(buffers.outputs[0]);
    const size_t pixels = tensor_.pixels();
    for (size_t i = first; i < last; ++i) {
      const size_t picture = i / blocks_ * pixels * tensor_.channels;
      const size_t begin = i % blocks_ * kBlock;
      const size_t end = std::min(begin + kBlock, tensor_.channels);
      for (size_t p = 0; p < pixels; p += kBlock) {
        const size_t count = std::min(kBlock, pixels - p);
        for (size_t c = begin; c < end; ++c) {
          float* plane = out + picture + c * pixels + p;
          const float* column = in + picture + p * tensor_.channels + c;
          for (size_t j = 0; j < count; ++j) plane[j] = column[j * tensor_.channels];
        }
      }
    }
  }

 private:
  const Tensor& tensor_;
  size_t blocks_;
};

}  // namespace

std::unique_ptr<Op> make_to_planar(const Tensor& tensor) {
  return std::make_unique<ToPlanarOp>(tensor);
}

}  // namespace wbcq
