// Elementwise kernels of two u8 operands.
//
// An operand is `pixels` runs of `channels` bytes, a stride apart from each other: a tensor, a part
// of its channels, or with pixels == 1 any contiguous run. b_stride 0 applies the one pixel of b to
// every pixel of a. The kernels read and write exactly the bytes of the pixels; any alignment;
// pixels and channels may be 0. out may be a or b, with the same stride; no other overlap.
#ifndef WBCQ_KERNELS_ELEMENTWISE_ELEMENTWISE_H_
#define WBCQ_KERNELS_ELEMENTWISE_ELEMENTWISE_H_

#include <cstddef>
#include <cstdint>

namespace wbcq {

// out = clamp(rne(float(a - a_zero_point) * a_multiplier + float(b - b_zero_point) * b_multiplier)
//             + zero_point, lo, hi)
// Two multiplications and one addition, each rounded to binary32. A subtraction negates
// b_multiplier: a negation is exact, so the sum is the difference to the bit.
struct AddU8 {
  size_t pixels;
  size_t channels;
  const uint8_t* a;
  size_t a_stride;
  const uint8_t* b;
  size_t b_stride;
  uint8_t* out;
  size_t out_stride;
  int32_t a_zero_point;
  float a_multiplier;
  int32_t b_zero_point;
  float b_multiplier;
  int32_t zero_point;
  int32_t lo;
  int32_t hi;
};

// out = clamp(rne(float((a - a_zero_point) * (b - b_zero_point)) * multiplier) + zero_point, lo,
// hi) The integer product is exact in binary32.
struct MulU8 {
  size_t pixels;
  size_t channels;
  const uint8_t* a;
  size_t a_stride;
  const uint8_t* b;
  size_t b_stride;
  uint8_t* out;
  size_t out_stride;
  int32_t a_zero_point;
  int32_t b_zero_point;
  float multiplier;
  int32_t zero_point;
  int32_t lo;
  int32_t hi;
};

struct ElementwiseKernels {
  const char* name;
  void (*add_u8)(const AddU8& args);
  void (*mul_u8)(const MulU8& args);
};

}  // namespace wbcq

#endif  // WBCQ_KERNELS_ELEMENTWISE_ELEMENTWISE_H_
