#include <algorithm>
#include <cmath>

#include "kernels/elementwise_f32/elementwise_f32.h"

namespace wbcq {
namespace {

constexpr float kSqrtHalf = 0.70710678f;
constexpr float kSqrtTwoOverPi = 0.79788456f;

// NaN fails both comparisons and stays.
float clamp(float x, float lo, float hi) { return x < lo ? lo : x > hi ? hi : x; }

float softplus(float x, float beta, float threshold) {
  return x * beta > threshold ? x : std::log1p(std::exp(x * beta)) / beta;
}

// erfc() keeps the relative precision that 1 + erf() loses where both nearly cancel.
float gelu(float x) { return 0.5f * x * std::erfc(-x * kSqrtHalf); }

float gelu_tanh(float x) {
  const float inner = kSqrtTwoOverPi * (x + 0.044715f * (x * x * x));
  return x / (1.0f + std::exp(-2.0f * inner));
}

template <typename Function>
void for_each(const UnaryF32& args, Function function) {
  for (size_t p = 0; p < args.pixels; ++p) {
    const float* in = args.in + p * args.in_stride;
    std::transform(in, in + args.channels, args.out + p * args.out_stride, function);
  }
}

void unary(const UnaryF32& args) {
  const float p0 = args.p0;
  const float p1 = args.p1;
  switch (args.function) {
    case UnaryFunction::kRelu:
      return for_each(args, [](float x) { return x < 0.0f ? 0.0f : x; });
    case UnaryFunction::kRelu6:
      return for_each(args, [](float x) { return clamp(x, 0.0f, 6.0f); });
    case UnaryFunction::kLeakyRelu:
      return for_each(args, [=](float x) { return x < 0.0f ? x * p0 : x; });
    case UnaryFunction::kHardswish:
      return for_each(args, [](float x) { return x * clamp(x + 3.0f, 0.0f, 6.0f) / 6.0f; });
    case UnaryFunction::kHardsigmoid:
      return for_each(args, [](float x) { return clamp(x + 3.0f, 0.0f, 6.0f) / 6.0f; });
    case UnaryFunction::kSilu:
      return for_each(args, [](float x) { return x / (1.0f + std::exp(-x)); });
    case UnaryFunction::kSigmoid:
      return for_each(args, [](float x) { return 1.0f / (1.0f + std::exp(-x)); });
    case UnaryFunction::kGelu:
      return for_each(args, gelu);
    case UnaryFunction::kGeluTanh:
      return for_each(args, gelu_tanh);
    case UnaryFunction::kTanh:
      return for_each(args, [](float x) { return std::tanh(x); });
    case UnaryFunction::kExp:
      return for_each(args, [](float x) { return std::exp(x); });
    case UnaryFunction::kSqrt:
      return for_each(args, [](float x) { return std::sqrt(x); });
    case UnaryFunction::kRsqrt:
      return for_each(args, [](float x) { return 1.0f / std::sqrt(x); });
    case UnaryFunction::kReciprocal:
      return for_each(args, [](float x) { return 1.0f / x; });
    case UnaryFunction::kNeg:
      return for_each(args, [](float x) { return -x; });
    case UnaryFunction::kAbs:
      return for_each(args, [](float x) { return std::fabs(x); });
    case UnaryFunction::kClamp:
      return for_each(args, [=](float x) { return clamp(x, p0, p1); });
    case UnaryFunction::kAffine:
      return for_each(args, [=](float x) { return x * p0 + p1; });
    case UnaryFunction::kElu:
      return for_each(args, [=](float x) { return x > 0.0f ? x : p0 * std::expm1(x); });
    case UnaryFunction::kSoftplus:
      return for_each(args, [=](float x) { return softplus(x, p0, p1); });
    case UnaryFunction::kMish:
      return for_each(args, [](float x) { return x * std::tanh(softplus(x, 1.0f, 20.0f)); });
  }
}

template <typename Function>
void for_each_pair(const BinaryF32& args, Function function) {
  for (size_t p = 0; p < args.pixels; ++p) {
    const float* a = args.a + p * args.a_stride;
    const float* b = args.b + p * args.b_stride;
    std::transform(a, a + args.channels, b, args.out + p * args.out_stride,
                   [&](float x, float y) { return clamp(function(x, y), args.lo, args.hi); });
  }
}

void binary(const BinaryF32& args) {
  switch (args.function) {
    case BinaryFunction::kAdd:
      return for_each_pair(args, [](float a, float b) { return a + b; });
    case BinaryFunction::kSub:
      return for_each_pair(args, [](float a, float b) { return a - b; });
    case BinaryFunction::kMul:
      return for_each_pair(args, [](float a, float b) { return a * b; });
    case BinaryFunction::kDiv:
      return for_each_pair(args, [](float a, float b) { return a / b; });
  }
}

void softmax(const SoftmaxF32& args) {
  if (args.channels == 0) return;
  for (size_t p = 0; p < args.pixels; ++p) {
    const float* in = args.in + p * args.in_stride;
    float* out = args.out + p * args.out_stride;
    const float top = *std::max_element(in, in + args.channels);
    float sum = 0.0f;
    for (size_t c = 0; c < args.channels; ++c) sum += out[c] = std::exp(in[c] - top);
    for (size_t c = 0; c < args.channels; ++c) out[c] /= sum;
  }
}

void normalize(const NormalizeF32& args) {
  const auto count = static_cast<float>(args.channels);
  for (size_t p = 0; p < args.pixels; ++p) {
    const float* in = args.in + p * args.in_stride;
    float* out = args.out + p * args.out_stride;
    float sum = 0.0f;
    for (size_t c = 0; c < args.channels; ++c) sum += in[c];
    const float mean = sum / count;
    float squares = 0.0f;
    for (size_t c = 0; c < args.channels; ++c) squares += (in[c] - mean) * (in[c] - mean);
    const float factor = 1.0f / std::sqrt(squares / count + args.eps);
    for (size_t c = 0; c < args.channels; ++c) {
      out[c] = (in[c] - mean) * factor * args.weight[c] + args.bias[c];
    }
  }
}

void column_sums(const ColumnSumsF32& args) {
  std::fill_n(args.out, args.channels, 0.0f);
  for (size_t p = 0; p < args.pixels; ++p) {
    const float* in = args.in + p * args.in_stride;
    for (size_t c = 0; c < args.channels; ++c) {
      const float distance = args.center == nullptr ? 0.0f : in[c] - args.center[c];
      args.out[c] += args.center == nullptr ? in[c] : distance * distance;
    }
  }
}

void column_affine(const ColumnAffineF32& args) {
  for (size_t p = 0; p < args.pixels; ++p) {
    const float* in = args.in + p * args.in_stride;
    float* out = args.out + p * args.out_stride;
    for (size_t c = 0; c < args.channels; ++c) {
      out[c] = (in[c] - args.center[c]) * args.factor[c] + args.shift[c];
    }
  }
}

}  // namespace

extern const ElementwiseF32Kernels elementwise_f32_reference = {
    "elementwise_f32_reference", binary, unary, softmax, normalize, column_sums, column_affine};

}  // namespace wbcq
