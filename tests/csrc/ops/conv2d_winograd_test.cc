// Winograd convolutions of random shapes against the definition, on every ISA of this machine.
#include <gtest/gtest.h>

#include <cstdlib>
#include <string_view>

#include "ops/conv2d.h"
#include "ops/conv_case.h"

namespace wbcq {
namespace {

using testing::check;
using testing::ConvCase;
using testing::Random;

size_t up_to(Random& random, int64_t most) { return static_cast<size_t>(random.uniform(1, most)); }

ConvCase winograd_case(Random& random, size_t in, size_t out) {
  ConvCase conv = {};
  conv.winograd = WinogradUse::kAlways;
  conv.groups = 1;
  conv.batch = up_to(random, 8);
  conv.has_residual = random.one_in(3);
  for (int i = 0; i < 2; ++i) conv.kernel[i] = 3, conv.stride[i] = 1, conv.dilation[i] = 1;
  // 1 for most networks; windows wholly in the padding are allowed too.
  const bool same = random.one_in(2);
  for (int32_t& pad : conv.pad) pad = same ? 1 : static_cast<int32_t>(random.uniform(0, 4));
  const auto size = [&](int axis) {
    const int32_t least = std::max(1, 3 - conv.pad[axis] - conv.pad[axis + 2]);
    return static_cast<size_t>(least + random.uniform(0, 12));
  };
  testing::fill_case(random, conv, size(0), size(1), in, out);
  return conv;
}

bool takes_winograd(const ConvCase& conv, Isa isa) {
  const auto op = testing::make_or_fail(conv.source(*kernel_table(isa)));
  return op != nullptr && op->kernel().starts_with("winograd");
}

TEST(Conv2dWinograd, RandomShapes) {
  Random random;
  for (int i = 0; i < 60; ++i) {
    SCOPED_TRACE(::testing::Message() << "case " << i);
    const ConvCase conv = winograd_case(random, up_to(random, 70), up_to(random, 70));
    ASSERT_TRUE(takes_winograd(conv, Isa::kScalar));
    check(conv);
    if (::testing::Test::HasFailure()) return;
  }
}

// Padding from a halo in memory, from the padding row, and from both.
TEST(Conv2dWinograd, HaloInput) {
  Random random;
  for (int i = 0; i < 30; ++i) {
    SCOPED_TRACE(::testing::Message() << "case " << i);
    ConvCase conv = winograd_case(random, up_to(random, 40), up_to(random, 40));
    const Halo halo = {up_to(random, 4) - 1, up_to(random, 4) - 1, up_to(random, 4) - 1,
                       up_to(random, 4) - 1};
    conv.input.layout = make_layout(conv.input, conv.input.channels + up_to(random, 3) - 1, halo);
    check(conv);
    if (::testing::Test::HasFailure()) return;
  }
}

// The output of one operator may be a part of the channels of another tensor.
TEST(Conv2dWinograd, OutputWithGaps) {
  Random random;
  for (int i = 0; i < 10; ++i) {
    ConvCase conv = winograd_case(random, up_to(random, 40), up_to(random, 40));
    conv.output.layout =
        make_layout(conv.output, conv.output.channels + up_to(random, 9), Halo{1, 2, 0, 3});
    conv.residual.layout = conv.output.layout;
    check(conv);
    if (::testing::Test::HasFailure()) return;
  }
}

// Several panels, groups and blocks of tiles for every thread.
TEST(Conv2dWinograd, ManyBlocks) {
  Random random;
  for (const size_t channels : {20, 150}) {
    ConvCase conv = winograd_case(random, channels, 70);
    conv.batch = 2;
    testing::fill_case(random, conv, 25, 38, channels, 70);
    for (int8_t& weight : conv.weights) weight = static_cast<int8_t>(weight / 4);
    ASSERT_TRUE(takes_winograd(conv, Isa::kScalar));
    check(conv);
  }
}

// So many that kernels which can transform filters do so while the layer runs, from those that
// direct convolution reads: whole steps of them.
TEST(Conv2dWinograd, ManyFilters) {
  Random random;
  for (const size_t in : {64, 65, 200}) {
    const size_t out = (size_t{8} << 20) / (72 * in) + 40;
    ConvCase conv = winograd_case(random, in, out);
    conv.batch = 2;
    testing::fill_case(random, conv, 5, 9, in, out);
    for (int8_t& weight : conv.weights) weight = static_cast<int8_t>(weight / 4);
    ASSERT_TRUE(takes_winograd(conv, Isa::kScalar));
    const size_t transformed = in * out * 72;
    const size_t packed =
        testing::make_or_fail(conv.source(*kernel_table(Isa::kScalar)))->packed_bytes();
    EXPECT_EQ(packed < transformed / 4, in % 4 == 0);
    check(conv);
  }
}

TEST(Conv2dWinograd, LayersBeyondTheBoundAreDirect) {
  Random random;
  ConvCase conv = winograd_case(random, 120, 3);
  conv.input.zero_point = 0;
  std::fill(conv.weights.begin(), conv.weights.end(), int8_t{1});
  EXPECT_TRUE(takes_winograd(conv, Isa::kScalar));
  std::fill_n(conv.weights.begin() + 9 * 120, 9 * 120, int8_t{127});
  EXPECT_FALSE(takes_winograd(conv, Isa::kScalar));
  check(conv);
}

TEST(Conv2dWinograd, OnlyWhereItIsWanted) {
  Random random;
  ConvCase conv = winograd_case(random, 64, 64);
  conv.winograd = WinogradUse::kNever;
  for (const Isa isa : supported_isas()) EXPECT_FALSE(takes_winograd(conv, isa));
  conv.winograd = WinogradUse::kAlways;
  for (const Isa isa : supported_isas()) EXPECT_TRUE(takes_winograd(conv, isa));
  OpSource source = conv.source(*kernel_table(Isa::kScalar));
  source.memory = MemoryChoice::kSmall;
  EXPECT_FALSE(testing::make_or_fail(source)->kernel().starts_with("winograd"));
  conv.stride[0] = 2;
  conv.output.height = testing::output_size(conv, 0, conv.input.height);
  conv.output.layout = dense_layout(conv.output);
  EXPECT_FALSE(takes_winograd(conv, Isa::kScalar));
}

TEST(Conv2dWinograd, EnvironmentVariable) {
  const char* before = std::getenv("WBCQ_WINOGRAD");
  const std::string saved = before != nullptr ? before : "";
  ASSERT_EQ(setenv("WBCQ_WINOGRAD", "always", 1), 0);
  EXPECT_EQ(winograd_use_of_environment().value(), WinogradUse::kAlways);
  ASSERT_EQ(setenv("WBCQ_WINOGRAD", "never", 1), 0);
  EXPECT_EQ(winograd_use_of_environment().value(), WinogradUse::kNever);
  ASSERT_EQ(setenv("WBCQ_WINOGRAD", "sometimes", 1), 0);
  EXPECT_FALSE(winograd_use_of_environment().ok());
  ASSERT_EQ(setenv("WBCQ_WINOGRAD", saved.c_str(), 1), 0);
}

}  // namespace
}  // namespace wbcq
