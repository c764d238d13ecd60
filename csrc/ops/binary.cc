// A function of two floats: also addition, subtraction and multiplication of f32 tensors.
#include <bit>
#include <limits>

#include "format/names.h"
#include "ops/elementwise.h"

namespace wbcq {
namespace {

class ArithmeticOp final : public ElementwiseOp {
 public:
  ArithmeticOp(const OpSource& source, BinaryFunction function, float lo, float hi)
      : ElementwiseOp(source, format::op_kind_name(static_cast<uint32_t>(source.kind)),
                      source.kernels->elementwise_f32->name),
        kernels_(*source.kernels->elementwise_f32),
        function_(function),
        lo_(lo),
        hi_(hi) {}

 private:
  void run(const Run& run) const override {
    BinaryF32 args = {};
    args.function = function_;
    args.pixels = run.pixels;
    args.channels = run.channels;
    args.a = reinterpret_cast<const float*>(run.a);
    args.a_stride = run.a_stride;
    args.b = reinterpret_cast<const float*>(run.b);
    args.b_stride = run.b_stride;
    args.out = reinterpret_cast<float*>(run.out);
    args.out_stride = run.out_stride;
    args.lo = lo_;
    args.hi = hi_;
    kernels_.binary(args);
  }

  const ElementwiseF32Kernels& kernels_;
  BinaryFunction function_;
  float lo_;
  float hi_;
};

// Rare in networks and bound by memory: no kernel of its own. NaN stays NaN.
class ExtremumOp final : public ElementwiseOp {
 public:
  ExtremumOp(const OpSource& source, bool maximum)
      : ElementwiseOp(source, "binary", "extremum_reference"), maximum_(maximum) {}

 private:
  template <typename Precedes>
  static void select(const Run& run, Precedes precedes) {
    for (size_t p = 0; p < run.pixels; ++p) {
      const float* a = reinterpret_cast<const float*>(run.a) + p * run.a_stride;
      const float* b = reinterpret_cast<const float*>(run.b) + p * run.b_stride;
      float* out = reinterpret_cast<float*>(run.out) + p * run.out_stride;
      for (size_t c = 0; c < run.channels; ++c) {
        out[c] = precedes(a[c], b[c]) || a[c] != a[c] ? a[c] : b[c];
      }
    }
  }

  void run(const Run& run) const override {
    if (maximum_) return select(run, [](float a, float b) { return a > b; });
    select(run, [](float a, float b) { return a < b; });
  }

  bool maximum_;
};

}  // namespace

Result<std::unique_ptr<Op>> make_binary(const OpSource& source) {
  float lo = -std::numeric_limits<float>::infinity();
  float hi = std::numeric_limits<float>::infinity();
  BinaryFunction function = BinaryFunction::kAdd;
  if (source.kind == format::OpKind::kBinary) {
    switch (source.attrs[format::binary::kFunction]) {
      case format::binary::kMaximum:
        return std::unique_ptr<Op>(std::make_unique<ExtremumOp>(source, true));
      case format::binary::kMinimum:
        return std::unique_ptr<Op>(std::make_unique<ExtremumOp>(source, false));
      case format::binary::kDiv:
        function = BinaryFunction::kDiv;
        break;
      default:
        function = BinaryFunction::kSub;
        break;
    }
  } else if (source.kind == format::OpKind::kMul) {
    function = BinaryFunction::kMul;
    lo = std::bit_cast<float>(source.attrs[format::mul::kLo]);
    hi = std::bit_cast<float>(source.attrs[format::mul::kHi]);
  } else {
    if (source.attrs[format::add::kSubtract] != 0) function = BinaryFunction::kSub;
    lo = std::bit_cast<float>(source.attrs[format::add::kLo]);
    hi = std::bit_cast<float>(source.attrs[format::add::kHi]);
  }
  return std::unique_ptr<Op>(std::make_unique<ArithmeticOp>(source, function, lo, hi));
}

}  // namespace wbcq
