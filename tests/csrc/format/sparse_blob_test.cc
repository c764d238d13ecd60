// Sparse blobs: what is read is what was written, and what a mask promises is held to.
#include "format/sparse_blob.h"

#include <gtest/gtest.h>

#include <limits>
#include <numeric>

#include "format/message.h"
#include "format/reader.h"
#include "format/refusal.h"
#include "format/sparse_model.h"
#include "support/random.h"

namespace wbcq::format {
namespace {

using testing::Bytes;
using testing::FileBuilder;
using testing::SparseModel;

template <typename T>
std::vector<T> elements(const ModelFile& file, uint32_t blob) {
  AlignedBuffer expanded;
  Result<std::span<const std::byte>> bytes = file.blob_elements(blob, expanded);
  EXPECT_TRUE(bytes.ok()) << bytes.status().message();
  if (!bytes.ok()) return {};
  std::vector<T> values(bytes.value().size() / sizeof(T));
  std::memcpy(values.data(), bytes.value().data(), bytes.value().size());
  return values;
}

TEST(SparseBlob, IsReadAsItWasWritten) {
  const SparseModel model;
  Result<ModelFile> file = ModelFile::from_bytes(model.bytes());
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_EQ(elements<int8_t>(file.value(), model.weight), testing::pruned<int8_t>(648, 3));
  EXPECT_EQ(elements<int8_t>(file.value(), model.several_weight), testing::pruned<int8_t>(204, 2));
  EXPECT_EQ(elements<int8_t>(file.value(), model.head_weight), std::vector<int8_t>(96));
  EXPECT_EQ(elements<float>(file.value(), model.f32_weight), testing::pruned<float>(72, 2));
  EXPECT_EQ(elements<float>(file.value(), model.last_weight), testing::pruned<float>(270, 5));
}

// A convolution of `inputs` tensors with drawn zero points, or, if they are f32, of one.
struct DrawnModel : FileBuilder {
  uint32_t weight = 0;
  uint32_t bias = 0;
  std::vector<uint32_t> xs;

  template <typename T>
  DrawnModel(const std::vector<int32_t>& channels, const std::vector<int32_t>& zero_points,
             const std::vector<T>& values, uint32_t outputs, uint32_t kernel, uint8_t block) {
    constexpr bool kIsInt8 = sizeof(T) == 1;
    const int32_t size = static_cast<int32_t>(kernel);
    std::vector<uint32_t> floats;
    for (size_t i = 0; i < channels.size(); ++i) {
      floats.push_back(f32_tensor(cat("input", i), size, size, channels[i]));
      xs.push_back(kIsInt8 ? u8_tensor(cat("x", i), size, size, channels[i], 0.1f, zero_points[i])
                           : floats[i]);
      if (kIsInt8) op(OpKind::kQuantize, cat("quantize", i), {floats[i]}, xs[i]);
      add_io(floats[i], false, {kBatch, channels[i], size, size});
    }
    const int32_t out = static_cast<int32_t>(outputs);
    const uint32_t y = kIsInt8 ? u8_tensor("y", 1, 1, out, 0.1f, 0) : f32_tensor("y", 1, 1, out);
    const uint32_t inner =
        static_cast<uint32_t>(std::accumulate(channels.begin(), channels.end(), 0));
    const DType dtype = kIsInt8 ? DType::kI8 : DType::kF32;
    weight = block == 0
                 ? blob<T>("weight", dtype, {outputs, kernel, kernel, inner}, values)
                 : sparse_blob<T>("weight", dtype, {outputs, kernel, kernel, inner}, values, block);
    const int32_t lo = kIsInt8 ? 0 : static_cast<int32_t>(0xFF800000u);
    const int32_t hi = kIsInt8 ? 255 : 0x7F800000;
    OpRecord record = {};
    record.kind = static_cast<uint32_t>(OpKind::kConv2d);
    record.name = string("conv");
    record.first_operand = static_cast<uint32_t>(operands.size());
    record.inputs = static_cast<uint16_t>(xs.size());
    record.outputs = 1;
    const int32_t attrs[] = {size, size, 1, 1, 0, 0, 0, 0, 1, 1, 1, lo, hi};
    std::copy(std::begin(attrs), std::end(attrs), record.attrs);
    operands.insert(operands.end(), xs.begin(), xs.end());
    operands.insert(operands.end(), {y, weight});
    if (kIsInt8) {
      bias = blob<int32_t>("bias", DType::kI32, {outputs}, std::vector<int32_t>(outputs));
      operands.insert(operands.end(),
                      {bias, blob<float>("scale", DType::kF32, {1}, std::vector<float>{0.1f})});
    } else {
      bias = blob<float>("bias", DType::kF32, {outputs}, std::vector<float>(outputs));
      operands.push_back(bias);
    }
    record.blobs = kIsInt8 ? 3 : 2;
    ops.push_back(record);
    uint32_t result = y;
    if (kIsInt8) {
      result = f32_tensor("result", 1, 1, out);
      op(OpKind::kDequantize, "dequantize", {y}, result);
    }
    add_io(result, true, {kBatch, out, 1, 1});
  }

