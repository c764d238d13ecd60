// Elementwise functions, softmax and normalization of float32 data.
//
// An operand is `pixels` runs of `channels` floats, a stride (in floats) apart from each other: a
// tensor, a part of its channels, or with pixels == 1 any contiguous run. The kernels read and
// write exactly the floats of the pixels; pixels and channels may be 0. The output may be an
// operand, with the same stride; no other overlap.
//
// Results are close across ISAs, not equal. On one ISA the result of an element depends on its
// operands alone, not on its place in a vector or a run; a softmax depends on its pixel alone.
#ifndef WBCQ_KERNELS_ELEMENTWISE_F32_ELEMENTWISE_F32_H_
#define WBCQ_KERNELS_ELEMENTWISE_F32_ELEMENTWISE_F32_H_

#include <cstddef>
#include <cstdint>

namespace wbcq {

enum class BinaryFunction : uint8_t { kAdd, kSub, kMul, kDiv };

// out = clamp(function(a, b), lo, hi); lo and hi may be infinite, and NaN stays NaN. b_stride 0
// applies the one pixel of b to every pixel of a.
struct BinaryF32 {
  BinaryFunction function;
  size_t pixels;
  size_t channels;
  const float* a;
  size_t a_stride;
  const float* b;
  size_t b_stride;
  float* out;
  size_t out_stride;
  float lo;
  float hi;
};

enum class UnaryFunction : uint8_t {
  kRelu,         // max(x, 0)
  kRelu6,        // clamp(x, 0, 6)
  kLeakyRelu,    // x < 0 ? p0 * x : x
  kHardswish,    // x * clamp(x + 3, 0, 6) / 6
  kHardsigmoid,  // clamp(x + 3, 0, 6) / 6
  kSilu,         // x / (1 + exp(-x))
  kSigmoid,      // 1 / (1 + exp(-x))
  kGelu,         // x / 2 * (1 + erf(x / sqrt(2)))
  kGeluTanh,     // x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))
  kTanh,
  kExp,
  kSqrt,
  kRsqrt,       // 1 / sqrt(x)
  kReciprocal,  // 1 / x
  kNeg,
  kAbs,
  kClamp,     // clamp(x, p0, p1)
  kAffine,    // x * p0 + p1, two roundings
  kElu,       // x > 0 ? x : p0 * (exp(x) - 1)
  kSoftplus,  // x * p0 > p1 ? x : log(1 + exp(x * p0)) / p0
  kMish,      // x * tanh(log(1 + exp(x)))
};

// out = function(in). NaN stays NaN.
struct UnaryF32 {
  UnaryFunction function;
  float p0;
  float p1;
  size_t pixels;
  size_t channels;
  const float* in;
  size_t in_stride;
  float* out;
  size_t out_stride;
};

// out[p][c] = exp(in[p][c] - max of in[p]) / sum over the channels of the same.
struct SoftmaxF32 {
  size_t pixels;
  size_t channels;
  const float* in;
  size_t in_stride;
  float* out;
  size_t out_stride;
};

// Normalization over the channels of each pixel: out[p][c] = (in[p][c] - mean) / sqrt(variance +
// eps) * weight[c] + bias[c], with the mean and the variance (that of all channels, not an
// estimate) of in[p]. A result depends on its pixel alone.
struct NormalizeF32 {
  size_t pixels;
  size_t channels;
  const float* in;
  size_t in_stride;
  float* out;
  size_t out_stride;
  const float* weight;
  const float* bias;
  float eps;
};

// out[c] = sum over the pixels of in[p][c], or of its squared distance from center[c] where center
// is not null. No overlap.
struct ColumnSumsF32 {
  size_t pixels;
  size_t channels;
  const float* in;
  size_t in_stride;
  const float* center;
  float* out;
};

// out[p][c] = (in[p][c] - center[c]) * factor[c] + shift[c].
struct ColumnAffineF32 {
  size_t pixels;
  size_t channels;
  const float* in;
  size_t in_stride;
  float* out;
  size_t out_stride;
  const float* center;
  const float* factor;
  const float* shift;
};

struct ElementwiseF32Kernels {
  const char* name;
  void (*binary)(const BinaryF32& args);
  void (*unary)(const UnaryF32& args);
  void (*softmax)(const SoftmaxF32& args);
  void (*normalize)(const NormalizeF32& args);
  void (*column_sums)(const ColumnSumsF32& args);
  void (*column_affine)(const ColumnAffineF32& args);
};

// The scalar kernels, which the others call for functions that they do not vectorize.
extern const ElementwiseF32Kernels elementwise_f32_reference;

}  // namespace wbcq

#endif  // WBCQ_KERNELS_ELEMENTWISE_F32_ELEMENTWISE_F32_H_
