// Reorders floats between the engine's N, H, W, C and the caller's N, C, H, W.
#include <algorithm>
#include <type_traits>

#include "ops/row_plan.h"

namespace wbcq {
namespace {

// Channels that one tile moves: one cache line of each pixel.
constexpr size_t kBlock = 16;

class ReorderOp final : public Op {
 public:
  ReorderOp(const Tensor& tensor, std::string_view kind, std::string_view kernel, bool to_planar)
      : Op(tensor.name, kind, kernel),
        tensor_(tensor),
        to_planar_(to_planar),
        blocks_(ceil_div(tensor.channels, kBlock)) {
    cost_.activation_bytes = 2 * tensor.pixels() * tensor.pixel_bytes();
  }

  std::unique_ptr<OpPlan> plan(size_t batch, size_t /*threads*/) const override {
    return std::make_unique<RowPlan<ReorderOp>>(*this, batch * blocks_);
  }

  // A tile is a block of the channels of one picture.
  void run_rows(const OpBuffers& buffers, size_t first, size_t last, std::byte*) const {
    for (size_t i = first; i < last; ++i) {
      const size_t picture = i / blocks_;
      const size_t planar = picture * tensor_.pixels() * tensor_.channels;
      if (to_planar_) {
        auto* out = reinterpret_cast<float*>(buffers.outputs[0]) + planar;
        for_each_row(buffers.inputs[0], picture, [&](const float* in, size_t pixel) {
          move_row(i, [&](size_t x, size_t c) {
            out[c * tensor_.pixels() + pixel + x] = in[x * pixel_stride() + c];
          });
        });
      } else {
        const auto* in = reinterpret_cast<const float*>(buffers.inputs[0]) + planar;
        for_each_row(buffers.outputs[0], picture, [&](float* out, size_t pixel) {
          move_row(i, [&](size_t x, size_t c) {
            out[x * pixel_stride() + c] = in[c * tensor_.pixels() + pixel + x];
          });
        });
      }
    }
  }

 private:
  size_t pixel_stride() const { return tensor_.layout.pixel_stride / sizeof(float); }

  // f(first pixel of a row of the tensor, how many pixels of the picture come before it)
  template <typename Byte, typename F>
  void for_each_row(Byte* memory, size_t picture, F f) const {
    using Float = std::conditional_t<std::is_const_v<Byte>, const float, float>;
    for (size_t y = 0; y < tensor_.height; ++y) {
      Byte* row = memory + tensor_.row_offset(picture * tensor_.height + y);
      f(reinterpret_cast<Float*>(row), y * tensor_.width);
    }
  }

  template <typename F>
  void move_row(size_t tile, F move) const {
    const size_t begin = tile % blocks_ * kBlock;
    const size_t end = std::min(begin + kBlock, tensor_.channels);
    for (size_t x = 0; x < tensor_.width; ++x) {
      for (size_t c = begin; c < end; ++c) move(x, c);
    }
  }

  const Tensor& tensor_;
  bool to_planar_;
  size_t blocks_;
};

}  // namespace

std::unique_ptr<Op> make_to_planar(const Tensor& tensor) {
  return std::make_unique<ReorderOp>(tensor, "to_planar", "to_planar_reference", true);
}

std::unique_ptr<Op> make_from_planar(const Tensor& tensor) {
  return std::make_unique<ReorderOp>(tensor, "from_planar", "from_planar_reference", false);
}

}  // namespace wbcq
