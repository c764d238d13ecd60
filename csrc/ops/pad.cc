// Padding that no convolution or pool could take over.
#include <algorithm>
#include <bit>
#include <cstring>

#include "ops/row_plan.h"

namespace wbcq {
namespace {

namespace attr = format::pad;

class PadOp final : public Op {
 public:
  explicit PadOp(const OpSource& source)
      : Op(source.name, "pad", "pad_reference"),
        input_(*source.inputs[0]),
        output_(*source.outputs[0]),
        top_(static_cast<size_t>(source.attrs[attr::kTop])),
        left_(static_cast<size_t>(source.attrs[attr::kLeft])),
        value_(source.attrs[attr::kValue]) {
    cost_.activation_bytes =
        input_.pixels() * input_.pixel_bytes() + output_.pixels() * output_.pixel_bytes();
  }

  std::unique_ptr<OpPlan> plan(size_t batch, size_t /*threads*/) const override {
    return std::make_unique<RowPlan<PadOp>>(*this, batch * output_.height);
  }

  void run_rows(const OpBuffers& buffers, size_t first, size_t last, std::byte*) const {
    for (size_t row = first; row < last; ++row) {
      std::byte* out = buffers.outputs[0] + output_.row_offset(row);
      const size_t y = row % output_.height - top_;  // wraps above the picture
      if (y >= input_.height) {
        fill(out, output_.width);
        continue;
      }
      const size_t input_row = row / output_.height * input_.height + y;
      fill(out, left_);
      out += left_ * output_.layout.pixel_stride;
      copy(buffers.inputs[0] + input_.row_offset(input_row), out);
      fill(out + input_.width * output_.layout.pixel_stride, output_.width - left_ - input_.width);
    }
  }

 private:
  void fill(std::byte* out, size_t pixels) const {
    for (size_t x = 0; x < pixels; ++x, out += output_.layout.pixel_stride) {
      if (output_.dtype == format::DType::kU8) {
        std::memset(out, value_, output_.channels);
      } else {
        std::fill_n(reinterpret_cast<float*>(out), output_.channels, std::bit_cast<float>(value_));
      }
    }
  }

  void copy(const std::byte* in, std::byte* out) const {
    for (size_t x = 0; x < input_.width; ++x) {
      std::memcpy(out, in, output_.pixel_bytes());
      in += input_.layout.pixel_stride;
      out += output_.layout.pixel_stride;
    }
  }

  const Tensor& input_;
  const Tensor& output_;
  size_t top_;
  size_t left_;
  int32_t value_;
};

}  // namespace

Result<std::unique_ptr<Op>> make_pad(const OpSource& source) {
  return std::unique_ptr<Op>(std::make_unique<PadOp>(source));
}

}  // namespace wbcq
