// What the tests of the FP32 elementwise kernels share: the kernels of this build, and the
// functions in binary64.
#ifndef WBCQ_TESTS_KERNELS_ELEMENTWISE_F32_ELEMENTWISE_F32_CASE_H_
#define WBCQ_TESTS_KERNELS_ELEMENTWISE_F32_ELEMENTWISE_F32_CASE_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>

#include "cpu/isa.h"
#include "kernels/elementwise_f32/elementwise_f32.h"

namespace wbcq {

#define WBCQ_ELEMENTWISE_F32_KERNELS(isa, object) extern const ElementwiseF32Kernels object;
#include "kernels/elementwise_f32/kernels.inc"

namespace testing {

struct ElementwiseF32Candidate {
  Isa isa;
  const ElementwiseF32Kernels* kernels;
};

inline constexpr ElementwiseF32Candidate kElementwiseF32Candidates[] = {
#define WBCQ_ELEMENTWISE_F32_KERNELS(isa, object) {Isa::k##isa, &object},
#include "kernels/elementwise_f32/kernels.inc"
};

class ElementwiseF32Test : public ::testing::TestWithParam<ElementwiseF32Candidate> {
 protected:
  void SetUp() override {
    if (!isa_supported(GetParam().isa)) GTEST_SKIP() << "this CPU cannot run it";
  }
  static const ElementwiseF32Kernels& kernels() { return *GetParam().kernels; }
};

inline std::string candidate_name(
    const ::testing::TestParamInfo<ElementwiseF32Candidate>& candidate) {
  return candidate.param.kernels->name;
}

// A function with its parameters, and what is asked of it.
struct UnaryCase {
  UnaryFunction function;
  float p0 = 0;
  float p1 = 0;
  double lowest = -1e4;  // of the inputs that are drawn
  double ulps = 3;       // allowed error in units of 2^-23 of the result
  // Allowed too: the effect of an error of that many units in the input, for functions that round
  // an intermediate argument. Where the argument is the input itself there is none.
  double input_ulps = 0;
};

inline double exact_unary(const UnaryCase& c, double x) {
  const double p0 = c.p0;
  const double p1 = c.p1;
  switch (c.function) {
    case UnaryFunction::kRelu:
      return std::max(x, 0.0);
    case UnaryFunction::kRelu6:
      return std::clamp(x, 0.0, 6.0);
    case UnaryFunction::kLeakyRelu:
      return x < 0 ? p0 * x : x;
    case UnaryFunction::kHardswish:
      return x * std::clamp(x + 3, 0.0, 6.0) / 6;
    case UnaryFunction::kHardsigmoid:
      return std::clamp(x + 3, 0.0, 6.0) / 6;
    case UnaryFunction::kSilu:
      return x / (1 + std::exp(-x));
    case UnaryFunction::kSigmoid:
      return 1 / (1 + std::exp(-x));
    case UnaryFunction::kGelu:
      return x / 2 * std::erfc(-x / std::numbers::sqrt2);
    case UnaryFunction::kGeluTanh: {
      const double inner = std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x);
      return x / (1 + std::exp(-2 * inner));
    }
    case UnaryFunction::kTanh:
      return std::tanh(x);
    case UnaryFunction::kExp:
      return std::exp(x);
    case UnaryFunction::kSqrt:
      return std::sqrt(x);
    case UnaryFunction::kRsqrt:
      return 1 / std::sqrt(x);
    case UnaryFunction::kReciprocal:
      return 1 / x;
    case UnaryFunction::kNeg:
      return -x;
    case UnaryFunction::kAbs:
      return std::abs(x);
    case UnaryFunction::kClamp:
      return std::clamp(x, p0, p1);
    case UnaryFunction::kAffine:
      return x * p0 + p1;
    case UnaryFunction::kElu:
      return x > 0 ? x : p0 * std::expm1(x);
    case UnaryFunction::kSoftplus:
      return x * p0 > p1 ? x : std::log1p(std::exp(x * p0)) / p0;
    case UnaryFunction::kMish:
      return x * std::tanh(x > 30 ? x : std::log1p(std::exp(x)));
  }
  return 0;
}

// Every function. x + 3 of hard-swish and the sum of an affine map cancel: their error is that of
// the intermediate result.
inline constexpr UnaryCase kUnaryCases[] = {
    {.function = UnaryFunction::kRelu, .ulps = 0},
    {.function = UnaryFunction::kRelu6, .ulps = 0},
    {.function = UnaryFunction::kLeakyRelu, .p0 = 0.01f, .ulps = 0.5},
    {.function = UnaryFunction::kHardswish, .ulps = 2, .input_ulps = 1},
    {.function = UnaryFunction::kHardsigmoid, .ulps = 2, .input_ulps = 1},
    {.function = UnaryFunction::kSilu, .ulps = 2},
    {.function = UnaryFunction::kSigmoid, .ulps = 1.5},
    {.function = UnaryFunction::kGelu, .ulps = 4, .input_ulps = 2},
    {.function = UnaryFunction::kGeluTanh, .ulps = 4, .input_ulps = 3},
    {.function = UnaryFunction::kTanh},
    {.function = UnaryFunction::kExp, .ulps = 1},
    {.function = UnaryFunction::kSqrt, .lowest = 0, .ulps = 0.5},
    {.function = UnaryFunction::kRsqrt, .lowest = 1e-30, .ulps = 1.5},
    {.function = UnaryFunction::kReciprocal, .ulps = 0.5},
    {.function = UnaryFunction::kNeg, .ulps = 0},
    {.function = UnaryFunction::kAbs, .ulps = 0},
    {.function = UnaryFunction::kClamp, .p0 = -1.5f, .p1 = 0.75f, .ulps = 0},
    {.function = UnaryFunction::kAffine, .p0 = 1.75f, .p1 = -3.0f, .ulps = 0.5, .input_ulps = 0.5},
    {.function = UnaryFunction::kElu, .p0 = 1.3f},
    {.function = UnaryFunction::kSoftplus, .p0 = 1, .p1 = 20},
    {.function = UnaryFunction::kMish, .ulps = 3.5},
};

}  // namespace testing
}  // namespace wbcq

#endif  // WBCQ_TESTS_KERNELS_ELEMENTWISE_F32_ELEMENTWISE_F32_CASE_H_
