// Conversions between float32 and u8 at the borders of an integer graph.
#ifndef WBCQ_KERNELS_CONVERT_CONVERT_H_
#define WBCQ_KERNELS_CONVERT_CONVERT_H_

#include <cstddef>
#include <cstdint>

namespace wbcq {

// Quantizes and interleaves a run of pixels of planar data:
//   out[p * out_stride + c] = clamp(rne(in[c * plane_stride + p] * inverse_scale) + zero_point, 0, 255)
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

// out[i] = float(in[i] - zero_point) * scale for i in [0, size); any alignment.
struct Dequantize {
  size_t size;
  const uint8_t* in;
  float* out;
  float scale;
  int32_t zero_point;
};

struct ConvertKernels {
  const char* name;
  void (*quantize_planar)(const QuantizePlanar& args);
  void (*dequantize)(const Dequantize& args);
};

}  // namespace wbcq

#endif  // WBCQ_KERNELS_CONVERT_CONVERT_H_
