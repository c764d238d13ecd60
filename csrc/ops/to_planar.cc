// Reorders floats between the engine's N, H, W, C and the caller's N, C, H, W.
#include <algorithm>
#include <cstring>

#include "ops/row_plan.h"

namespace wbcq {
namespace {

// Channels that are moved together: one cache line of each pixel.
constexpr size_t kBlock = 16;

// `pixels` pixels of the tensor, without gaps between them, and as many elements of each of
// kChannels planes. Vectorized (csrc/CMakeLists.txt).
template <size_t kChannels>
void interleave_dense(const float* __restrict planes, size_t plane_stride, float* __restrict out,
                      size_t pixels) {
  for (size_t x = 0; x < pixels; ++x) {
    for (size_t c = 0; c < kChannels; ++c) out[x * kChannels + c] = planes[c * plane_stride + x];
  }
}

// The same for pixels that are `stride` floats apart.
void interleave(const float* planes, size_t plane_stride, float* out, size_t stride, size_t pixels,
                size_t channels) {
  if (stride == channels && channels == 3) {  // pictures
    return interleave_dense<3>(planes, plane_stride, out, pixels);
  }
  if (stride == channels && channels == 4) {
    return interleave_dense<4>(planes, plane_stride, out, pixels);
  }
  for (size_t begin = 0; begin < channels; begin += kBlock) {
    const size_t end = std::min(begin + kBlock, channels);
    for (size_t x = 0; x < pixels; ++x) {
      for (size_t c = begin; c < end; ++c) out[x * stride + c] = planes[c * plane_stride + x];
    }
  }
}

void deinterleave(const float* in, size_t stride, float* planes, size_t plane_stride, size_t pixels,
                  size_t channels) {
  for (size_t begin = 0; begin < channels; begin += kBlock) {
    const size_t end = std::min(begin + kBlock, channels);
    for (size_t x = 0; x < pixels; ++x) {
      for (size_t c = begin; c < end; ++c) planes[c * plane_stride + x] = in[x * stride + c];
    }
  }
}

class ReorderOp : public Op {
 protected:
  ReorderOp(const Tensor& tensor, std::string_view kind, std::string_view kernel)
      : Op(tensor.name, kind, kernel), tensor_(tensor) {
    cost_.activation_bytes = 2 * tensor.pixels() * tensor.pixel_bytes();
  }

  size_t pixel_stride() const { return tensor_.layout.pixel_stride / sizeof(float); }
  // Where row y of the first plane of a picture begins in the caller's array, in floats.
  size_t planar_offset(size_t picture, size_t y) const {
    return picture * tensor_.pixels() * tensor_.channels + y * tensor_.width;
  }

  const Tensor& tensor_;
};

class ToPlanarOp final : public ReorderOp {
 public:
  explicit ToPlanarOp(const Tensor& tensor)
      : ReorderOp(tensor, "to_planar", "to_planar_reference") {}

  std::unique_ptr<OpPlan> plan(size_t batch, size_t /*threads*/) const override {
    return std::make_unique<RowPlan<ToPlanarOp>>(*this, batch * tensor_.height);
  }

  void run_rows(const OpBuffers& buffers, size_t first, size_t last, std::byte*) const {
    auto* planes = reinterpret_cast<float*>(buffers.outputs[0]);
    for (size_t row = first; row < last; ++row) {
      deinterleave(reinterpret_cast<const float*>(buffers.inputs[0] + tensor_.row_offset(row)),
                   pixel_stride(),
                   planes + planar_offset(row / tensor_.height, row % tensor_.height),
                   tensor_.pixels(), tensor_.width, tensor_.channels);
    }
  }
};

// Fills the tensor's halo with zeros.
class FromPlanarOp final : public ReorderOp {
 public:
  explicit FromPlanarOp(const Tensor& tensor)
      : ReorderOp(tensor, "from_planar", "from_planar_reference") {}

  std::unique_ptr<OpPlan> plan(size_t batch, size_t /*threads*/) const override {
    return std::make_unique<RowPlan<FromPlanarOp>>(*this, batch * padded_rows());
  }

  size_t padded_rows() const {
    return tensor_.layout.halo.top + tensor_.height + tensor_.layout.halo.bottom;
  }

  // Rows of the halo and of the picture, counted through all pictures.
  void run_rows(const OpBuffers& buffers, size_t first, size_t last, std::byte*) const {
    const TensorLayout& layout = tensor_.layout;
    const auto* planes = reinterpret_cast<const float*>(buffers.inputs[0]);
    for (size_t row = first; row < last; ++row) {
      const size_t picture = row / padded_rows();
      const size_t y = row % padded_rows() - layout.halo.top;  // wraps above the picture
      if (y >= tensor_.height) {
        std::memset(buffers.outputs[0] + row * layout.row_stride, 0, layout.row_stride);
        continue;
      }
      std::byte* pixels = buffers.outputs[0] + tensor_.row_offset(picture * tensor_.height + y);
      interleave(planes + planar_offset(picture, y), tensor_.pixels(),
                 reinterpret_cast<float*>(pixels), pixel_stride(), tensor_.width, tensor_.channels);
      const size_t left = layout.halo.left * layout.pixel_stride;
      std::memset(pixels - left, 0, left);
      std::memset(pixels + tensor_.width * layout.pixel_stride, 0,
                  layout.halo.right * layout.pixel_stride);
    }
  }
};

}  // namespace

std::unique_ptr<Op> make_to_planar(const Tensor& tensor) {
  return std::make_unique<ToPlanarOp>(tensor);
}

std::unique_ptr<Op> make_from_planar(const Tensor& tensor) {
  return std::make_unique<FromPlanarOp>(tensor);
}

}  // namespace wbcq
