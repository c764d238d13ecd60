// The kernels over vectors of floats, for the kernel files of every ISA: Floats is one of
// kernels/simd. Everything is local to the file that includes it.
#ifndef WBCQ_KERNELS_ELEMENTWISE_F32_VECTORIZED_H_
#define WBCQ_KERNELS_ELEMENTWISE_F32_VECTORIZED_H_

#include "kernels/elementwise_f32/elementwise_f32.h"
#include "kernels/elementwise_f32/functions.h"

namespace wbcq {
namespace {

// Runs of pixels; without gaps they are one.
template <typename Args>
bool joins(Args* args, bool no_gaps) {
  if (no_gaps) {
    args->channels *= args->pixels;
    args->pixels = args->channels == 0 ? 0 : 1;
  }
  return args->pixels != 0;
}

template <typename F, typename Function>
void for_each(UnaryF32 args, Function function) {
  const size_t channels = args.channels;
  if (!joins(&args, args.in_stride == channels && args.out_stride == channels)) return;
  for (size_t p = 0; p < args.pixels; ++p) {
    const float* in = args.in + p * args.in_stride;
    float* out = args.out + p * args.out_stride;
    size_t c = 0;
    for (; args.channels - c >= F::kLanes; c += F::kLanes) {
      function(F::load(in + c)).store(out + c);
    }
    const size_t left = args.channels - c;
    if (left != 0) function(F::load_first(in + c, left, F::of(0.0f))).store_first(out + c, left);
  }
}

template <typename F>
void unary(const UnaryF32& args) {
  const F p0 = F::of(args.p0);
  const F p1 = F::of(args.p1);
  const F zero = F::of(0.0f);
  const F one = F::of(1.0f);
  switch (args.function) {
    case UnaryFunction::kRelu:
      return for_each<F>(args, [=](F x) { return F::max(zero, x); });
    case UnaryFunction::kRelu6:
      return for_each<F>(args, [=](F x) { return clamp(x, zero, F::of(6.0f)); });
    case UnaryFunction::kLeakyRelu:
      return for_each<F>(args, [=](F x) { return F::if_less(x, zero, x * p0, x); });
    case UnaryFunction::kHardswish:
      return for_each<F>(args, hardswish<F>);
    case UnaryFunction::kHardsigmoid:
      return for_each<F>(args, hardsigmoid<F>);
    case UnaryFunction::kSilu:
      return for_each<F>(args, silu<F>);
    case UnaryFunction::kSigmoid:
      return for_each<F>(args, sigmoid<F>);
    case UnaryFunction::kGelu:
      return for_each<F>(args, gelu<F>);
    case UnaryFunction::kGeluTanh:
      return for_each<F>(args, gelu_tanh<F>);
    case UnaryFunction::kExp:
      return for_each<F>(args, exp<F>);
    case UnaryFunction::kSqrt:
      return for_each<F>(args, [](F x) { return x.sqrt(); });
    case UnaryFunction::kRsqrt:
      return for_each<F>(args, [=](F x) { return one / x.sqrt(); });
    case UnaryFunction::kReciprocal:
      return for_each<F>(args, [=](F x) { return one / x; });
    case UnaryFunction::kNeg:
      return for_each<F>(args, [](F x) { return -x; });
    case UnaryFunction::kAbs:
      return for_each<F>(args, [](F x) { return x.abs(); });
    case UnaryFunction::kClamp:
      return for_each<F>(args, [=](F x) { return clamp(x, p0, p1); });
    case UnaryFunction::kAffine:
      return for_each<F>(args, [=](F x) { return x * p0 + p1; });
    case UnaryFunction::kMish:
      return for_each<F>(args, mish<F>);
    case UnaryFunction::kTanh:
    case UnaryFunction::kElu:
    case UnaryFunction::kSoftplus:
      return elementwise_f32_reference.unary(args);
  }
}

template <typename F, typename Function>
void for_each_pair(BinaryF32 args, Function function) {
  const size_t channels = args.channels;
  const bool no_gaps = args.a_stride == channels && args.b_stride == channels;
  if (!joins(&args, no_gaps && args.out_stride == channels)) return;
  const F lo = F::of(args.lo);
  const F hi = F::of(args.hi);
  for (size_t p = 0; p < args.pixels; ++p) {
    const float* a = args.a + p * args.a_stride;
    const float* b = args.b + p * args.b_stride;
    float* out = args.out + p * args.out_stride;
    size_t c = 0;
    for (; args.channels - c >= F::kLanes; c += F::kLanes) {
      clamp(function(F::load(a + c), F::load(b + c)), lo, hi).store(out + c);
    }
    const size_t left = args.channels - c;
    if (left != 0) {
      const F one = F::of(1.0f);
      const F value = function(F::load_first(a + c, left, one), F::load_first(b + c, left, one));
      clamp(value, lo, hi).store_first(out + c, left);
    }
  }
}

template <typename F>
void binary(const BinaryF32& args) {
  switch (args.function) {
    case BinaryFunction::kAdd:
      return for_each_pair<F>(args, [](F a, F b) { return a + b; });
    case BinaryFunction::kSub:
      return for_each_pair<F>(args, [](F a, F b) { return a - b; });
    case BinaryFunction::kMul:
      return for_each_pair<F>(args, [](F a, F b) { return a * b; });
    case BinaryFunction::kDiv:
      return for_each_pair<F>(args, [](F a, F b) { return a / b; });
  }
}

// Lanes past the last channel hold -inf, whose exponential is 0.
template <typename F>
void softmax_pixel(const float* in, float* out, size_t channels) {
  const F nothing = F::of(-__builtin_inff());
  const size_t left = channels % F::kLanes;
  const size_t body = channels - left;
  float lanes[F::kLanes];

  F best = left != 0 ? F::load_first(in + body, left, nothing) : nothing;
  for (size_t c = 0; c < body; c += F::kLanes) best = F::max(best, F::load(in + c));
  best.store(lanes);
  float top = lanes[0];
  for (size_t i = 1; i < F::kLanes; ++i) top = lanes[i] > top ? lanes[i] : top;

  F sums = F::of(0.0f);
  for (size_t c = 0; c < body; c += F::kLanes) {
    const F value = exp(F::load(in + c) - F::of(top));
    value.store(out + c);
    sums = sums + value;
  }
  if (left != 0) {
    const F value = exp(F::load_first(in + body, left, nothing) - F::of(top));
    value.store_first(out + body, left);
    sums = sums + value;
  }
  sums.store(lanes);
  float sum = lanes[0];
  for (size_t i = 1; i < F::kLanes; ++i) sum += lanes[i];

  const F divisor = F::of(sum);
  for (size_t c = 0; c < body; c += F::kLanes) (F::load(out + c) / divisor).store(out + c);
  if (left != 0) {
    const F value = F::load_first(out + body, left, divisor) / divisor;
    value.store_first(out + body, left);
  }
}

template <typename F>
float sum_of_lanes(F values) {
  float lanes[F::kLanes];
  values.store(lanes);
  float sum = lanes[0];
  for (size_t i = 1; i < F::kLanes; ++i) sum += lanes[i];
  return sum;
}

// Lanes past the last channel hold what adds nothing.
template <typename F>
void normalize_pixel(const float* in, float* out, const NormalizeF32& args) {
  const size_t left = args.channels % F::kLanes;
  const size_t body = args.channels - left;
  const auto count = static_cast<float>(args.channels);
  const F zero = F::of(0.0f);

  F sums = left != 0 ? F::load_first(in + body, left, zero) : zero;
  for (size_t c = 0; c < body; c += F::kLanes) sums = sums + F::load(in + c);
  const F mean = F::of(sum_of_lanes(sums) / count);

  const F last = left != 0 ? F::load_first(in + body, left, mean) - mean : zero;
  F squares = last * last;
  for (size_t c = 0; c < body; c += F::kLanes) {
    const F distance = F::load(in + c) - mean;
    squares = squares + distance * distance;
  }
  const F variance = F::of(sum_of_lanes(squares) / count + args.eps);
  const F factor = F::of(1.0f) / variance.sqrt();

  for (size_t c = 0; c < body; c += F::kLanes) {
    const F value = (F::load(in + c) - mean) * factor;
    (value * F::load(args.weight + c) + F::load(args.bias + c)).store(out + c);
  }
  if (left != 0) {
    const F weight = F::load_first(args.weight + body, left, zero);
    const F bias = F::load_first(args.bias + body, left, zero);
    (last * factor * weight + bias).store_first(out + body, left);
  }
}

template <typename F>
void normalize(const NormalizeF32& args) {
  if (args.channels == 0) return;
  for (size_t p = 0; p < args.pixels; ++p) {
    normalize_pixel<F>(args.in + p * args.in_stride, args.out + p * args.out_stride, args);
  }
}

// Calls function(c, n) for each vector of channels, the last with n < kLanes of them.
template <typename F, typename Function>
void for_each_column(size_t channels, Function function) {
  for (size_t c = 0; c < channels; c += F::kLanes) {
    function(c, channels - c < F::kLanes ? channels - c : F::kLanes);
  }
}

template <typename F>
F load_up_to(const float* p, size_t n) {
  return n == F::kLanes ? F::load(p) : F::load_first(p, n, F::of(0.0f));
}

template <typename F>
void store_up_to(F value, float* p, size_t n) {
  if (n == F::kLanes) return value.store(p);
  value.store_first(p, n);
}

template <typename F>
void column_sums(const ColumnSumsF32& args) {
  for_each_column<F>(args.channels, [&](size_t c, size_t n) {
    F sums = F::of(0.0f);
    const F center = args.center == nullptr ? sums : load_up_to<F>(args.center + c, n);
    for (size_t p = 0; p < args.pixels; ++p) {
      const F value = load_up_to<F>(args.in + p * args.in_stride + c, n) - center;
      sums = sums + (args.center == nullptr ? value : value * value);
    }
    store_up_to(sums, args.out + c, n);
  });
}

template <typename F>
void column_affine(const ColumnAffineF32& args) {
  for_each_column<F>(args.channels, [&](size_t c, size_t n) {
    const F center = load_up_to<F>(args.center + c, n);
    const F factor = load_up_to<F>(args.factor + c, n);
    const F shift = load_up_to<F>(args.shift + c, n);
    for (size_t p = 0; p < args.pixels; ++p) {
      const F value = load_up_to<F>(args.in + p * args.in_stride + c, n);
      store_up_to((value - center) * factor + shift, args.out + p * args.out_stride + c, n);
    }
  });
}

template <typename F>
void softmax(const SoftmaxF32& args) {
  if (args.channels == 0) return;
  for (size_t p = 0; p < args.pixels; ++p) {
    softmax_pixel<F>(args.in + p * args.in_stride, args.out + p * args.out_stride, args.channels);
  }
}

}  // namespace
}  // namespace wbcq

#endif  // WBCQ_KERNELS_ELEMENTWISE_F32_VECTORIZED_H_
