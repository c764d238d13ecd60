#include "kernels/pool/pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cpu/isa.h"
#include "support/expected.h"
#include "support/guarded_buffer.h"
#include "support/random.h"

namespace wbcq {

#define WBCQ_POOL_KERNELS(isa, object) extern const PoolKernels object;
#include "kernels/pool/kernels.inc"

namespace {

using testing::GuardedBuffer;
using testing::Random;

struct Candidate {
  Isa isa;
  const PoolKernels* kernels;
};

const Candidate kCandidates[] = {
#define WBCQ_POOL_KERNELS(isa, object) {Isa::k##isa, &object},
#include "kernels/pool/kernels.inc"
};

constexpr uint8_t kUntouched = 0xA5;

// Rows and an output that end at unreadable pages, for any number of channels up to a maximum. A
// row can stand for several taps.
class Picture {
 public:
  Picture(size_t rows, size_t max_channels) : max_channels_(max_channels), out_(max_channels + 64) {
    for (size_t i = 0; i < rows; ++i) {
      rows_.push_back(std::make_unique<GuardedBuffer<uint8_t>>(max_channels));
    }
  }

  void fill(Random& random) {
    for (auto& row : rows_) {
      std::generate_n(row->data(), max_channels_,
                      [&] { return static_cast<uint8_t>(random.uniform(0, 255)); });
    }
  }
  void fill(int value) {
    for (auto& row : rows_) std::memset(row->data(), value, max_channels_);
  }

  // The row pointers of `taps` taps; the last `channels` bytes of every row are the pixel.
  std::vector<const uint8_t*> taps(size_t taps, size_t channels) {
    std::vector<const uint8_t*> pointers(taps);
    for (size_t tap = 0; tap < taps; ++tap) {
      pointers[tap] = rows_[tap % rows_.size()]->data() + max_channels_ - channels;
    }
    return pointers;
  }

  uint8_t* out(size_t channels) {
    std::memset(out_.data(), kUntouched, out_.size());
    return out_.data() + out_.size() - channels;
  }
  bool before_out_untouched(size_t channels) {
    return std::all_of(out_.data(), out_.data() + out_.size() - channels,
                       [](uint8_t byte) { return byte == kUntouched; });
  }

 private:
  size_t max_channels_;
  std::vector<std::unique_ptr<GuardedBuffer<uint8_t>>> rows_;
  GuardedBuffer<uint8_t> out_;
};

class PoolTest : public ::testing::TestWithParam<Candidate> {
 protected:
  void SetUp() override {
    if (!isa_supported(GetParam().isa)) GTEST_SKIP() << "this CPU cannot run it";
  }

  static void check_max(Picture& picture, size_t tap_count, size_t channels) {
    const std::vector<const uint8_t*> rows = picture.taps(tap_count, channels);
    uint8_t* out = picture.out(channels);
    GetParam().kernels->max_pool({tap_count, 1, channels, rows.data(), channels, out, channels});
    for (size_t c = 0; c < channels; ++c) {
      uint8_t expected = 0;
      for (const uint8_t* row : rows) expected = std::max(expected, row[c]);
      ASSERT_EQ(out[c], expected) << "channel " << c << " of " << channels << ", " << tap_count
                                  << " taps";
    }
    ASSERT_TRUE(picture.before_out_untouched(channels)) << channels << " channels";
  }

