// A function of one u8 value, as a table.
#ifndef WBCQ_KERNELS_LOOKUP_LOOKUP_H_
#define WBCQ_KERNELS_LOOKUP_LOOKUP_H_

#include <cstddef>
#include <cstdint>

namespace wbcq {

// out[p * out_stride + c] = table[in[p * in_stride + c]] for p in [0, pixels), c in [0, channels).
// The table has 256 entries. Reads and writes exactly the bytes of the pixels; any alignment;
// pixels and channels may be 0. out may be in, with the same stride; no other overlap.
struct LookupU8 {
  size_t pixels;
  size_t channels;
  const uint8_t* in;
  size_t in_stride;
  uint8_t* out;
  size_t out_stride;
  const uint8_t* table;
};

struct LookupKernels {
  const char* name;
  void (*lookup_u8)(const LookupU8& args);
};

}  // namespace wbcq

#endif  // WBCQ_KERNELS_LOOKUP_LOOKUP_H_