  void set_bias(uint32_t channel, int32_t value) {
    std::memcpy(data.data() + blobs[bias].offset + channel * sizeof(value), &value, sizeof(value));
  }
};

struct Drawn {
  std::vector<int32_t> channels;
  std::vector<int32_t> zero_points;
  uint32_t outputs;
  uint32_t kernel;
  uint8_t block;

  explicit Drawn(wbcq::testing::Random& random, int64_t most_inputs) {
    const int64_t inputs = random.uniform(1, most_inputs);
    for (int64_t i = 0; i < inputs; ++i) {
      channels.push_back(static_cast<int32_t>(random.uniform(1, random.one_in(2) ? 9 : 90)));
      zero_points.push_back(static_cast<int32_t>(random.uniform(0, 255)));
    }
    outputs = static_cast<uint32_t>(random.uniform(1, 20));
    kernel = random.one_in(2) ? 1 : static_cast<uint32_t>(random.uniform(2, 3));
    block = random.one_in(2) ? 1 : 4;
  }

  size_t per_channel() const {
    const int32_t inner = std::accumulate(channels.begin(), channels.end(), 0);
    return size_t{kernel} * kernel * static_cast<size_t>(inner);
  }

  // Zero, but some elements, alone or in runs.
  template <typename T>
  std::vector<T> values(wbcq::testing::Random& random) const {
    std::vector<T> drawn(outputs * per_channel());
    const int64_t share = random.uniform(0, 60);
    const int64_t run = random.one_in(2) ? 4 : 1;
    for (size_t i = 0; i < drawn.size();) {
      const bool is_zero = random.uniform(0, 99) >= share;
      const size_t end = std::min(drawn.size(), i + static_cast<size_t>(run));
      for (; i < end; ++i) {
        drawn[i] = is_zero ? T{0} : static_cast<T>(random.uniform(-127, 127));
      }
    }
    return drawn;
  }
};

template <typename T>
void check_round_trip(wbcq::testing::Random& random, const Drawn& drawn) {
  const std::vector<T> values = drawn.values<T>(random);
  const DrawnModel model(drawn.channels, drawn.zero_points, values, drawn.outputs, drawn.kernel,
                         drawn.block);
  const BlobRecord& record = model.blobs[model.weight];
  Result<ModelFile> file = ModelFile::from_bytes(model.bytes());
  if (record.bytes >= values.size() * sizeof(T)) {
    ASSERT_FALSE(file.ok());
    EXPECT_NE(file.status().message().find("must be below"), std::string::npos)
        << file.status().message();
    return;
  }
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_EQ(elements<T>(file.value(), model.weight), values);
  // In steps of any length the counter finds as many as there are.
  StoredCounter counter(record, file.value().blob_bytes(model.weight).data());
  size_t total = 0;
  for (size_t left = values.size(); left > 0;) {
    const size_t step = static_cast<size_t>(random.uniform(0, 70));
    total += counter.next(std::min(step, left));
    left -= std::min(step, left);
  }
  EXPECT_EQ(total, file.value().blob_values<T>(model.weight).size());
}

TEST(SparseBlob, AnyMaskIsReadAsItWasWritten) {
  wbcq::testing::Random random;
  for (int repeat = 0; repeat < 1000; ++repeat) {
    check_round_trip<int8_t>(random, Drawn(random, 3));
    check_round_trip<float>(random, Drawn(random, 1));
    if (HasFatalFailure()) return;
  }
}

// The greatest sum that a channel can reach is known exactly, whichever way weights are stored.
TEST(SparseBlob, AccumulatorsAreCheckedLikeThoseOfDenseWeights) {
  wbcq::testing::Random random;
  int checked = 0;
  for (int repeat = 0; repeat < 500; ++repeat) {
    Drawn drawn(random, 4);
    const std::vector<int8_t> values = drawn.values<int8_t>(random);
    const uint32_t channel = static_cast<uint32_t>(random.uniform(0, drawn.outputs - 1));
    int64_t most = 0;
    std::vector<int32_t> zero_points;
    for (size_t i = 0; i < drawn.channels.size(); ++i) {
      zero_points.insert(zero_points.end(), static_cast<size_t>(drawn.channels[i]),
                         drawn.zero_points[i]);
    }
    for (size_t i = 0; i < drawn.per_channel(); ++i) {
      const int64_t weight = values[channel * drawn.per_channel() + i];
      const int64_t z = zero_points[i % zero_points.size()];
      most += std::max(weight * (255 - z), weight * -z);
    }
    for (const uint8_t block : {uint8_t{0}, drawn.block}) {
      DrawnModel model(drawn.channels, drawn.zero_points, values, drawn.outputs, drawn.kernel,
                       block);
      if (block != 0 && model.blobs[model.weight].bytes >= values.size()) continue;
      const int64_t limit = std::numeric_limits<int32_t>::max() - most;
      model.set_bias(channel, static_cast<int32_t>(limit));
      Result<ModelFile> file = ModelFile::from_bytes(model.bytes());
      ASSERT_TRUE(file.ok()) << file.status().message();
      checked += block != 0 ? 1 : 0;
      if (most == 0) continue;
      model.set_bias(channel, static_cast<int32_t>(limit + 1));
      file = ModelFile::from_bytes(model.bytes());
      ASSERT_FALSE(file.ok());
      EXPECT_NE(file.status().message().find(cat("the accumulator of channel ", channel)),
                std::string::npos)
          << file.status().message();
    }
  }
  EXPECT_GT(checked, 100);
}

using Broken = testing::Broken<SparseModel>;

class SparseRule : public ::testing::TestWithParam<Broken> {};

TEST_P(SparseRule, IsEnforced) { GetParam().expect_refused(); }

std::byte& byte_of(SparseModel& model, uint32_t blob, size_t index) {
  return model.data[model.blobs[blob].offset + index];
}

INSTANTIATE_TEST_SUITE_P(
    Rules, SparseRule,
    ::testing::Values(
        Broken{"blob 0 'conv.weight': block is 2, must be 0, 1 or 4",
               [](SparseModel& m) { m.blobs[m.weight].block = 2; }},
        Broken{"blob 0 'conv.weight': is sparse, but the header does not require feature bit 0",
               [](SparseModel& m) { m.features = 0; }},
        Broken{"needs feature bit 1, which this reader (version 1.3) does not know",
               [](SparseModel& m) { m.features = 3; }},
        Broken{"blob 0 'conv.weight': bytes is 296, its shape has 648",
               [](SparseModel& m) { m.blobs[m.weight].block = 0; }},
        // 648 blocks have a mask of 81 bytes, padded to 88.
        Broken{"blob 0 'conv.weight': bytes is 87, its mask alone has 88",
               [](SparseModel& m) { m.blobs[m.weight].bytes = 87; }},
        Broken{"blob 0 'conv.weight': bytes is 648, must be below the 648 of its shape",
               [](SparseModel& m) { m.blobs[m.weight].bytes = 648; }},
        Broken{"blob 0 'conv.weight': bytes is 296, its mask says 297",
               [](SparseModel& m) { byte_of(m, m.weight, 5) |= std::byte{0x10}; }},
        Broken{"blob 0 'conv.weight': bytes is 296, its mask says 295",
               [](SparseModel& m) { byte_of(m, m.weight, 0) &= std::byte{0xFE}; }},
        Broken{"blob 0 'conv.weight': bit 648 of its mask is set, it has 648 blocks",
               [](SparseModel& m) { byte_of(m, m.weight, 81) = std::byte{1}; }},
        Broken{"blob 0 'conv.weight': bit 703 of its mask is set, it has 648 blocks",
               [](SparseModel& m) { byte_of(m, m.weight, 87) = std::byte{0x80}; }},
        // 12 rows of 17: 60 blocks, the last of a row of one element.
        Broken{"blob 3 'several.weight': bytes is 180, its mask says 179",
               [](SparseModel& m) { byte_of(m, m.several_weight, 0) ^= std::byte{0x10}; }},
        Broken{"'several.weight': bit 60 of its mask is set, it has 60 blocks",
               [](SparseModel& m) { byte_of(m, m.several_weight, 7) |= std::byte{0x10}; }},
        Broken{"op 2 'several' (conv2d): the accumulator of channel 0 can reach",
               [](SparseModel& m) {
                 constexpr int32_t kMost = std::numeric_limits<int32_t>::max();
                 std::memcpy(&byte_of(m, m.several_weight + 1, 0), &kMost, sizeof(kMost));
               }},
        Broken{"op 1 'conv' (conv2d): a weight of channel 0 is -128, must be -127..127",
               [](SparseModel& m) { byte_of(m, m.weight, 88) = std::byte{0x80}; }},
        Broken{"op 5 'island' (conv2d): weight[8] is nan, must be finite",
               [](SparseModel& m) {
                 constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
                 std::memcpy(&byte_of(m, m.f32_weight, 8 + 16), &kNan, sizeof(kNan));
               }},
        Broken{"op 6 'last' (conv2d): weight[63] is inf, must be finite",
               [](SparseModel& m) {
                 constexpr float kInf = std::numeric_limits<float>::infinity();
                 std::memcpy(&byte_of(m, m.last_weight, 40 + 15 * 4), &kInf, sizeof(kInf));
               }},
        Broken{"op 1 'conv' (conv2d): blob 1 is sparse: only the weights of a convolution may be",
               [](SparseModel& m) {
                 // A mask of 9 bits and one value.
                 m.blobs[1].block = 1;
                 m.blobs[1].bytes = 12;
                 std::fill_n(&byte_of(m, 1, 0), 36, std::byte{0});
                 byte_of(m, 1, 0) = std::byte{1};
               }},
        // 2^31 - 4 elements of which the file holds none: refused before they are allocated.
        Broken{"blob 6 'head.weight': bytes is 8, its mask alone has", [](SparseModel& m) {
                 BlobRecord& record = m.blobs[m.head_weight];
                 record.dims[0] = (1u << 23) - 1;
                 record.dims[1] = 64;
                 record.dims[2] = 1;
                 record.dims[3] = 4;
               }}));

}  // namespace
}  // namespace wbcq::format
