// Convolutions in float with zero weights: leaving them out gives the results of the dense kernel,
// on every ISA of this machine.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <limits>

#include "ops/conv_case.h"

namespace wbcq {
namespace {

namespace attr = format::conv2d;
using testing::ConvCase;
using testing::Random;
using testing::Storage;
using Floats = std::vector<float>;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Geometry is a ConvCase's; its data is float here.
struct Case {
  explicit Case(Random& random, int64_t channels) {
    ConvCase geometry = {};
    size_t height, width;
    testing::choose_geometry(random, geometry, height, width);
    batch = static_cast<size_t>(random.uniform(1, 3));
    const auto inputs = static_cast<size_t>(random.uniform(1, 3));
    size_t depth = 0;
    for (size_t i = 0; i < inputs; ++i) {
      const auto in = static_cast<size_t>(random.uniform(1, channels));
      tensors.push_back(testing::f32_tensor("x", height, width, in));
      depth += in;
    }
    const auto out = static_cast<size_t>(random.uniform(1, 150));
    output = testing::f32_tensor("y", testing::output_size(geometry, 0, height),
                                 testing::output_size(geometry, 1, width), out);
    has_residual = random.one_in(2);
    if (has_residual) tensors.push_back(output);
    for (const Tensor& tensor : tensors) {
      Floats& values = data.emplace_back(testing::elements(tensor, batch));
      for (float& value : values) value = random.uniform_float(-1, 1);
    }
    depth *= static_cast<size_t>(geometry.kernel[0] * geometry.kernel[1]);
    weights.resize(out * depth);
    // From nothing at all to everything, and channels without a weight.
    const int64_t one_in = random.uniform(0, 6);
    for (size_t i = 0; i < weights.size(); ++i) {
      if (i % depth == 0) skip = random.one_in(5);
      weights[i] = random.one_in(2) ? 0.0f : -0.0f;  // as a mask leaves them
      if (!skip && one_in > 0 && random.one_in(one_in)) weights[i] = random.uniform_float(-1, 1);
    }
    bias.resize(out);
    for (float& value : bias) value = random.uniform_float(-1, 1);
    attrs.resize(16);
    for (size_t i = 0; i < 2; ++i) {
      attrs[attr::kKernelH + i] = geometry.kernel[i];
      attrs[attr::kStrideH + i] = geometry.stride[i];
      attrs[attr::kDilationH + i] = geometry.dilation[i];
    }
    std::copy_n(geometry.pad, 4, attrs.begin() + attr::kPadTop);
    attrs[attr::kGroups] = 1;
    attrs[attr::kLo] = std::bit_cast<int32_t>(random.one_in(2) ? -kInfinity : 0.0f);
    attrs[attr::kHi] = std::bit_cast<int32_t>(random.one_in(2) ? kInfinity : 6.0f);
  }

  Floats run(Isa isa, SparseUse use, size_t threads, bool in_place) const {
    OpSource source = {};
    source.name = "conv";
    source.kind = format::OpKind::kConv2d;
    source.attrs = attrs;
    for (const Tensor& tensor : tensors) source.inputs.push_back(&tensor);
    if (has_residual) source.residual = &tensors.back();
    source.outputs = {&output};
    source.blobs = {{{}, std::as_bytes(std::span(weights))}, {{}, std::as_bytes(std::span(bias))}};
    source.kernels = kernel_table(isa);
    source.sparse = use;
    const auto op = testing::make_or_fail(source);
    if (op == nullptr) return {};
    EXPECT_EQ(op->kernel().starts_with("sparse_f32_f32_f32"), use == SparseUse::kAlways);
    std::vector<std::unique_ptr<Storage>> memory;
    std::vector<const std::byte*> inputs;
    for (size_t i = 0; i < tensors.size(); ++i) {
      memory.push_back(std::make_unique<Storage>(tensors[i], batch));
      memory.back()->write(data[i]);
      inputs.push_back(memory.back()->data());
    }
    Storage separate(output, batch);
    const bool overwrites = in_place && has_residual && op->may_overwrite(tensors.size() - 1);
    Storage& out = overwrites ? *memory.back() : separate;
    testing::run_tiles(*op, batch, threads, inputs, out.data());
    return out.read<float>();
  }

  std::vector<Tensor> tensors;  // the inputs, then the residual
  std::vector<Floats> data;
  Tensor output;
  size_t batch;
  bool has_residual;
  bool skip = false;
  Floats weights;
  Floats bias;
  std::vector<int32_t> attrs;
};

void check(Random& random, int64_t channels) {
  const Case conv(random, channels);
  for (const Isa isa :
       {Isa::kScalar, Isa::kAvx2, Isa::kAvx512Vnni, Isa::kNeon, Isa::kNeonDot, Isa::kNeonI8mm}) {
    if (kernel_table(isa) == nullptr || !isa_supported(isa)) continue;
    const Floats dense = conv.run(isa, SparseUse::kNever, 1, false);
    // -0 is 0 here: a dense sum that is -0 becomes 0 with the next product of a zero.
    ASSERT_EQ(conv.run(isa, SparseUse::kAlways, 1, false), dense) << isa_name(isa);
    ASSERT_EQ(conv.run(isa, SparseUse::kAlways, 3, true), dense) << isa_name(isa);
  }
}

TEST(Conv2dF32Sparse, RandomShapes) {
  Random random;
  for (int i = 0; i < 60; ++i) {
    SCOPED_TRACE(::testing::Message() << "case " << i);
    ASSERT_NO_FATAL_FAILURE(check(random, 60));
  }
}

// More than one part of the depth, on every ISA.
TEST(Conv2dF32Sparse, DeepSums) {
  Random random;
  for (int i = 0; i < 4; ++i) {
    SCOPED_TRACE(::testing::Message() << "case " << i);
    ASSERT_NO_FATAL_FAILURE(check(random, 900));
  }
}

}  // namespace
}  // namespace wbcq
