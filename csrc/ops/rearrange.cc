// Elements in another order: depth to space, transposed pictures, other shapes of the same
// elements.
#include <algorithm>
#include <array>
#include <cstring>

#include "ops/row_plan.h"

namespace wbcq {
namespace {

namespace attr = format::rearrange;

constexpr int kLast = attr::kDigits - 1;

// Elements of a tensor in the order H, W, C, and where they lie.
class Elements {
 public:
  explicit Elements(const Tensor& tensor)
      : channels_(tensor.channels),
        width_(tensor.width),
        bytes_(tensor.element_bytes()),
        layout_(tensor.layout),
        pixels_follow_(layout_.pixel_stride == tensor.pixel_bytes()),
        all_follow_(pixels_follow_ && tensor.rows_follow()) {}

  // From the first element of the picture.
  size_t offset_in_picture(size_t element) const {
    if (all_follow_) return element * bytes_;
    const size_t pixel = element / channels_;
    return pixel / width_ * layout_.row_stride + pixel % width_ * layout_.pixel_stride +
           element % channels_ * bytes_;
  }
  // From the first element of the row.
  size_t offset_in_row(size_t element) const {
    if (pixels_follow_) return element * bytes_;
    return element / channels_ * layout_.pixel_stride + element % channels_ * bytes_;
  }
  // How many of `count` elements lie one after another.
  size_t follow_in_picture(size_t element, size_t count) const {
    return all_follow_ ? count : std::min(count, channels_ - element % channels_);
  }
  size_t follow_in_row(size_t element, size_t count) const {
    return pixels_follow_ ? count : std::min(count, channels_ - element % channels_);
  }

 private:
  size_t channels_;
  size_t width_;
  size_t bytes_;
  const TensorLayout& layout_;
  bool pixels_follow_;
  bool all_follow_;
};

class RearrangeOp final : public Op {
 public:
  explicit RearrangeOp(const OpSource& source)
      : Op(source.name, "rearrange", "rearrange_reference"),
        input_(*source.inputs[0]),
        output_(*source.outputs[0]),
        from_(input_),
        to_(output_),
        offset_(source.attrs[attr::kOffset]) {
    for (int i = 0; i < attr::kDigits; ++i) {
      sizes_[static_cast<size_t>(i)] = source.attrs[static_cast<size_t>(attr::kSize + i)];
      strides_[static_cast<size_t>(i)] = source.attrs[static_cast<size_t>(attr::kStride + i)];
    }
    cost_.activation_bytes = 2 * output_.pixels() * output_.pixel_bytes();
  }

  std::unique_ptr<OpPlan> plan(size_t batch, size_t /*threads*/) const override {
    return std::make_unique<RowPlan<RearrangeOp>>(*this, batch * output_.height);
  }

  void run_rows(const OpBuffers& buffers, size_t first, size_t last, std::byte*) const {
    const auto row_elements = static_cast<int64_t>(output_.width * output_.channels);
    for (size_t row = first; row < last; ++row) {
      const std::byte* in = buffers.inputs[0] + input_.layout.origin +
                            row / output_.height * input_.layout.picture_stride;
      std::byte* out = buffers.outputs[0] + output_.row_offset(row);
      std::array<int64_t, attr::kDigits> digits;
      int64_t element = static_cast<int64_t>(row % output_.height) * row_elements;
      int64_t start = offset_;  // what the run of the last digit begins with
      for (int i = kLast; i >= 0; --i) {
        const auto k = static_cast<size_t>(i);
        digits[k] = element % sizes_[k];
        element /= sizes_[k];
        if (i != kLast) start += digits[k] * strides_[k];
      }
      for (int64_t done = 0; done < row_elements;) {
        const int64_t run = std::min(sizes_[kLast] - digits[kLast], row_elements - done);
        copy_run(in, start + digits[kLast] * strides_[kLast], out, static_cast<size_t>(done),
                 static_cast<size_t>(run));
        done += run;
        digits[kLast] = 0;
        for (size_t k = kLast; k-- > 0;) {
          start += strides_[k];
          if (++digits[k] < sizes_[k]) break;
          start -= sizes_[k] * strides_[k];
          digits[k] = 0;
        }
      }
    }
  }

 private:
  // Elements from, from + stride, ... of a picture to elements at, at + 1, ... of a row.
  void copy_run(const std::byte* in, int64_t from, std::byte* out, size_t at, size_t count) const {
    const int64_t stride = strides_[kLast];
    while (count != 0) {
      size_t n = to_.follow_in_row(at, count);
      std::byte* const target = out + to_.offset_in_row(at);
      if (stride == 1) {
        n = from_.follow_in_picture(static_cast<size_t>(from), n);
        std::memcpy(target, in + from_.offset_in_picture(static_cast<size_t>(from)),
                    n * output_.element_bytes());
      } else if (output_.dtype == format::DType::kU8) {
        gather<uint8_t>(in, from, target, n);
      } else {
        gather<float>(in, from, target, n);
      }
      from += static_cast<int64_t>(n) * stride;
      at += n;
      count -= n;
    }
  }

  template <typename T>
  void gather(const std::byte* in, int64_t from, std::byte* target, size_t count) const {
    for (size_t i = 0; i < count; ++i, from += strides_[kLast]) {
      std::memcpy(target + i * sizeof(T), in + from_.offset_in_picture(static_cast<size_t>(from)),
                  sizeof(T));
    }
  }

  const Tensor& input_;
  const Tensor& output_;
  Elements from_;
  Elements to_;
  int64_t offset_;
  std::array<int64_t, attr::kDigits> sizes_;
  std::array<int64_t, attr::kDigits> strides_;
};

}  // namespace

Result<std::unique_ptr<Op>> make_rearrange(const OpSource& source) {
  return std::unique_ptr<Op>(std::make_unique<RearrangeOp>(source));
}

}  // namespace wbcq
