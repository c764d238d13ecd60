// Conversions between float32 and u8.
#ifndef WBCQ_KERNELS_CONVERT_CONVERT_H_
#define WBCQ_KERNELS_CONVERT_CONVERT_H_

#include <cstddef>
#include <cstdint>

namespace wbcq {

// Quantizes and interleaves a run of pixels of planar data:
//   out[p * out_stride + c] = clamp(rne(in[c * plane_stride + p] * inverse_scale) + zero_point, 0,
//   255)
// for p in [0, pixels), c in [0, channels); bytes c in [channels, out_stride) of a pixel are set to
// zero_point. NaN gives 0. plane_stride counts floats, out_stride bytes, out_stride >= channels.
// Reads exactly pixels floats of each plane, writes exactly pixels * out_stride bytes.
struct QuantizePlanar {
  size_t pixels;
  size_t channels;
  const float* in;
  size_t plane_stride;
  uint8_t* out;
  size_t out_stride;
  float inverse_scale;
  int32_t zero_point;
};

// Between NHWC tensors, or parts of their channels: `pixels` runs of `channels` elements, a stride
// (in elements) apart from each other; with pixels == 1 any contiguous run. Exactly the elements of
// the pixels are read and written; any alignment of bytes; pixels and channels may be 0.
//
// out = clamp(rne(in * inverse_scale) + zero_point, 0, 255); NaN gives 0.
struct QuantizeNhwc {
  size_t pixels;
  size_t channels;
  const float* in;
  size_t in_stride;
  uint8_t* out;
  size_t out_stride;
  float inverse_scale;
  int32_t zero_point;
};

// out = float(in - zero_point) * scale
struct Dequantize {
  size_t pixels;
  size_t channels;
  const uint8_t* in;
  size_t in_stride;
  float* out;
  size_t out_stride;
  float scale;
  int32_t zero_point;
};

struct ConvertKernels {
  const char* name;
  void (*quantize_planar)(const QuantizePlanar& args);
  void (*quantize_nhwc)(const QuantizeNhwc& args);
  void (*dequantize)(const Dequantize& args);
};

}  // namespace wbcq

#endif  // WBCQ_KERNELS_CONVERT_CONVERT_H_
