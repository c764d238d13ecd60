// Convolutions with zero blocks against the definition, on every ISA of this machine.
#include <gtest/gtest.h>

#include <cstdlib>

#include "ops/conv2d.h"
#include "ops/conv_case.h"

namespace wbcq {
namespace {

using testing::check;
using testing::ConvCase;
using testing::Random;

// Outputs of a block.
size_t drawn_block(Random& random) { return kSparseOutputs[random.uniform(0, kSparseForms - 1)]; }

// Keeps one block of `outputs` in `one_in`.
void prune(Random& random, ConvCase& conv, size_t outputs, int64_t one_in) {
  const size_t channels = conv.input.channels;
  const size_t rows = conv.weights.size() / channels;  // outputs by taps
  const size_t taps = static_cast<size_t>(conv.kernel[0] * conv.kernel[1]);
  const size_t out = rows / taps;
  for (size_t o = 0; o < out; o += outputs) {
    for (size_t tap = 0; tap < taps; ++tap) {
      for (size_t c = 0; c < channels; c += 4) {
        if (one_in > 0 && random.one_in(one_in)) continue;
        for (size_t i = o; i < std::min(o + outputs, out); ++i) {
          auto begin = conv.weights.begin() + static_cast<ptrdiff_t>((i * taps + tap) * channels);
          std::fill(begin + static_cast<ptrdiff_t>(c),
                    begin + static_cast<ptrdiff_t>(std::min(c + 4, channels)), int8_t{0});
        }
      }
    }
  }
}

ConvCase sparse_case(Random& random, int64_t in, int64_t out) {
  ConvCase conv = {};
  size_t height, width;
  testing::choose_geometry(random, conv, height, width);
  conv.groups = 1;
  conv.batch = static_cast<size_t>(random.uniform(1, 3));
  conv.head = random.one_in(4);
  conv.has_residual = !conv.head && random.one_in(3);
  testing::fill_case(random, conv, height, width, static_cast<size_t>(random.uniform(1, in)),
                     static_cast<size_t>(random.uniform(1, out)));
  conv.sparse = SparseUse::kAlways;
  return conv;
}

bool takes_sparse(const ConvCase& conv, Isa isa) {
  const auto op = testing::make_or_fail(conv.source(*kernel_table(isa)));
  return op != nullptr && op->kernel().starts_with("sparse");
}

TEST(Conv2dSparse, RandomShapes) {
  Random random;
  for (int i = 0; i < 80; ++i) {
    SCOPED_TRACE(::testing::Message() << "case " << i);
    ConvCase conv = sparse_case(random, 90, 150);
    // From nothing at all to everything, in blocks of all forms.
    prune(random, conv, drawn_block(random), random.uniform(0, 6));
    ASSERT_TRUE(takes_sparse(conv, Isa::kScalar));
    check(conv);
    if (::testing::Test::HasFailure()) return;
  }
}

// More than one part of the depth.
TEST(Conv2dSparse, DeepSums) {
  Random random;
  for (int i = 0; i < 6; ++i) {
    SCOPED_TRACE(::testing::Message() << "case " << i);
    ConvCase conv = sparse_case(random, 8, 70);
    testing::fill_case(random, conv, conv.input.height, conv.input.width,
                       static_cast<size_t>(random.uniform(500, 1300)),
                       static_cast<size_t>(random.uniform(1, 140)));
    prune(random, conv, drawn_block(random), random.uniform(1, 6));
    check(conv);
    if (::testing::Test::HasFailure()) return;
  }
}

TEST(Conv2dSparse, NeverAndTheEnvironment) {
  Random random;
  ConvCase conv = sparse_case(random, 90, 150);
  prune(random, conv, 4, 0);
  conv.sparse = SparseUse::kNever;
  EXPECT_FALSE(takes_sparse(conv, Isa::kScalar));
  setenv("WBCQ_SPARSE", "always", 1);
  EXPECT_EQ(sparse_use_of_environment().value(), SparseUse::kAlways);
  setenv("WBCQ_SPARSE", "never", 1);
  EXPECT_EQ(sparse_use_of_environment().value(), SparseUse::kNever);
  setenv("WBCQ_SPARSE", "sometimes", 1);
  EXPECT_FALSE(sparse_use_of_environment().ok());
  unsetenv("WBCQ_SPARSE");
  EXPECT_EQ(sparse_use_of_environment().value(), SparseUse::kMeasured);
}

}  // namespace
}  // namespace wbcq
