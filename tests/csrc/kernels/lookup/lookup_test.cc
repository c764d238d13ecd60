#include "kernels/lookup/lookup.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "cpu/isa.h"
#include "support/guarded_buffer.h"
#include "support/pixel_buffer.h"
#include "support/random.h"

namespace wbcq {

#define WBCQ_LOOKUP_KERNELS(isa, object) extern const LookupKernels object;
#include "kernels/lookup/kernels.inc"

namespace {

using testing::GuardedBuffer;
using testing::PixelBuffer;
using testing::Random;

struct Candidate {
  Isa isa;
  const LookupKernels* kernels;
};

const Candidate kCandidates[] = {
#define WBCQ_LOOKUP_KERNELS(isa, object) {Isa::k##isa, &object},
#include "kernels/lookup/kernels.inc"
};

class LookupTest : public ::testing::TestWithParam<Candidate> {
 protected:
  void SetUp() override {
    if (!isa_supported(GetParam().isa)) GTEST_SKIP() << "this CPU cannot run it";
  }

  // The table ends at an unreadable page as well.
  template <typename Entry, typename Value>
  static void check(size_t pixels, size_t channels, size_t in_stride, size_t out_stride,
                    bool in_place, Entry next_entry, Value next_value) {
    GuardedBuffer<uint8_t> table(256);
    std::generate_n(table.data(), 256, next_entry);
    PixelBuffer<uint8_t> in(pixels, channels, in_stride);
    PixelBuffer<uint8_t> separate(pixels, channels, out_stride);
    in.fill(next_value);
    PixelBuffer<uint8_t>& out = in_place ? in : separate;
    std::vector<uint8_t> wanted;
    for (size_t p = 0; p < pixels; ++p) {
      for (size_t c = 0; c < channels; ++c) wanted.push_back(table[in.pixel(p)[c]]);
    }
    GetParam().kernels->lookup_u8(
        {pixels, channels, in.data(), in.stride(), out.data(), out.stride(), table.data()});
    for (size_t i = 0; i < wanted.size(); ++i) {
      ASSERT_EQ(out.pixel(i / channels)[i % channels], wanted[i])
          << "element " << i << ", " << pixels << " pixels of " << channels << " channels, strides "
          << in_stride << ", " << out_stride;
    }
    ASSERT_TRUE(out.gaps_untouched()) << channels << " channels, stride " << out_stride;
  }

  static void check_random(size_t pixels, size_t channels, size_t in_stride, size_t out_stride,
                           bool in_place, Random& random) {
    const auto byte = [&] { return static_cast<uint8_t>(random.uniform(0, 255)); };
    check(pixels, channels, in_stride, out_stride, in_place, byte, byte);
  }
};

// Every index at every position of a vector, with tables without structure.
TEST_P(LookupTest, EveryIndex) {
  Random random;
  for (size_t shift = 0; shift < 64; ++shift) {
    size_t value = shift;
    ASSERT_NO_FATAL_FAILURE(check(
        1, 320, 320, 320, false, [&] { return static_cast<uint8_t>(random.uniform(0, 255)); },
        [&] { return static_cast<uint8_t>(value++); }));
  }
}

TEST_P(LookupTest, EveryChannelCount) {
  Random random;
  for (size_t channels = 0; channels <= 140; ++channels) {
    ASSERT_NO_FATAL_FAILURE(check_random(1, channels, channels, channels, false, random));
    ASSERT_NO_FATAL_FAILURE(check_random(3, channels, channels, channels, true, random));
    ASSERT_NO_FATAL_FAILURE(check_random(3, channels, channels + 7, channels + 70, false, random));
    ASSERT_NO_FATAL_FAILURE(check_random(3, channels, channels + 9, channels + 9, true, random));
    ASSERT_NO_FATAL_FAILURE(check_random(3, channels, channels + 9, channels, false, random));
  }
}

TEST_P(LookupTest, NoPixels) {
  const std::vector<uint8_t> table(256);
  GetParam().kernels->lookup_u8({0, 5, nullptr, 5, nullptr, 5, table.data()});
}

INSTANTIATE_TEST_SUITE_P(, LookupTest, ::testing::ValuesIn(kCandidates), [](const auto& candidate) {
  return std::string(candidate.param.kernels->name);
});

}  // namespace
}  // namespace wbcq
