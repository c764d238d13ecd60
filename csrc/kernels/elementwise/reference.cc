#include "kernels/elementwise/elementwise.h"
#include "quant/requant.h"

namespace wbcq {
namespace {

template <typename Args, typename Function>
void for_each(const Args& args, Function function) {
  for (size_t p = 0; p < args.pixels; ++p) {
    const uint8_t* a = args.a + p * args.a_stride;
    const uint8_t* b = args.b + p * args.b_stride;
    uint8_t* out = args.out + p * args.out_stride;
    for (size_t c = 0; c < args.channels; ++c) {
      out[c] = function(a[c] - args.a_zero_point, b[c] - args.b_zero_point);
    }
  }
}

void add_u8(const AddU8& args) {
  for_each(args, [&](int32_t a, int32_t b) {
    return requantize_add(a, args.a_multiplier, b, args.b_multiplier, args.zero_point, args.lo,
                          args.hi);
  });
}

void mul_u8(const MulU8& args) {
  for_each(args, [&](int32_t a, int32_t b) {
    return requantize(a * b, args.multiplier, args.zero_point, args.lo, args.hi);
  });
}

}  // namespace

extern const ElementwiseKernels elementwise_reference = {"elementwise_reference", add_u8, mul_u8};

}  // namespace wbcq
