// Resizing of one row of output pixels. The caller finds the source rows and, once for all rows,
// what each output column reads; padding is a copy and needs no kernel.
#ifndef WBCQ_KERNELS_RESIZE_RESIZE_H_
#define WBCQ_KERNELS_RESIZE_RESIZE_H_

#include <cstddef>
#include <cstdint>

namespace wbcq {

// Nearest neighbour, any type: pixel x of the output is the `pixel_bytes` bytes at
// in + offsets[x] (in bytes), written to out + x * out_stride. No overlap.
struct ResizeNearestRow {
  size_t pixels;
  size_t pixel_bytes;
  const uint8_t* in;
  const size_t* offsets;
  uint8_t* out;
  size_t out_stride;
};

// The two source columns of an output column, in elements from the start of their row, and the
// weight of the right one, in [0, 1].
struct ResizeTap {
  size_t left;
  size_t right;
  float fraction;
};

// With v00 = top[taps[x].left + c], v01 = top[taps[x].right + c], v10 and v11 of bottom alike,
// fx = taps[x].fraction, fy = fraction in [0, 1]:
//   v = (v00 * (1 - fx) + v01 * fx) * (1 - fy) + (v10 * (1 - fx) + v11 * fx) * fy
// each operation rounded to binary32, and out[x * out_stride + c] = v, for u8 rne(v), which lies in
// [0, 255]. Reads and writes exactly `channels` elements of each pixel; out overlaps no source.
template <typename T>
struct ResizeBilinearRow {
  size_t pixels;
  size_t channels;
  const T* top;
  const T* bottom;
  const ResizeTap* taps;
  float fraction;
  T* out;
  size_t out_stride;
};

using ResizeBilinearRowU8 = ResizeBilinearRow<uint8_t>;
using ResizeBilinearRowF32 = ResizeBilinearRow<float>;

struct ResizeKernels {
  const char* name;
  void (*nearest)(const ResizeNearestRow& row);
  void (*bilinear_u8)(const ResizeBilinearRowU8& row);
  void (*bilinear_f32)(const ResizeBilinearRowF32& row);
};

}  // namespace wbcq

#endif  // WBCQ_KERNELS_RESIZE_RESIZE_H_
