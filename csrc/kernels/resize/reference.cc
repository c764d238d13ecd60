#include <cstring>

#include "kernels/resize/resize.h"
#include "quant/requant.h"

namespace wbcq {
namespace {

void nearest(const ResizeNearestRow& row) {
  for (size_t x = 0; x < row.pixels; ++x) {
    std::memcpy(row.out + x * row.out_stride, row.in + row.offsets[x], row.pixel_bytes);
  }
}

float mix(float first, float second, float fraction) {
  return first * (1.0f - fraction) + second * fraction;
}

template <typename T, typename Finish>
void bilinear(const ResizeBilinearRow<T>& row, Finish finish) {
  for (size_t x = 0; x < row.pixels; ++x) {
    const ResizeTap& tap = row.taps[x];
    for (size_t c = 0; c < row.channels; ++c) {
      const float top = mix(row.top[tap.left + c], row.top[tap.right + c], tap.fraction);
      const float bottom = mix(row.bottom[tap.left + c], row.bottom[tap.right + c], tap.fraction);
      row.out[x * row.out_stride + c] = finish(mix(top, bottom, row.fraction));
    }
  }
}

void bilinear_u8(const ResizeBilinearRowU8& row) {
  bilinear(row, [](float value) { return round_clamp(value, 0, 0, 255); });
}

void bilinear_f32(const ResizeBilinearRowF32& row) {
  bilinear(row, [](float value) { return value; });
}

}  // namespace

extern const ResizeKernels resize_reference = {"resize_reference", nearest, bilinear_u8,
                                               bilinear_f32};

}  // namespace wbcq
