// A convolution with random or chosen data, computed from its definition, on every ISA of this
// machine.
#ifndef WBCQ_TESTS_OPS_CONV_CASE_H_
#define WBCQ_TESTS_OPS_CONV_CASE_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/op_harness.h"
#include "support/expected.h"

namespace wbcq::testing {

struct ConvCase {
  int32_t kernel[2], stride[2], pad[4], dilation[2];
  size_t groups, batch;
  int32_t lo, hi;
  Tensor input, residual, output;
  bool has_residual, head;
  WinogradUse winograd = WinogradUse::kMeasured;
  SparseUse sparse = SparseUse::kMeasured;
  std::vector<int8_t> weights;
  std::vector<int32_t> bias;
  std::vector<float> float_bias;
  std::vector<float> weight_scales;
  Pictures x, r;

  size_t in_per_group() const { return input.channels / groups; }
  size_t out_per_group() const { return output.channels / groups; }

  OpSource source(const KernelTable& kernels) const {
    OpSource source = {};
    source.name = "conv";
    source.kind = format::OpKind::kConv2d;
    attrs = {kernel[0],
             kernel[1],
             stride[0],
             stride[1],
             pad[0],
             pad[1],
             pad[2],
             pad[3],
             dilation[0],
             dilation[1],
             static_cast<int32_t>(groups),
             lo,
             hi,
             0,
             0,
             0};
    source.attrs = attrs;
    source.inputs = {&input};
    if (has_residual) {
      source.inputs.push_back(&residual);
      source.residual = &residual;
    }
    source.outputs = {&output};
    source.blobs = {
        {{}, std::as_bytes(std::span(weights))},
        {{}, head ? std::as_bytes(std::span(float_bias)) : std::as_bytes(std::span(bias))},
        {{}, std::as_bytes(std::span(weight_scales))}};
    source.kernels = &kernels;
    source.winograd = winograd;
    source.sparse = sparse;
    return source;
  }

