// An activation as operators see it: what it means and how one picture of it lies in memory.
#ifndef WBCQ_OPS_TENSOR_H_
#define WBCQ_OPS_TENSOR_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/checked.h"
#include "format/format.h"

namespace wbcq {

// A kernel may read this many bytes past the last channel it uses, so every tensor owns them.
inline constexpr size_t kTensorSlack = 16;

// Pixels around a picture that hold the zero point, so that a convolution needs no padding of its
// own.
struct Halo {
  size_t top = 0;
  size_t left = 0;
  size_t bottom = 0;
  size_t right = 0;
};

// Bytes. Pixel (n, y, x) starts at origin + n * picture_stride + y * row_stride + x * pixel_stride.
struct TensorLayout {
  Halo halo;
  size_t pixel_stride = 0;
  size_t row_stride = 0;
  size_t picture_stride = 0;
  size_t origin = 0;

  // Bytes of `batch` pictures, slack included.
  size_t bytes(size_t batch) const { return batch * picture_stride + kTensorSlack; }
};

struct Tensor {
  std::string name;
  format::DType dtype = format::DType::kU8;
  size_t height = 0;
  size_t width = 0;
  size_t channels = 0;
  float scale = 0.0f;
  int32_t zero_point = 0;
  TensorLayout layout;
  bool is_view = false;    // of a part of another tensor's channels, which lie between its pixels
  bool is_planar = false;  // the caller's, N, C, H, W

  size_t pixels() const { return height * width; }
  size_t element_bytes() const { return dtype == format::DType::kF32 ? 4 : 1; }
  size_t pixel_bytes() const { return channels * element_bytes(); }

  // Where the first pixel of a row lies; rows count through all pictures.
  size_t row_offset(size_t row) const {
    return layout.origin + row / height * layout.picture_stride + row % height * layout.row_stride;
  }
  // Whether the last pixel of a row is followed by the first of the next.
  bool rows_follow() const { return layout.row_stride == width * layout.pixel_stride; }
};

// The layout of a tensor whose pixels are `pixel_stride` bytes apart.
inline TensorLayout make_layout(const Tensor& tensor, size_t pixel_stride, const Halo& halo) {
  TensorLayout layout;
  layout.halo = halo;
  layout.pixel_stride = pixel_stride;
  layout.row_stride = (halo.left + tensor.width + halo.right) * pixel_stride;
  layout.picture_stride = (halo.top + tensor.height + halo.bottom) * layout.row_stride;
  layout.origin = halo.top * layout.row_stride + halo.left * pixel_stride;
  return layout;
}

// NHWC without gaps between rows; u8 pixels start at multiples of 4 bytes.
inline TensorLayout dense_layout(const Tensor& tensor) {
  return make_layout(tensor, round_up(tensor.channels * tensor.element_bytes(), 4), Halo{});
}

}  // namespace wbcq

#endif  // WBCQ_OPS_TENSOR_H_
