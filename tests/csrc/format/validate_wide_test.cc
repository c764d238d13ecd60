// The rules of the versions after 1.0: one broken model for each, and the message that it must
// give.
#include <gtest/gtest.h>

#include <string>

#include "format/channel_ranges.h"
#include "format/reader.h"
#include "format/refusal.h"
#include "format/wide_model.h"
#include "support/random.h"

namespace wbcq::format {
namespace {

using testing::bits;
using testing::Bytes;
using testing::fix_checksums;
using testing::SmallModel;
using testing::WideModel;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

using Broken = testing::Broken<WideModel>;

class WideRule : public ::testing::TestWithParam<Broken> {};

TEST_P(WideRule, IsEnforced) { GetParam().expect_refused(); }

TEST(Wide, IsValid) {
  Result<ModelFile> file = ModelFile::from_bytes(WideModel().bytes());
  EXPECT_TRUE(file.ok()) << file.status().message();
}

INSTANTIATE_TEST_SUITE_P(
    Views, WideRule,
    ::testing::Values(
        Broken{"'left': parent is tensor 30 of 30",
               [](WideModel& m) { m.tensors[m.left].parent = 31; }},
        Broken{"'left': its parent, tensor 3 'right', is a view itself",
               [](WideModel& m) { m.tensors[m.left].parent = m.right + 1; }},
        Broken{"'left': its parent, tensor 2 'left', is a view itself",
               [](WideModel& m) { m.tensors[m.left].parent = m.left + 1; }},
        Broken{"'q': channel_offset is 1, must be 0 without a parent",
               [](WideModel& m) { m.tensors[m.q].channel_offset = 1; }},
        Broken{"'left': must have dtype, height and width of its parent, tensor 1 'q'",
               [](WideModel& m) { m.tensors[m.left].dims[1] = 5; }},
        Broken{"'left': must share scale and zero point with its parent, tensor 1 'q'",
               [](WideModel& m) { m.tensors[m.left].zero_point = 5; }},
        Broken{"'left': must share scale and zero point with its parent, tensor 1 'q'",
               [](WideModel& m) { m.tensors[m.left].scale = 0.03f; }},
        Broken{"'right': 5 channels at offset 4 leave the 8 of its parent",
               [](WideModel& m) { m.tensors[m.right].channel_offset = 4; }},
        Broken{"'right': 5 channels at offset -1 leave the 8 of its parent",
               [](WideModel& m) { m.tensors[m.right].channel_offset = -1; }},
        Broken{"'right': 5 channels at offset 2147483647 leave the 8 of its parent",
               [](WideModel& m) { m.tensors[m.right].channel_offset = INT32_MAX; }},
        Broken{"(conv2d): writes tensor 5 'second', which is written twice",
               [](WideModel& m) { m.tensors[m.second].channel_offset = 3; }},
        Broken{"op 3 'depthwise' (conv2d): reads tensor 6 'concat' before it is written",
               [](WideModel& m) {
                 m.tensors[m.concat].dims[3] = 11;
                 m.tensors[m.second].channel_offset = 5;
               }},
        Broken{"tensor 30 'parent' is never written",
               [](WideModel& m) {
                 const uint32_t parent = m.u8_tensor("parent", 6, 6, 20, 0.06f, 20);
                 m.become_view(m.d, parent, 0);
                 m.view("hole", parent, 18, 2);
               }},
        Broken{"'input' is a view, an input must have its own memory",
               [](WideModel& m) { m.become_view(m.input, m.f32_tensor("parent", 6, 6, 8), 0); }},
        Broken{"(conv2d): writes tensor 4 'first', which is an input",
               [](WideModel& m) {
                 m.tensors[m.first] = m.tensors[m.view("part", m.input, 0, 4)];
                 m.tensors.pop_back();
                 m.tensors[m.first].name = m.string("first");
               }},
        Broken{"is both an input and an output", [](WideModel& m) {
                 m.add_io(m.view("part", m.input, 2, 4), true, {kBatch, 4, 6, 6});
               }}));

INSTANTIATE_TEST_SUITE_P(
    Conv2d, WideRule,
    ::testing::Values(
        Broken{
            "'residual_f32' (conv2d): tensor 15 'fa' has shape N, 13, 12, 4 but tensor 0 'input' "
            "has N, 6, 6, 8: inputs must agree in height and width",
            [](WideModel& m) { m.operand(m.residual_f32, 1) = m.input; }},
        Broken{"'conv_second' (conv2d): tensor 0 'input' is f32, must be u8",
               [](WideModel& m) { m.operand(m.conv_second, 1) = m.input; }},
        Broken{"'conv_second' (conv2d): its only input is the residual",
               [](WideModel& m) {
                 m.ops[m.conv_first].attrs[conv2d::kHasResidual] = 1;
                 std::swap(m.ops[m.conv_first].name, m.ops[m.conv_second].name);
               }},
        Broken{"'conv_second' (conv2d): 2 inputs with 2 groups",
               [](WideModel& m) { m.ops[m.conv_second].attrs[conv2d::kGroups] = 2; }},
        Broken{"'conv_second' (conv2d): weight has shape [6, 3, 3, 8], must be [6, 3, 3, 10]",
               [](WideModel& m) { m.operand(m.conv_second, 1) = m.right; }},
        Broken{"'conv_first' (conv2d): has_residual is 2, must be 0..1",
               [](WideModel& m) { m.ops[m.conv_first].attrs[conv2d::kHasResidual] = 2; }},
        Broken{"'conv_first' (conv2d): pre_scale is 0, must be positive and finite",
               [](WideModel& m) { m.ops[m.conv_first].attrs[conv2d::kPreScale] = 0; }},
        Broken{"'conv_first' (conv2d): pre_scale is nan, must be positive and finite",
               [](WideModel& m) { m.ops[m.conv_first].attrs[conv2d::kPreScale] = bits(kNan); }},
        Broken{"'conv_first' (conv2d): pre_zero_point is 256, must be 0..255",
               [](WideModel& m) { m.ops[m.conv_first].attrs[conv2d::kPreZeroPoint] = 256; }},
        Broken{"'conv_second' (conv2d): pre_scale and pre_zero_point must be 0 without a table",
               [](WideModel& m) { m.ops[m.conv_second].attrs[conv2d::kPreZeroPoint] = 1; }},
        Broken{"'conv_first' (conv2d): the multiplier of channel 0 is",
               [](WideModel& m) { m.ops[m.conv_first].attrs[conv2d::kPreScale] = bits(1e-33f); }},
        Broken{"'depthwise' (conv2d): the multiplier of channel 10 is",
               [](WideModel& m) {
                 m.tensors[m.d].scale = 1e-35f;
                 m.tensors[m.concat].scale = 1e-9f;
                 m.tensors[m.first].scale = m.tensors[m.second].scale = 1e-9f;
               }},
        Broken{"'depthwise' (conv2d): a weight of channel 17 is -128",
               [](WideModel& m) { m.blob_data<int8_t>(m.depthwise, 0)[161] = -128; }},
        Broken{"'conv_second' (conv2d): a weight of channel 5 is -128",
               [](WideModel& m) { m.blob_data<int8_t>(m.conv_second, 0)[431] = -128; }},
        Broken{"'conv_f32' (conv2d): 3 blobs, must be 2",
               [](WideModel& m) { m.ops[m.conv_f32].blobs = 3; }},
        Broken{"'conv_f32' (conv2d): weight[70] is nan, must be finite",
               [](WideModel& m) { m.blob_data<float>(m.conv_f32, 0)[70] = kNan; }},
        Broken{"'conv_f32' (conv2d): bias[1] is inf, must be finite",
               [](WideModel& m) { m.blob_data<float>(m.conv_f32, 1)[1] = kInf; }},
        Broken{"'conv_f32' (conv2d): lo is nan, must be at most hi, inf",
               [](WideModel& m) { m.ops[m.conv_f32].attrs[conv2d::kLo] = bits(kNan); }},
        Broken{"'residual_f32' (conv2d): lo is 7, must be at most hi, 6",
               [](WideModel& m) { m.ops[m.residual_f32].attrs[conv2d::kLo] = bits(7); }},
        Broken{"'residual_f32' (conv2d): residual tensor 13 'p' must be f32",
               [](WideModel& m) { m.operand(m.residual_f32, 2) = m.p; }},
        Broken{"'residual_f32' (conv2d): pre_scale is 1065353216, must be 0",
               [](WideModel& m) { m.ops[m.residual_f32].attrs[conv2d::kPreScale] = bits(1); }}));

INSTANTIATE_TEST_SUITE_P(
    Operators, WideRule,
    ::testing::Values(
        Broken{"'mul' (mul): tensor 7 'd' has shape N, 6, 6, 18 but tensor 1 'q' has N, 6, 6, 8, "
               "must have the same or N, 1, 1, 18",
               [](WideModel& m) { m.operand(m.mul, 1) = m.q; }},
        Broken{"'mul' (mul): tensor 0 'input' is f32, must be u8",
               [](WideModel& m) { m.operand(m.mul, 1) = m.input; }},
        Broken{"'mul' (mul): scale of a * scale of b / scale of the result is",
               [](WideModel& m) { m.tensors[m.e].scale = 1e-35f; }},
        Broken{"'mul' (mul): lo is 18, must be at most hi, 17",
               [](WideModel& m) { m.ops[m.mul].attrs[mul::kHi] = 17; }},
        Broken{"'mul' (mul): 2 blobs, must be 0..1", [](WideModel& m) { m.ops[m.mul].blobs = 2; }},
        Broken{"'subtract' (add): scale of b / scale of the result is",
               [](WideModel& m) {
                 m.ops[m.subtract].attrs[add::kPreScale] = bits(1e-32f);
                 m.tensors[m.e].scale = 1e-9f;
               }},
        Broken{"'subtract' (add): subtract is 2, must be 0..1",
               [](WideModel& m) { m.ops[m.subtract].attrs[add::kSubtract] = 2; }},
        Broken{"'avg_pool' (avg_pool2d): scale of x / scale of the result is",
               [](WideModel& m) { m.ops[m.avg_pool].attrs[pool2d::kPreScale] = bits(1e-32f); }},
        Broken{"'lookup' (lookup): table is f32, must be u8",
               [](WideModel& m) { m.operand(m.lookup, 2) = m.operand(m.conv_f32, 2); }},
        Broken{"'lookup' (lookup): table has shape [1, 256], must be [256]",
               [](WideModel& m) {
                 BlobRecord& table = m.blobs[m.operand(m.lookup, 2)];
                 table.rank = 2;
                 table.dims[0] = 1;
                 table.dims[1] = 256;
               }},
        Broken{"'lookup' (lookup): 0 blobs, must be 1",
               [](WideModel& m) { m.ops[m.lookup].blobs = 0; }},
        Broken{"'resize' (resize): mode is 2, must be 0..1",
               [](WideModel& m) { m.ops[m.resize].attrs[resize::kMode] = 2; }},
        Broken{"'resize' (resize): align_corners is set, which only bilinear",
               [](WideModel& m) { m.ops[m.resize].attrs[resize::kAlignCorners] = 1; }},
        Broken{"'resize' (resize): input and output must share scale and zero point",
               [](WideModel& m) { m.tensors[m.h].zero_point = 1; }},
        Broken{"'resize' (resize): input has 18 channels but output 17",
               [](WideModel& m) { m.tensors[m.h].dims[3] = 17; }},
        Broken{"'pad' (pad): output height is 13, must be 14",
               [](WideModel& m) { m.ops[m.pad].attrs[pad::kBottom] = 1; }},
        Broken{"'pad' (pad): output width is 12, must be 11",
               [](WideModel& m) { m.ops[m.pad].attrs[pad::kLeft] = 1; }},
        Broken{"'pad' (pad): value is 256, must be 0..255",
               [](WideModel& m) { m.ops[m.pad].attrs[pad::kValue] = 256; }},
        Broken{"'pad_f32' (pad): value is NaN",
               [](WideModel& m) { m.ops[m.pad_f32].attrs[pad::kValue] = bits(kNan); }},
        Broken{"'unary' (unary): function is 22, must be 1..21",
               [](WideModel& m) { m.ops[m.unary].attrs[unary::kFunction] = 22; }},
        Broken{"'unary' (unary): p0 is inf, must be finite",
               [](WideModel& m) { m.ops[m.unary].attrs[unary::kP0] = bits(kInf); }},
        Broken{"'unary' (unary): p1 is 1, must be 0: the function has 1 parameters",
               [](WideModel& m) { m.ops[m.unary].attrs[unary::kP1] = bits(1); }},
        Broken{"'unary' (unary): lo of clamp is 1, must be at most hi, 0",
               [](WideModel& m) {
                 m.ops[m.unary].attrs[unary::kFunction] = unary::kClamp;
                 m.ops[m.unary].attrs[unary::kP0] = bits(1);
               }},
        Broken{"'unary' (unary): beta of softplus is -1, must be positive",
               [](WideModel& m) {
                 m.ops[m.unary].attrs[unary::kFunction] = unary::kSoftplus;
                 m.ops[m.unary].attrs[unary::kP0] = bits(-1);
               }},
        Broken{"'unary' (unary): tensor 13 'p' is u8, must be f32",
               [](WideModel& m) { m.operand(m.unary, 0) = m.p; }},
        Broken{"'binary' (binary): function is 0, must be 1..4",
               [](WideModel& m) { m.ops[m.binary].attrs[binary::kFunction] = 0; }},
        Broken{"'binary' (binary): tensor 13 'p' is u8, must be f32",
               [](WideModel& m) { m.operand(m.binary, 0) = m.operand(m.binary, 1) = m.p; }},
        Broken{"'softmax' (softmax): tensor 13 'p' is u8, must be f32",
               [](WideModel& m) { m.operand(m.softmax, 0) = m.p; }},
        Broken{"'avg_pool_f32' (avg_pool2d): lo is inf, must be at most hi, -inf",
               [](WideModel& m) {
                 std::swap(m.ops[m.avg_pool_f32].attrs[pool2d::kLo],
                           m.ops[m.avg_pool_f32].attrs[pool2d::kHi]);
               }},
        Broken{"'max_pool_f32' (max_pool2d): an adaptive pool (a kernel or stride is 0) has kernel",
               [](WideModel& m) { m.ops[m.max_pool_f32].attrs[pool2d::kStrideW] = 0; }},
        Broken{"'avg_pool_f32' (avg_pool2d): an adaptive pool",
               [](WideModel& m) {
                 std::fill_n(m.ops[m.avg_pool_f32].attrs, 4, 0);
                 m.ops[m.avg_pool_f32].attrs[pool2d::kDivisor] = 1;
               }},
        Broken{"'max_pool_f32' (max_pool2d): lo is -8388608, must be 0",
               [](WideModel& m) { m.ops[m.max_pool_f32].attrs[pool2d::kLo] = bits(-kInf); }},
        Broken{"'max_pool_f32' (max_pool2d): tensor 20 'fe' is f32, must be u8",
               [](WideModel& m) { m.operand(m.max_pool_f32, 0) = m.p; }}));

INSTANTIATE_TEST_SUITE_P(
    Version1_2, WideRule,
    ::testing::Values(
        Broken{"'normalize' (normalize): 3 groups do not divide 4 channels",
               [](WideModel& m) { m.ops[m.normalize].attrs[normalize::kGroups] = 3; }},
        Broken{"'normalize' (normalize): groups is -1, must be 0..16777216",
               [](WideModel& m) { m.ops[m.normalize].attrs[normalize::kGroups] = -1; }},
        Broken{"'normalize' (normalize): eps is nan, must be finite and at least 0",
               [](WideModel& m) { m.ops[m.normalize].attrs[normalize::kEps] = bits(kNan); }},
        Broken{"'normalize' (normalize): bias[3] is inf, must be finite",
               [](WideModel& m) { m.blob_data<float>(m.normalize, 1)[3] = kInf; }},
        Broken{"'normalize' (normalize): 1 blobs, must be 2",
               [](WideModel& m) { m.ops[m.normalize].blobs = 1; }},
        Broken{"'normalize' (normalize): tensor 13 'p' is u8, must be f32",
               [](WideModel& m) { m.operand(m.normalize, 0) = m.p; }},
        Broken{"'rearrange' (rearrange): the product of the sizes is 676, the output has 624",
               [](WideModel& m) { m.ops[m.rearrange].attrs[rearrange::kSize + 3] = 13; }},
        Broken{
            "'rearrange' (rearrange): the product of the sizes is 2147483648, the output has 624",
            [](WideModel& m) {
              for (int i = 0; i < rearrange::kDigits; ++i) {
                m.ops[m.rearrange].attrs[rearrange::kSize + i] = INT32_MAX;
                m.ops[m.rearrange].attrs[rearrange::kStride + i] = INT32_MAX;
              }
            }},
        Broken{"'rearrange' (rearrange): size_0 is 0, must be 1..2147483647",
               [](WideModel& m) { m.ops[m.rearrange].attrs[rearrange::kSize] = 0; }},
        Broken{"'rearrange' (rearrange): reads elements 1..624 of an input of 624",
               [](WideModel& m) { m.ops[m.rearrange].attrs[rearrange::kOffset] = 1; }},
        Broken{"'rearrange' (rearrange): reads elements -44..579 of an input of 624",
               [](WideModel& m) { m.ops[m.rearrange].attrs[rearrange::kStride + 3] = -4; }},
        Broken{"'rearrange' (rearrange): tensor 29 'fl' is f32, must be u8",
               [](WideModel& m) { m.operand(m.rearrange, 0) = m.p; }}));

TEST(Wide, AccumulatorsOfSeveralInputsMayFillInt32) {
  // Two inputs of one channel: conv_second's channel 0 has 8 weights a tap, 5 of `right`.
  for (const int32_t excess : {0, 1}) {
    WideModel model;
    model.tensors[model.q].zero_point = 0;
    model.tensors[model.left].zero_point = model.tensors[model.right].zero_point = 0;
    int8_t* weights = model.blob_data<int8_t>(model.conv_second, 0);
    std::fill(weights, weights + 72, int8_t{1});
    model.blob_data<int32_t>(model.conv_second, 1)[0] = INT32_MAX - 72 * 255 + excess;
    EXPECT_EQ(ModelFile::from_bytes(model.bytes()).ok(), excess == 0);
  }
  // Depthwise: channels 0..9 read `concat` (zero point 3), 10..17 `q` (128).
  for (const int32_t excess : {0, 1}) {
    WideModel model;
    int8_t* weights = model.blob_data<int8_t>(model.depthwise, 0);
    std::fill(weights, weights + 162, int8_t{1});
    model.blob_data<int32_t>(model.depthwise, 1)[9] = INT32_MAX - 9 * 252;
    model.blob_data<int32_t>(model.depthwise, 1)[10] = INT32_MAX - 9 * 127 + excess;
    EXPECT_EQ(ModelFile::from_bytes(model.bytes()).ok(), excess == 0);
  }
}

TEST(Wide, InputsAndResidualOfAConvolution) {
  const WideModel model;
  Result<ModelFile> result = ModelFile::from_bytes(model.bytes());
  ASSERT_TRUE(result.ok()) << result.status().message();
  const ModelFile& file = result.value();
  const auto inputs = [&](size_t op) {
    const auto span = file.conv2d_inputs(file.ops()[op]);
    return std::vector<uint32_t>(span.begin(), span.end());
  };
  EXPECT_EQ(inputs(model.conv_second), (std::vector<uint32_t>{model.right, model.left}));
  EXPECT_EQ(file.conv2d_residual(file.ops()[model.conv_second]), kNone);
  EXPECT_EQ(inputs(model.residual_f32), (std::vector<uint32_t>{model.fa, model.fa}));
  EXPECT_EQ(file.conv2d_residual(file.ops()[model.residual_f32]), model.fa);
}

TEST(Wide, InVersion1_0ASecondInputIsTheResidual) {
  SmallModel model;
  model.ops[model.residual_conv].attrs[conv2d::kHasResidual] = 0;
  Bytes bytes = model.bytes();
  bytes[offsetof(Header, minor)] = std::byte{0};
  fix_checksums(bytes);
  Result<ModelFile> file = ModelFile::from_bytes(bytes);
  ASSERT_TRUE(file.ok()) << file.status().message();
  const OpRecord& op = file.value().ops()[model.residual_conv];
  EXPECT_EQ(file.value().conv2d_inputs(op).size(), 1u);
  EXPECT_EQ(file.value().conv2d_residual(op), model.a);

  bytes = SmallModel().bytes();
  bytes[offsetof(Header, minor)] = std::byte{0};
  fix_checksums(bytes);
  const Status status = ModelFile::from_bytes(bytes).status();
  EXPECT_NE(status.message().find("has_residual is 1, must be 0 in version 1.0"),
            std::string::npos);
}

TEST(ChannelRanges, AgreeWithASetOfChannels) {
  wbcq::testing::Random random;
  for (int repeat = 0; repeat < 300; ++repeat) {
    constexpr int32_t kChannels = 24;
    ChannelRanges ranges;
    std::vector<bool> expected(kChannels, false);
    for (int step = 0; step < 20; ++step) {
      const int32_t start = static_cast<int32_t>(random.uniform(0, kChannels - 1));
      const int32_t end = static_cast<int32_t>(
          random.uniform(start + 1, std::min(kChannels, start + 1 + (repeat % 6))));
      const auto from = expected.begin() + start;
      const auto to = expected.begin() + end;
      ASSERT_EQ(ranges.holds(start, end), std::find(from, to, false) == to);
      const bool is_new = std::find(from, to, true) == to;
      ASSERT_EQ(ranges.add(start, end), is_new);
      if (is_new) std::fill(from, to, true);
    }
  }
}

}  // namespace
}  // namespace wbcq::format
