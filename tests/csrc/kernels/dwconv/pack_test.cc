#include "kernels/dwconv/pack.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

namespace wbcq {

namespace {

constexpr DwconvLayout kFourLanes = {4, 4, 4, 1, DwconvTapOrder::kColumns, 0};
constexpr DwconvLayout kTwoLanes = {2, 2, 2, 2, DwconvTapOrder::kSequential, 0};
constexpr DwconvLayout kOneLane = {1, 4, 4, 1, DwconvTapOrder::kSequential, 128};

// The weight of a tap of a channel: any number that tells both.
int8_t weight_of(size_t channel, size_t ky, size_t kx) {
  return static_cast<int8_t>(static_cast<int>(channel * 31 + ky * 7 + kx * 3) % 255 - 127);
}

struct Packed {
  Packed(const DwconvLayout& layout, const DwconvGeometry& geometry, size_t channels,
         int32_t zero_point)
      : channel_count(channels), group_bytes(dwconv_group_bytes(layout, geometry)) {
    std::vector<int8_t> weights;
    for (size_t c = 0; c < channels; ++c) {
      bias.push_back(static_cast<int32_t>(c) * 1000 - 5000);
      multipliers.push_back(static_cast<float>(c) + 0.5f);
      float_bias.push_back(-static_cast<float>(c));
      sums.push_back(0);
      for (size_t ky = 0; ky < geometry.kernel_h; ++ky) {
        for (size_t kx = 0; kx < geometry.kernel_w; ++kx) {
          weights.push_back(weight_of(c, ky, kx));
          sums[c] += weights.back();
        }
      }
    }
    const DwconvPackInput input = {geometry,         channels,    zero_point,
                                   weights.data(),   bias.data(), multipliers.data(),
                                   float_bias.data()};
    bytes.resize(dwconv_packed_bytes(layout, input), std::byte{0xEE});
    dwconv_pack(layout, input, bytes.data());
  }

  template <typename T>
  T at(size_t group, size_t offset) const {
    T value;
    std::memcpy(&value, bytes.data() + group * group_bytes + offset, sizeof(T));
    return value;
  }

