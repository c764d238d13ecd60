#include "kernels/elementwise/elementwise.h"
#include "quant/requant.h"

namespace wbcq {
namespace {

void add_u8(const AddU8& args) {
  for (size_t i = 0; i < args.size; ++i) {
    args.out[i] = requantize_add(args.a[i] - args.a_zero_point, args.a_multiplier,
                                 args.b[i] - args.b_zero_point, args.b_multiplier, args.zero_point,
                                 args.lo, args.hi);
  }
}

}  // namespace

extern const ElementwiseKernels elementwise_reference = {"elementwise_reference", add_u8};

}  // namespace wbcq