  mutable std::vector<int32_t> attrs;
};

inline int64_t accumulate(const ConvCase& conv, size_t n, size_t oy, size_t ox, size_t o) {
  const size_t group = o / conv.out_per_group();
  int64_t acc = 0;
  for (int32_t ky = 0; ky < conv.kernel[0]; ++ky) {
    for (int32_t kx = 0; kx < conv.kernel[1]; ++kx) {
      const int64_t iy =
          static_cast<int64_t>(oy) * conv.stride[0] - conv.pad[0] + ky * conv.dilation[0];
      const int64_t ix =
          static_cast<int64_t>(ox) * conv.stride[1] - conv.pad[1] + kx * conv.dilation[1];
      if (iy < 0 || ix < 0 || iy >= static_cast<int64_t>(conv.input.height) ||
          ix >= static_cast<int64_t>(conv.input.width)) {
        continue;
      }
      const size_t pixel = (n * conv.input.height + static_cast<size_t>(iy)) * conv.input.width +
                           static_cast<size_t>(ix);
      const uint8_t* x = &conv.x[pixel * conv.input.channels + group * conv.in_per_group()];
      const int8_t* w =
          &conv.weights[((o * conv.kernel[0] + ky) * conv.kernel[1] + kx) * conv.in_per_group()];
      for (size_t c = 0; c < conv.in_per_group(); ++c) {
        acc += int64_t{w[c]} * (x[c] - conv.input.zero_point);
      }
    }
  }
  return acc;
}

template <typename F>
void for_each_output(const ConvCase& conv, F f) {
  size_t index = 0;
  for (size_t n = 0; n < conv.batch; ++n) {
    for (size_t oy = 0; oy < conv.output.height; ++oy) {
      for (size_t ox = 0; ox < conv.output.width; ++ox) {
        for (size_t o = 0; o < conv.output.channels; ++o, ++index) {
          const float weight_scale = conv.weight_scales[conv.weight_scales.size() == 1 ? 0 : o];
          f(index, o, accumulate(conv, n, oy, ox, o),
            expected_product(conv.input.scale, weight_scale));
        }
      }
    }
  }
}

inline Pictures expected_u8(const ConvCase& conv) {
  Pictures out(elements(conv.output, conv.batch));
  for_each_output(conv, [&](size_t i, size_t o, int64_t acc, float product) {
    const float multiplier = product / conv.output.scale;
    float value = expected_product(static_cast<float>(acc + conv.bias[o]), multiplier);
    if (conv.has_residual) {
      const auto shortcut = static_cast<float>(conv.r[i] - conv.residual.zero_point);
      value =
          expected_sum(value, expected_product(shortcut, conv.residual.scale / conv.output.scale));
    }
    out[i] = expected_round_clamp(value, conv.output.zero_point, conv.lo, conv.hi);
  });
  return out;
}

inline std::vector<float> expected_f32(const ConvCase& conv) {
  std::vector<float> out(elements(conv.output, conv.batch));
  for_each_output(conv, [&](size_t i, size_t o, int64_t acc, float product) {
    out[i] = expected_sum(expected_product(static_cast<float>(acc), product), conv.float_bias[o]);
  });
  return out;
}

inline void choose_geometry(Random& random, ConvCase& conv, size_t& height, size_t& width) {
  const bool pointwise = random.one_in(3);
  for (int i = 0; i < 2; ++i) {
    conv.kernel[i] = static_cast<int32_t>(pointwise ? 1 : random.uniform(1, 5));
    conv.stride[i] = static_cast<int32_t>(random.one_in(2) ? 1 : random.uniform(1, 3));
    conv.dilation[i] = static_cast<int32_t>(random.one_in(2) ? 1 : random.uniform(1, 3));
  }
  for (int32_t& pad : conv.pad)
    pad = static_cast<int32_t>(random.one_in(2) ? 0 : random.uniform(0, 4));
  // At least the kernel's extent, minus what padding gives; often exactly one output.
  size_t size[2];
  for (int i = 0; i < 2; ++i) {
    const int32_t extent = conv.dilation[i] * (conv.kernel[i] - 1) + 1;
    const int32_t least = std::max(1, extent - conv.pad[i] - conv.pad[i + 2]);
    size[i] = static_cast<size_t>(least + (random.one_in(4) ? 0 : random.uniform(0, 12)));
  }
  height = size[0];
  width = size[1];
}

inline size_t output_size(const ConvCase& conv, int axis, size_t in) {
  const int64_t room = static_cast<int64_t>(in) + conv.pad[axis] + conv.pad[axis + 2] -
                       conv.dilation[axis] * (conv.kernel[axis] - 1) - 1;
  return static_cast<size_t>(room / conv.stride[axis] + 1);
}

// Tensors, parameters and data of a convolution whose geometry, groups and batch are chosen.
inline void fill_case(Random& random, ConvCase& conv, size_t height, size_t width, size_t in,
                      size_t out) {
  for (auto* values : {&conv.float_bias, &conv.weight_scales}) values->clear();
  conv.weights.clear();
  conv.bias.clear();
  conv.input = u8_tensor("x", height, width, in, random.uniform_float(0.001f, 0.1f),
                         static_cast<int32_t>(random.uniform(0, 255)));
  const size_t out_height = output_size(conv, 0, height);
  const size_t out_width = output_size(conv, 1, width);
  const size_t depth = conv.in_per_group() * static_cast<size_t>(conv.kernel[0] * conv.kernel[1]);
  conv.output = conv.head ? f32_tensor("y", out_height, out_width, out)
                          : u8_tensor("y", out_height, out_width, out,
                                      conv.input.scale * std::sqrt(static_cast<float>(depth)),
                                      static_cast<int32_t>(random.uniform(0, 255)));
  conv.residual = u8_tensor("r", out_height, out_width, out,
                            conv.input.scale * random.uniform_float(0.1f, 3.0f),
                            static_cast<int32_t>(random.uniform(0, 255)));
  conv.lo = static_cast<int32_t>(conv.head || random.one_in(2) ? 0 : random.uniform(0, 128));
  conv.hi = static_cast<int32_t>(conv.head || random.one_in(2) ? 255 : random.uniform(128, 255));
  for (size_t i = 0; i < out * depth; ++i) {
    conv.weights.push_back(static_cast<int8_t>(random.uniform(-127, 127)));
  }
  for (size_t o = 0; o < out; ++o) {
    conv.bias.push_back(static_cast<int32_t>(random.uniform(-20000, 20000)));
    conv.float_bias.push_back(random.uniform_float(-5.0f, 5.0f));
  }
  const size_t scales = random.one_in(3) ? 1 : out;
  for (size_t o = 0; o < scales; ++o)
    conv.weight_scales.push_back(random.uniform_float(0.005f, 0.02f));
  conv.x = random_pictures(random, conv.input, conv.batch);
  conv.r = random_pictures(random, conv.residual, conv.batch);
}

inline ConvCase random_case(Random& random) {
  ConvCase conv = {};
  size_t height, width;
  choose_geometry(random, conv, height, width);
  const bool depthwise = random.one_in(5);
  conv.groups = static_cast<size_t>(depthwise          ? random.uniform(2, 150)
                                    : random.one_in(2) ? 1
                                                       : random.uniform(2, 40));
  const int64_t most = depthwise ? 1 : conv.groups == 1 ? 70 : 6;
  const size_t in = conv.groups * static_cast<size_t>(random.uniform(1, most));
  const size_t out = conv.groups * static_cast<size_t>(random.uniform(1, most));
  conv.head = random.one_in(4);
  conv.has_residual = !conv.head && random.one_in(3);
  conv.batch = static_cast<size_t>(random.uniform(1, 3));
  fill_case(random, conv, height, width, in, out);
  return conv;
}

// In place: the residual's memory is the output's, if the operator allows that.
template <typename T>
std::vector<T> run(const ConvCase& conv, Isa isa, size_t threads, bool in_place) {
  const auto op = make_or_fail(conv.source(*kernel_table(isa)));
  if (op == nullptr) return {};
  Storage input(conv.input, conv.batch);
  Storage residual(conv.residual, conv.batch);
  Storage separate(conv.output, conv.batch);
  input.write(conv.x);
  residual.write(conv.r);
  Storage& output = in_place && op->may_overwrite(1) ? residual : separate;
  std::vector<const std::byte*> inputs = {input.data()};
  if (conv.has_residual) inputs.push_back(residual.data());
  run_tiles(*op, conv.batch, threads, inputs, output.data());
  return output.template read<T>();
}

inline void check(const ConvCase& conv) {
  const Pictures u8 = conv.head ? Pictures() : expected_u8(conv);
  const std::vector<float> f32 = conv.head ? expected_f32(conv) : std::vector<float>();
  for (const Isa isa : supported_isas()) {
    for (const size_t threads : {1, 2, 5}) {
      SCOPED_TRACE(::testing::Message() << isa_name(isa) << ", " << threads << " threads");
      if (conv.head) {
        EXPECT_EQ(run<float>(conv, isa, threads, false), f32);
      } else {
        EXPECT_EQ(run<uint8_t>(conv, isa, threads, false), u8);
      }
      if (conv.has_residual) {
        EXPECT_EQ(run<uint8_t>(conv, isa, threads, true), u8);
      }
    }
  }
}

}  // namespace wbcq::testing

#endif  // WBCQ_TESTS_OPS_CONV_CASE_H_
