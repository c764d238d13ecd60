#include "kernels/lookup/lookup.h"

namespace wbcq {
namespace {

void lookup_u8(const LookupU8& args) {
  for (size_t p = 0; p < args.pixels; ++p) {
    const uint8_t* in = args.in + p * args.in_stride;
    uint8_t* out = args.out + p * args.out_stride;
    for (size_t c = 0; c < args.channels; ++c) out[c] = args.table[in[c]];
  }
}

}  // namespace

extern const LookupKernels lookup_reference = {"lookup_reference", lookup_u8};

}  // namespace wbcq
