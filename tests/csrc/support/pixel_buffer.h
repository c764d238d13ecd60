// Runs of elements at a stride, as the kernels see a tensor or a part of its channels. The last run
// ends exactly at an unreadable page, and the elements before the first run and between the runs
// are checked to stay as they were.
#ifndef WBCQ_TESTS_SUPPORT_PIXEL_BUFFER_H_
#define WBCQ_TESTS_SUPPORT_PIXEL_BUFFER_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "support/guarded_buffer.h"

namespace wbcq::testing {

template <typename T>
class PixelBuffer {
 public:
  // stride 0: one run that stands for every pixel.
  PixelBuffer(size_t pixels, size_t channels, size_t stride)
      : pixels_(stride == 0 ? 1 : pixels),
        channels_(channels),
        stride_(stride),
        buffer_(kPrefix + (pixels_ == 0 ? 0 : (pixels_ - 1) * stride + channels)) {}

  T* data() { return buffer_.data() + kPrefix; }
  T* pixel(size_t p) { return data() + p * stride_; }
  size_t stride() const { return stride_; }

  template <typename Generator>
  void fill(Generator generate) {
    for (size_t p = 0; p < pixels_; ++p) std::generate_n(pixel(p), channels_, generate);
  }

  bool gaps_untouched() {
    if (!untouched(buffer_.data(), data())) return false;
    for (size_t p = 0; p + 1 < pixels_; ++p) {
      if (!untouched(pixel(p) + channels_, pixel(p + 1))) return false;
    }
    return true;
  }

 private:
  static constexpr size_t kPrefix = 64;

  static bool untouched(const T* first, const T* last) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(first);
    return std::all_of(bytes, reinterpret_cast<const uint8_t*>(last),
                       [](uint8_t byte) { return byte == 0xA5; });
  }

  size_t pixels_;
  size_t channels_;
  size_t stride_;
  GuardedBuffer<T> buffer_;
};

}  // namespace wbcq::testing

#endif  // WBCQ_TESTS_SUPPORT_PIXEL_BUFFER_H_
