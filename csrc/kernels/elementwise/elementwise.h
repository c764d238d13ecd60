// Elementwise kernels over contiguous u8 data.
#ifndef WBCQ_KERNELS_ELEMENTWISE_ELEMENTWISE_H_
#define WBCQ_KERNELS_ELEMENTWISE_ELEMENTWISE_H_

#include <cstddef>
#include <cstdint>

namespace wbcq {

// out[i] = clamp(rne(float(a[i] - a_zero_point) * a_multiplier + float(b[i] - b_zero_point) * b_multiplier)
//                + zero_point, lo, hi)
// Two multiplications and one addition, each rounded to binary32. out may be a or b; no other overlap.
// Reads and writes exactly `size` bytes; any alignment; size may be 0.
struct AddU8 {
  size_t size;
  const uint8_t* a;
  const uint8_t* b;
  uint8_t* out;
  int32_t a_zero_point;
  float a_multiplier;
  int32_t b_zero_point;
  float b_multiplier;
  int32_t zero_point;
  int32_t lo;
  int32_t hi;
};

struct ElementwiseKernels {
  const char* name;
  void (*add_u8)(const AddU8& args);
};

}  // namespace wbcq

#endif  // WBCQ_KERNELS_ELEMENTWISE_ELEMENTWISE_H_
