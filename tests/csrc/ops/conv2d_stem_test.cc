// First layers of random shapes against the definition, on every ISA of this machine.
#include <gtest/gtest.h>

#include "ops/conv2d.h"
#include "ops/conv_case.h"

namespace wbcq {
namespace {

using testing::check;
using testing::ConvCase;
using testing::Random;

ConvCase stem_case(Random& random) {
  ConvCase conv = {};
  conv.groups = 1;
  conv.batch = static_cast<size_t>(random.uniform(1, 3));
  for (int axis = 0; axis < 2; ++axis) {
    conv.kernel[axis] = 3;
    conv.dilation[axis] = 1;
    conv.stride[axis] = static_cast<int32_t>(random.uniform(1, axis == 0 ? 3 : 2));
  }
  for (int32_t& pad : conv.pad) pad = static_cast<int32_t>(random.uniform(0, 2));
  const auto height = static_cast<size_t>(random.uniform(3, 9));
  const auto width = static_cast<size_t>(random.uniform(34, 80));
  testing::fill_case(random, conv, height, width, 3, 8 * static_cast<size_t>(random.uniform(1, 4)));
  // At least the padding, as a layer's own input has it, and a little more, as others may ask for.
  const auto wide = [&](int32_t pad) {
    return static_cast<size_t>(pad) + static_cast<size_t>(random.uniform(0, 1));
  };
  const Halo halo = {wide(conv.pad[0]), wide(conv.pad[1]), wide(conv.pad[2]), wide(conv.pad[3])};
  conv.input.layout = make_layout(conv.input, conv.input.channels, halo);
  return conv;
}

bool takes_stem(const ConvCase& conv, Isa isa) {
  const auto op = testing::make_or_fail(conv.source(*kernel_table(isa)));
  return op != nullptr && op->kernel().starts_with("stem");
}

TEST(Conv2dStem, RandomShapes) {
  Random random;
  for (int i = 0; i < 60; ++i) {
    SCOPED_TRACE(::testing::Message() << "case " << i);
    const ConvCase conv = stem_case(random);
    ASSERT_TRUE(takes_stem(conv, Isa::kScalar));
    check(conv);
    if (::testing::Test::HasFailure()) return;
  }
}

TEST(Conv2dStem, OthersAreForTheGemm) {
  Random random;
  const ConvCase good = stem_case(random);
  ASSERT_TRUE(takes_stem(good, Isa::kScalar));
  ConvCase without_halo = good;
  without_halo.pad[0] = 1;
  without_halo.input.layout = make_layout(good.input, good.input.channels, Halo{});
  EXPECT_FALSE(takes_stem(without_halo, Isa::kScalar));
  ConvCase with_residual = good;
  with_residual.has_residual = true;
  EXPECT_FALSE(takes_stem(with_residual, Isa::kScalar));
  ConvCase with_gaps = good;
  with_gaps.output.layout = make_layout(good.output, good.output.channels + 8, Halo{});
  EXPECT_FALSE(takes_stem(with_gaps, Isa::kScalar));
  // A value before its rounding may reach 2^31.
  ConvCase large = good;
  for (float& scale : large.weight_scales) scale = 1e6f;
  EXPECT_FALSE(takes_stem(large, Isa::kScalar));
}

}  // namespace
}  // namespace wbcq