  static void check_avg(Picture& picture, size_t tap_count, size_t channels,
                        int32_t input_zero_point, float multiplier, int32_t zero_point, int32_t lo,
                        int32_t hi) {
    const std::vector<const uint8_t*> rows = picture.taps(tap_count, channels);
    uint8_t* out = picture.out(channels);
    const int32_t start = -static_cast<int32_t>(tap_count) * input_zero_point;
    GetParam().kernels->avg_pool(
        {tap_count, channels, rows.data(), out, start, multiplier, zero_point, lo, hi});
    for (size_t c = 0; c < channels; ++c) {
      int64_t sum = 0;
      for (const uint8_t* row : rows) sum += int64_t{row[c]} - input_zero_point;
      const float product = testing::expected_product(static_cast<float>(sum), multiplier);
      const uint8_t expected = testing::expected_round_clamp(product, zero_point, lo, hi);
      ASSERT_EQ(out[c], expected) << "channel " << c << " of " << channels << ", " << tap_count
                                  << " taps, sum " << sum << ", multiplier " << multiplier
                                  << ", zero point " << zero_point << ", lo " << lo << ", hi "
                                  << hi;
    }
    ASSERT_TRUE(picture.before_out_untouched(channels)) << channels << " channels";
  }
};

constexpr size_t kMaxChannels = 530;

// Every remainder of every vector width, below and above the blocks of several vectors.
std::vector<size_t> channel_counts() {
  std::vector<size_t> counts;
  for (size_t c = 1; c <= 140; ++c) counts.push_back(c);
  for (size_t c : {191, 192, 193, 255, 256, 257, 258, 319, 320, 321, 511, 512, 513, 529}) {
    counts.push_back(c);
  }
  return counts;
}

TEST_P(PoolTest, MaxOfEveryChannelCount) {
  Random random;
  Picture picture(9, kMaxChannels);
  for (size_t channels : channel_counts()) {
    picture.fill(random);
    for (size_t tap_count : {1, 2, 4, 9}) {
      ASSERT_NO_FATAL_FAILURE(check_max(picture, tap_count, channels));
    }
  }
}

// Rows and outputs end at unreadable pages; what lies between pixels stays as it is.
TEST_P(PoolTest, MaxOfRowsOfPixels) {
  Random random;
  const auto byte = [&] { return static_cast<uint8_t>(random.uniform(0, 255)); };
  for (size_t channels : channel_counts()) {
    const size_t pixels = static_cast<size_t>(random.uniform(1, 9));
    const size_t taps = static_cast<size_t>(random.uniform(1, 4));
    // Windows may overlap, so the stride of the input may be shorter than a pixel.
    const size_t in_stride = static_cast<size_t>(random.uniform(1, 2 * kMaxChannels));
    const size_t out_stride = channels + static_cast<size_t>(random.one_in(2) ? 0 : 3);
    const size_t in_bytes = (pixels - 1) * in_stride + channels;
    const size_t out_bytes = (pixels - 1) * out_stride + channels;
    std::vector<std::unique_ptr<GuardedBuffer<uint8_t>>> memory;
    std::vector<const uint8_t*> rows;
    for (size_t tap = 0; tap < taps; ++tap) {
      memory.push_back(std::make_unique<GuardedBuffer<uint8_t>>(in_bytes));
      std::generate_n(memory.back()->data(), in_bytes, byte);
      rows.push_back(memory.back()->data());
    }
    GuardedBuffer<uint8_t> out(out_bytes);
    std::memset(out.data(), kUntouched, out_bytes);
    GetParam().kernels->max_pool(
        {taps, pixels, channels, rows.data(), in_stride, out.data(), out_stride});
    for (size_t i = 0; i < out_bytes; ++i) {
      const size_t p = i / out_stride;
      const size_t c = i % out_stride;
      uint8_t expected = c < channels ? 0 : kUntouched;
      for (size_t tap = 0; c < channels && tap < taps; ++tap) {
        expected = std::max(expected, rows[tap][p * in_stride + c]);
      }
      ASSERT_EQ(out.data()[i], expected)
          << "channel " << c << " of " << channels << ", pixel " << p << " of " << pixels << ", "
          << taps << " taps, strides " << in_stride << ", " << out_stride;
    }
  }
}

TEST_P(PoolTest, MaxOfConstantPictures) {
  Picture picture(3, 80);
  for (int value : {0, 1, 127, 128, 254, 255}) {
    picture.fill(value);
    for (size_t channels : {1, 7, 8, 15, 16, 31, 33, 80}) {
      ASSERT_NO_FATAL_FAILURE(check_max(picture, 3, channels));
    }
  }
}

TEST_P(PoolTest, AvgOfEveryChannelCount) {
  Random random;
  Picture picture(9, kMaxChannels);
  for (size_t channels : channel_counts()) {
    picture.fill(random);
    for (size_t tap_count : {1, 2, 3, 9, 49}) {
      ASSERT_NO_FATAL_FAILURE(check_avg(picture, tap_count, channels, 128,
                                        1.1f / static_cast<float>(tap_count), 100, 0, 255));
    }
  }
}

// 257 saturated taps fill a 16-bit lane exactly; the kernels flush there, and again at its
// multiples.
TEST_P(PoolTest, AvgOfManyTaps) {
  Random random;
  Picture picture(5, 70);
  for (size_t tap_count : {255, 256, 257, 258, 513, 514, 515, 771, 1024, 3136}) {
    for (size_t channels : {1, 5, 17, 33, 70}) {
      picture.fill(255);
      const float multiplier = 1.0f / static_cast<float>(tap_count);
      ASSERT_NO_FATAL_FAILURE(check_avg(picture, tap_count, channels, 0, multiplier, 0, 0, 255));
      picture.fill(random);
      ASSERT_NO_FATAL_FAILURE(check_avg(picture, tap_count, channels, 77, multiplier, 128, 0, 255));
    }
  }
}

// The contract's limit; the sum is as large as it can get, to either side of zero.
TEST_P(PoolTest, AvgOfTheLargestTapCount) {
  constexpr size_t kTaps = size_t{1} << 22;
  constexpr float kMultiplier = 1.0f / static_cast<float>(kTaps);
  Picture picture(1, 3);
  picture.fill(255);
  ASSERT_NO_FATAL_FAILURE(check_avg(picture, kTaps, 3, 0, kMultiplier, 0, 0, 255));
  picture.fill(0);
  ASSERT_NO_FATAL_FAILURE(check_avg(picture, kTaps, 3, 255, kMultiplier, 255, 0, 255));
}

// Two taps and a multiplier of 1/2: every odd sum lies halfway between two results.
TEST_P(PoolTest, AvgRoundsTiesToEven) {
  Picture picture(2, 256);
  Random random;
  for (int round = 0; round < 4; ++round) {
    picture.fill(random);
    for (int32_t zero_point = 0; zero_point < 256; ++zero_point) {
      ASSERT_NO_FATAL_FAILURE(check_avg(picture, 2, 256, 60 * round, 0.5f, zero_point, 0, 255));
    }
  }
}

TEST_P(PoolTest, AvgOfExtremeMultipliers) {
  Random random;
  Picture picture(4, 67);
  picture.fill(random);
  for (float multiplier : {0.0f, 1e-45f, 1e-38f, 1e-10f, 0.25f, 1.0f, 1e6f, 1e30f, 3.4e38f}) {
    for (int32_t input_zero_point : {0, 3, 128, 255}) {
      ASSERT_NO_FATAL_FAILURE(check_avg(picture, 4, 67, input_zero_point, multiplier, 13, 13, 200));
    }
  }
}

TEST_P(PoolTest, Random) {
  Random random;
  Picture picture(50, 200);
  for (int round = 0; round < 400; ++round) {
    if (random.one_in(8)) picture.fill(random);
    const size_t channels = static_cast<size_t>(random.uniform(1, 200));
    const size_t tap_count = static_cast<size_t>(random.uniform(1, random.one_in(4) ? 700 : 50));
    ASSERT_NO_FATAL_FAILURE(check_max(picture, tap_count, channels));
    const int32_t lo = static_cast<int32_t>(random.uniform(0, 255));
    const int32_t hi = static_cast<int32_t>(random.uniform(lo, 255));
    const float multiplier = random.uniform_float(0.01f, 4.0f) / static_cast<float>(tap_count);
    ASSERT_NO_FATAL_FAILURE(check_avg(picture, tap_count, channels,
                                      static_cast<int32_t>(random.uniform(0, 255)), multiplier,
                                      static_cast<int32_t>(random.uniform(0, 255)), lo, hi));
  }
}

INSTANTIATE_TEST_SUITE_P(, PoolTest, ::testing::ValuesIn(kCandidates), [](const auto& candidate) {
  return std::string(candidate.param.kernels->name);
});

}  // namespace
}  // namespace wbcq