  size_t channel_count;
  size_t group_bytes;
  std::vector<int32_t> bias;
  std::vector<float> multipliers;
  std::vector<float> float_bias;
  std::vector<int32_t> sums;
  std::vector<std::byte> bytes;
};

TEST(DwconvPackTest, SizesAreWholeCacheLines) {
  for (const DwconvLayout& layout : {kFourLanes, kTwoLanes, kOneLane}) {
    for (size_t kernel = 1; kernel <= 7; ++kernel) {
      EXPECT_EQ(dwconv_group_bytes(layout, {kernel, kernel, 1, 1}) % 64, 0u);
    }
  }
  EXPECT_EQ(kFourLanes.block(), 64u);
  EXPECT_EQ(dwconv_steps(kFourLanes, {3, 3, 1, 1}), 3u);
  EXPECT_EQ(dwconv_steps(kFourLanes, {5, 5, 1, 1}), 7u);
  EXPECT_EQ(dwconv_steps(kOneLane, {3, 3, 1, 1}), 3u);
  EXPECT_EQ(dwconv_steps(kOneLane, {5, 5, 1, 1}), 7u);
  EXPECT_EQ(dwconv_steps(kTwoLanes, {3, 3, 1, 1}), 5u);
}

// Bytes that VPUNPCKL/H deliver: channel 21 is lane 1 (16..31), part 1 (20..23), second of four, so
// element (1 * 4 + 1) * 4 + 1.
TEST(DwconvPackTest, ChannelsLieInUnpackOrder) {
  const Packed packed(kFourLanes, {3, 3, 1, 1}, 64, 0);
  EXPECT_EQ(packed.at<int32_t>(0, 21 * 4), packed.bias[21]);
  EXPECT_EQ(packed.at<float>(0, 256 + 21 * 4), packed.multipliers[21]);
  EXPECT_EQ(packed.at<float>(0, 512 + 21 * 4), packed.float_bias[21]);
  const size_t channel_of_element[][2] = {{0, 0}, {3, 3}, {4, 16}, {16, 4}, {32, 8}, {63, 63}};
  for (const auto& [element, channel] : channel_of_element) {
    EXPECT_EQ(packed.at<int32_t>(0, element * 4), packed.bias[channel]) << element;
    for (size_t kx = 0; kx < 3; ++kx) {
      const size_t step = 768 + kx * 256 + element * 4;
      for (size_t ky = 0; ky < 3; ++ky) {
        EXPECT_EQ(packed.at<int8_t>(0, step + ky), weight_of(channel, ky, kx)) << element;
      }
      EXPECT_EQ(packed.at<int8_t>(0, step + 3), 0);
    }
  }
}

TEST(DwconvPackTest, OneLaneIsTheNaturalOrder) {
  const Packed packed(kOneLane, {3, 3, 1, 1}, 16, 0);
  for (size_t c = 0; c < 16; ++c) {
    EXPECT_EQ(packed.at<float>(0, 64 + c * 4), packed.multipliers[c]);
    for (size_t tap = 0; tap < 12; ++tap) {
      const int8_t expected = tap < 9 ? weight_of(c, tap / 3, tap % 3) : int8_t{0};
      EXPECT_EQ(packed.at<int8_t>(0, 192 + tap / 4 * 64 + c * 4 + tap % 4), expected);
    }
  }
}

TEST(DwconvPackTest, WideWeights) {
  const Packed packed(kTwoLanes, {1, 3, 1, 1}, 16, 0);
  // Channel 13: lane 1, part 1, second of four.
  const size_t element = (1 * 2 + 1) * 4 + 1;
  EXPECT_EQ(packed.at<float>(0, 64 + element * 4), packed.multipliers[13]);
  EXPECT_EQ(packed.at<int16_t>(0, 192 + element * 4), weight_of(13, 0, 0));
  EXPECT_EQ(packed.at<int16_t>(0, 192 + element * 4 + 2), weight_of(13, 0, 1));
  EXPECT_EQ(packed.at<int16_t>(0, 192 + 64 + element * 4), weight_of(13, 0, 2));
  EXPECT_EQ(packed.at<int16_t>(0, 192 + 64 + element * 4 + 2), 0);
}

TEST(DwconvPackTest, StartHoldsBiasAndZeroPoint) {
  const Packed packed(kOneLane, {3, 3, 1, 1}, 16, 17);
  for (size_t c = 0; c < 16; ++c) {
    EXPECT_EQ(packed.at<int32_t>(0, c * 4), packed.bias[c] - (17 - 128) * packed.sums[c]);
  }
}

TEST(DwconvPackTest, MissingChannelsAreZero) {
  const Packed packed(kTwoLanes, {3, 3, 1, 1}, 16 + 5, 3);
  ASSERT_EQ(packed.bytes.size(), 2 * packed.group_bytes);
  size_t others = 0;
  for (size_t element = 0; element < 16; ++element) {
    const float multiplier = packed.at<float>(1, 64 + element * 4);
    if (multiplier != 0) {
      EXPECT_GE(multiplier, 16.5f);
      continue;
    }
    ++others;
    EXPECT_EQ(packed.at<int32_t>(1, element * 4), 0);
    EXPECT_EQ(packed.at<float>(1, 128 + element * 4), 0);
    for (size_t step = 0; step < 5; ++step) {
      EXPECT_EQ(packed.at<int32_t>(1, 192 + step * 64 + element * 4), 0);
    }
  }
  EXPECT_EQ(others, 11u);
}

TEST(DwconvPackTest, NullBiasIsZero) {
  const int8_t weight = 1;
  const float multiplier = 2;
  const DwconvPackInput input = {{1, 1, 1, 1}, 1, 10, &weight, nullptr, &multiplier, nullptr};
  std::vector<std::byte> bytes(dwconv_packed_bytes(kTwoLanes, input));
  dwconv_pack(kTwoLanes, input, bytes.data());
  int32_t start;
  std::memcpy(&start, bytes.data(), sizeof(start));
  EXPECT_EQ(start, -10);
}

}  // namespace
}  // namespace wbcq
