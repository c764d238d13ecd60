#include "kernels/pool_f32/pool_f32.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "cpu/isa.h"
#include "support/expected.h"
#include "support/pixel_buffer.h"
#include "support/random.h"

namespace wbcq {

#define WBCQ_POOL_F32_KERNELS(isa, object) extern const PoolF32Kernels object;
#include "kernels/pool_f32/kernels.inc"

namespace {

using testing::PixelBuffer;
using testing::Random;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Candidate {
  Isa isa;
  const PoolF32Kernels* kernels;
};

const Candidate kCandidates[] = {
#define WBCQ_POOL_F32_KERNELS(isa, object) {Isa::k##isa, &object},
#include "kernels/pool_f32/kernels.inc"
};

class PoolF32Test : public ::testing::TestWithParam<Candidate> {
 protected:
  void SetUp() override {
    if (!isa_supported(GetParam().isa)) GTEST_SKIP() << "this CPU cannot run it";
  }

  static void check(size_t taps, size_t channels, float divisor, float lo, float hi,
                    Random& random) {
    // A tap is the last pixel of a picture, which ends at an unreadable page.
    constexpr size_t kPixels = 3;
    PixelBuffer<float> in(kPixels, channels, channels);
    in.fill([&] { return random.uniform_float(-10.0f, 10.0f); });
    std::vector<const float*> rows(taps);
    for (size_t tap = 0; tap < taps; ++tap) rows[tap] = in.pixel((tap + 2) % kPixels);

    PixelBuffer<float> out(1, channels, channels);
    GetParam().kernels->max_pool({taps, channels, rows.data(), out.data()});
    for (size_t c = 0; c < channels; ++c) {
      float wanted = -kInfinity;
      for (const float* row : rows) wanted = std::max(wanted, row[c]);
      ASSERT_EQ(out.data()[c], wanted) << "channel " << c << " of " << channels;
    }
    ASSERT_TRUE(out.gaps_untouched()) << channels << " channels";

    PixelBuffer<float> mean(1, channels, channels);
    GetParam().kernels->avg_pool({taps, channels, rows.data(), mean.data(), divisor, lo, hi});
    for (size_t c = 0; c < channels; ++c) {
      float sum = rows[0][c];
      for (size_t tap = 1; tap < taps; ++tap) sum = testing::expected_sum(sum, rows[tap][c]);
      const double quotient = static_cast<double>(sum) / static_cast<double>(divisor);
      ASSERT_EQ(mean.data()[c], std::clamp(static_cast<float>(quotient), lo, hi))
          << "channel " << c << " of " << channels << ", " << taps << " taps";
    }
    ASSERT_TRUE(mean.gaps_untouched()) << channels << " channels";
  }
};

TEST_P(PoolF32Test, EveryChannelCount) {
  Random random;
  for (size_t channels = 1; channels <= 140; ++channels) {
    for (size_t taps : {size_t{1}, size_t{2}, size_t{9}, size_t{49}}) {
      const auto divisor = static_cast<float>(taps);
      ASSERT_NO_FATAL_FAILURE(check(taps, channels, divisor, -kInfinity, kInfinity, random));
      ASSERT_NO_FATAL_FAILURE(check(taps, channels, divisor + 2.0f, 0.0f, 1.5f, random));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(, PoolF32Test, ::testing::ValuesIn(kCandidates),
                         [](const auto& candidate) {
                           return std::string(candidate.param.kernels->name);
                         });

}  // namespace
}  // namespace wbcq
