#include "kernels/convert/convert.h"
#include "quant/requant.h"

namespace wbcq {
namespace {

void quantize_planar(const QuantizePlanar& args) {
  for (size_t p = 0; p < args.pixels; ++p) {
    uint8_t* pixel = args.out + p * args.out_stride;
    for (size_t c = 0; c < args.channels; ++c) {
      pixel[c] =
          quantize_value(args.in[c * args.plane_stride + p], args.inverse_scale, args.zero_point);
    }
    for (size_t c = args.channels; c < args.out_stride; ++c) {
      pixel[c] = static_cast<uint8_t>(args.zero_point);
    }
  }
}

void quantize_nhwc(const QuantizeNhwc& args) {
  for (size_t p = 0; p < args.pixels; ++p) {
    const float* in = args.in + p * args.in_stride;
    uint8_t* out = args.out + p * args.out_stride;
    for (size_t c = 0; c < args.channels; ++c) {
      out[c] = quantize_value(in[c], args.inverse_scale, args.zero_point);
    }
  }
}

void dequantize(const Dequantize& args) {
  for (size_t p = 0; p < args.pixels; ++p) {
    const uint8_t* in = args.in + p * args.in_stride;
    float* out = args.out + p * args.out_stride;
    for (size_t c = 0; c < args.channels; ++c) {
      out[c] = dequantize_value(in[c], args.scale, args.zero_point);
    }
  }
}

}  // namespace

extern const ConvertKernels convert_reference = {"convert_reference", quantize_planar,
                                                 quantize_nhwc, dequantize};

}  // namespace wbcq
