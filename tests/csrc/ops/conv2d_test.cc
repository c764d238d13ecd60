// Convolutions of random geometry against the definition, on every ISA of this machine.
#include <gtest/gtest.h>

#include <algorithm>

#include "ops/conv_case.h"

namespace wbcq {
namespace {

using testing::check;
using testing::ConvCase;
using testing::output_size;
using testing::Random;
using testing::random_case;

TEST(Conv2d, RandomGeometry) {
  Random random;
  for (int i = 0; i < 150; ++i) {
    SCOPED_TRACE(::testing::Message() << "case " << i);
    check(random_case(random));
    if (::testing::Test::HasFailure()) return;
  }
}

// The layout of a quantized picture: no gaps between pixels, padding in memory. Kernel rows are
// fused.
TEST(Conv2d, HaloInput) {
  Random random;
  for (int i = 0; i < 100; ++i) {
    SCOPED_TRACE(::testing::Message() << "case " << i);
    ConvCase conv = random_case(random);
    // Sometimes too small for the padding, which then comes from both the halo and the padding row.
    Halo halo;
    halo.top = static_cast<size_t>(random.uniform(0, 5));
    halo.left = static_cast<size_t>(random.uniform(0, 5));
    halo.bottom = static_cast<size_t>(random.uniform(0, 14));
    halo.right = static_cast<size_t>(random.uniform(0, 14));
    const size_t gap = random.one_in(4) ? 1 : 0;
    conv.input.layout = make_layout(conv.input, conv.input.channels + gap, halo);
    check(conv);
    if (::testing::Test::HasFailure()) return;
  }
}

// Large enough for several blocks of tiles and panels on every thread.
TEST(Conv2d, ManyBlocks) {
  Random random;
  ConvCase conv;
  do {
    conv = random_case(random);
  } while (conv.groups != 1 || conv.kernel[0] * conv.kernel[1] < 4 || conv.stride[0] != 1);
  conv.input =
      testing::u8_tensor("x", 60, 61, conv.input.channels, conv.input.scale, conv.input.zero_point);
  conv.output.height = output_size(conv, 0, 60);
  conv.output.width = output_size(conv, 1, 61);
  conv.output.layout = dense_layout(conv.output);
  conv.residual.height = conv.output.height;
  conv.residual.width = conv.output.width;
  conv.residual.layout = dense_layout(conv.residual);
  conv.x = testing::random_pictures(random, conv.input, conv.batch);
  conv.r = testing::random_pictures(random, conv.residual, conv.batch);
  check(conv);
}

// Multipliers so large that values leave int32 before they are clamped.
TEST(Conv2d, ValuesBeyondInt32) {
  Random random;
  for (int i = 0; i < 40;) {
    ConvCase conv = random_case(random);
    if (conv.head || conv.groups == conv.input.channels) continue;
    SCOPED_TRACE(::testing::Message() << "case " << i++);
    conv.output.scale *= random.one_in(2) ? 1e-6f : 1e-10f;
    check(conv);
    if (::testing::Test::HasFailure()) return;
  }
}

TEST(Conv2d, CostCountsOnlyProductsInsideThePicture) {
  Random random;
  const ConvCase conv = random_case(random);
  uint64_t macs = 0;
  for (size_t oy = 0; oy < conv.output.height; ++oy) {
    for (size_t ox = 0; ox < conv.output.width; ++ox) {
      for (int32_t ky = 0; ky < conv.kernel[0]; ++ky) {
        for (int32_t kx = 0; kx < conv.kernel[1]; ++kx) {
          const int64_t iy =
              static_cast<int64_t>(oy) * conv.stride[0] - conv.pad[0] + ky * conv.dilation[0];
          const int64_t ix =
              static_cast<int64_t>(ox) * conv.stride[1] - conv.pad[1] + kx * conv.dilation[1];
          if (iy >= 0 && ix >= 0 && iy < static_cast<int64_t>(conv.input.height) &&
              ix < static_cast<int64_t>(conv.input.width)) {
            macs += conv.in_per_group() * conv.output.channels;
          }
        }
      }
    }
  }
  const auto op = testing::make_or_fail(conv.source(*kernel_table(Isa::kScalar)));
  EXPECT_EQ(op->cost().macs, macs);
}

}  // namespace
}  // namespace wbcq
