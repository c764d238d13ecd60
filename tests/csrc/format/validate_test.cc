// One broken model for each rule of docs/design/file-format.md, and the message that it must give.
#include <gtest/gtest.h>

#include <limits>
#include <string>

#include "format/file_builder.h"
#include "format/reader.h"
#include "format/refusal.h"

namespace wbcq::format {
namespace {

using testing::Bytes;
using testing::fix_checksums;
using testing::SmallModel;

using Broken = testing::Broken<SmallModel>;

class ModelRule : public ::testing::TestWithParam<Broken> {};

TEST_P(ModelRule, IsEnforced) { GetParam().expect_refused(); }

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

INSTANTIATE_TEST_SUITE_P(
    Strings, ModelRule,
    ::testing::Values(
        Broken{"section 0 (strings): must end with a zero byte",
               [](SmallModel& m) { m.strings += 'x'; }},
        Broken{"section 0 (strings): must end with a zero byte",
               [](SmallModel& m) { m.strings.clear(); }},
        Broken{"section 0 (strings): not UTF-8", [](SmallModel& m) { m.string("\xff"); }},
        Broken{"section 6 (metadata): not UTF-8",
               [](SmallModel& m) { m.metadata = std::string("\xc3"); }},
        Broken{"tensor 1: name is 7, not where a string begins",
               [](SmallModel& m) { m.tensors[1].name = m.tensors[0].name + 7; }},
        Broken{"tensor 0: name is 4294967295, not where a string begins",
               [](SmallModel& m) { m.tensors[0].name = kNone; }},
        Broken{"op 3: the name must have 1..1024 bytes",
               [](SmallModel& m) { m.ops[3].name = m.string(""); }},
        Broken{"op 3: the name must have 1..1024 bytes",
               [](SmallModel& m) { m.ops[3].name = m.string(std::string(1025, 'x')); }},
        Broken{"tensor 3: the name 'a' is taken by another tensor",
               [](SmallModel& m) { m.tensors[m.b].name = m.string("a"); }},
        Broken{"blob 1: the name 'conv.weight' is taken by another blob",
               [](SmallModel& m) { m.blobs[1].name = m.blobs[0].name; }},
        Broken{"op 2: the name 'conv' is taken by another op",
               [](SmallModel& m) { m.ops[2].name = m.string("conv"); }}));

INSTANTIATE_TEST_SUITE_P(
    Tensors, ModelRule,
    ::testing::Values(
        Broken{"tensor 1 'q': dtype is 3, must be 1 (f32) or 2 (u8)",
               [](SmallModel& m) { m.tensors[m.q].dtype = 3; }},
        Broken{"tensor 1 'q': dims[0] is 1, must be -1 (the batch)",
               [](SmallModel& m) { m.tensors[m.q].dims[0] = 1; }},
        Broken{"tensor 1 'q': dims[2] is 0, must be 1..16777216",
               [](SmallModel& m) { m.tensors[m.q].dims[2] = 0; }},
        Broken{"tensor 1 'q': dims[3] is 16777217, must be 1..16777216",
               [](SmallModel& m) { m.tensors[m.q].dims[3] = (1 << 24) + 1; }},
        Broken{"tensor 1 'q': more than 2147483647 elements a picture",
               [](SmallModel& m) { m.tensors[m.q].dims[1] = m.tensors[m.q].dims[2] = 1 << 24; }},
        Broken{"tensor 1 'q': scale is 0, must be positive and finite",
               [](SmallModel& m) { m.tensors[m.q].scale = 0; }},
        Broken{"tensor 1 'q': scale is nan", [](SmallModel& m) { m.tensors[m.q].scale = kNan; }},
        Broken{"tensor 1 'q': scale is inf", [](SmallModel& m) { m.tensors[m.q].scale = kInf; }},
        Broken{"tensor 1 'q': zero_point is 256, must be 0..255",
               [](SmallModel& m) { m.tensors[m.q].zero_point = 256; }},
        Broken{"tensor 1 'q': zero_point is -1, must be 0..255",
               [](SmallModel& m) { m.tensors[m.q].zero_point = -1; }},
        Broken{"tensor 0 'input': scale and zero_point of an f32 tensor must be 0",
               [](SmallModel& m) { m.tensors[m.input].scale = kNan; }},
        Broken{"tensor 0 'input': scale and zero_point of an f32 tensor must be 0",
               [](SmallModel& m) { m.tensors[m.input].zero_point = 1; }},
        Broken{"tensor 1 'q': reserved bytes are not zero",
               [](SmallModel& m) { m.tensors[m.q].reserved0[2] = 1; }},
        Broken{"tensor 1 'q': reserved bytes are not zero",
               [](SmallModel& m) { m.tensors[m.q].reserved[23] = 1; }},
        Broken{"is never written", [](SmallModel& m) { m.f32_tensor("unused", 1, 1, 1); }}));

INSTANTIATE_TEST_SUITE_P(
    Blobs, ModelRule,
    ::testing::Values(
        Broken{"blob 0 'conv.weight': dtype is 9, which this reader does not know",
               [](SmallModel& m) { m.blobs[0].dtype = 9; }},
        Broken{"blob 0 'conv.weight': rank is 0", [](SmallModel& m) { m.blobs[0].rank = 0; }},
        Broken{"blob 0 'conv.weight': rank is 5", [](SmallModel& m) { m.blobs[0].rank = 5; }},
        Broken{"blob 0 'conv.weight': dims[1] is 0, must be 1..16777216",
               [](SmallModel& m) { m.blobs[0].dims[1] = 0; }},
        Broken{"blob 1 'conv.bias': dims[3] is 2, must be 1..1",
               [](SmallModel& m) { m.blobs[1].dims[3] = 2; }},
        Broken{"blob 0 'conv.weight': more than 2147483647 elements",
               [](SmallModel& m) {
                 for (uint32_t& dim : m.blobs[0].dims) dim = 1 << 24;
               }},
        Broken{"blob 0 'conv.weight': bytes is 109, its shape has 108",
               [](SmallModel& m) { m.blobs[0].bytes = 109; }},
        Broken{"blob 1 'conv.bias': offset is 0, must be 128",
               [](SmallModel& m) { m.blobs[1].offset = 0; }},
        Broken{"leave the data section", [](SmallModel& m) { m.data.pop_back(); }},
        Broken{"section 7 (data): has 660 bytes, its blobs end at 596",
               [](SmallModel& m) { m.data.resize(m.data.size() + 64); }},
        Broken{"blob 1 'conv.bias': the bytes before it are not zero",
               [](SmallModel& m) { m.data[127] = std::byte{1}; }},
        Broken{"blob 0 'conv.weight': reserved bytes are not zero",
               [](SmallModel& m) { m.blobs[0].reserved0 = 1; }},
        Broken{"blob 0 'conv.weight': reserved bytes are not zero",
               [](SmallModel& m) { m.blobs[0].reserved[0] = 1; }},
        Broken{"blob 9 is never used",
               [](SmallModel& m) { m.blob<int32_t>("extra", DType::kI32, {1}, {1}); }}));

INSTANTIATE_TEST_SUITE_P(
    Operators, ModelRule,
    ::testing::Values(
        Broken{"op 3 'add': kind 77 is unknown to this reader (version 1.3): update wbcq",
               [](SmallModel& m) { m.ops[m.add].kind = 77; }},
        Broken{"op 3 'add' (add): reserved is not zero",
               [](SmallModel& m) { m.ops[m.add].reserved[2] = 1; }},
        Broken{"op 1 'conv' (conv2d): 257 inputs, must be 1..256",
               [](SmallModel& m) { m.ops[m.conv].inputs = 257; }},
        Broken{"op 3 'add' (add): 2 outputs, must be 1",
               [](SmallModel& m) { m.ops[m.add].outputs = 2; }},
        Broken{"op 1 'conv' (conv2d): 2 blobs, must be 3..4",
               [](SmallModel& m) { m.ops[m.conv].blobs = 2; }},
        Broken{"op 1 'conv' (conv2d): first_operand is 4294967295, must be 2",
               [](SmallModel& m) { m.ops[m.conv].first_operand = 0xFFFFFFFFu; }},
        Broken{"op 7 'dequantize' (dequantize): operands leave their section of 26",
               [](SmallModel& m) { m.operands.pop_back(); }},
        Broken{"section 3 (operands): has 28, the operators use 27",
               [](SmallModel& m) { m.operands.push_back(0); }},
        Broken{"op 0 'quantize' (quantize): input is tensor 9 of 9",
               [](SmallModel& m) { m.operands[0] = 9; }},
        Broken{"op 0 'quantize' (quantize): output is tensor 4294967295 of 9",
               [](SmallModel& m) { m.operands[1] = kNone; }},
        Broken{"op 1 'conv' (conv2d): blob 9 of 9", [](SmallModel& m) { m.operands[4] = 9; }},
        Broken{"op 1 'conv' (conv2d): blob 0 belongs to another operand",
               [](SmallModel& m) { m.operands[5] = 0; }},
        Broken{"op 1 'conv' (conv2d): stride_h is 0, must be 1..1024",
               [](SmallModel& m) { m.ops[m.conv].attrs[conv2d::kStrideH] = 0; }},
        Broken{"op 1 'conv' (conv2d): pad_right is -1, must be 0..1024",
               [](SmallModel& m) { m.ops[m.conv].attrs[conv2d::kPadRight] = -1; }},
        Broken{"op 1 'conv' (conv2d): kernel_w is 1025, must be 1..1024",
               [](SmallModel& m) { m.ops[m.conv].attrs[conv2d::kKernelW] = 1025; }},
        Broken{"op 1 'conv' (conv2d): pre_scale and pre_zero_point must be 0 without a table",
               [](SmallModel& m) { m.ops[m.conv].attrs[15] = 1; }},
        Broken{"op 4 'max_pool' (max_pool2d): hi is 254, must be 255",
               [](SmallModel& m) { m.ops[m.max_pool].attrs[pool2d::kHi] = 254; }},
        Broken{"op 5 'avg_pool' (avg_pool2d): dilation_h is 2, must be 1",
               [](SmallModel& m) { m.ops[m.avg_pool].attrs[pool2d::kDilationH] = 2; }},
        Broken{"op 5 'avg_pool' (avg_pool2d): divisor is -1, must be 0..16777216",
               [](SmallModel& m) { m.ops[m.avg_pool].attrs[pool2d::kDivisor] = -1; }}));

INSTANTIATE_TEST_SUITE_P(
    Order, ModelRule,
    ::testing::Values(
        Broken{"the model has no input", [](SmallModel& m) { m.io.erase(m.io.begin()); }},
        Broken{"the model has no output", [](SmallModel& m) { m.io.resize(1); }},
        Broken{"section 5 (io): inputs must come before outputs",
               [](SmallModel& m) { std::swap(m.io[0], m.io[1]); }},
        Broken{"tensor 0 'input' is an input twice",
               [](SmallModel& m) { m.io.insert(m.io.begin(), m.io[0]); }},
        Broken{"tensor 7 'logits' is an output twice",
               [](SmallModel& m) { m.io.push_back(m.io[1]); }},
        Broken{"tensor 0 'input' is both an input and an output",
               [](SmallModel& m) {
                 m.io.push_back(m.io[0]);
                 m.io.back().is_output = 1;
               }},
        Broken{"io 1 (output): is_output is 2", [](SmallModel& m) { m.io[1].is_output = 2; }},
        Broken{"io 0 (input): reserved is not zero", [](SmallModel& m) { m.io[0].reserved = 1; }},
        Broken{"io 0 (input): tensor 9 of 9", [](SmallModel& m) { m.io[0].tensor = 9; }},
        Broken{"io 1 (output): tensor 5 'd' is u8, must be f32",
               [](SmallModel& m) { m.io[1].tensor = m.d; }},
        Broken{"io 0 (input): rank is 5, must be 2..4", [](SmallModel& m) { m.io[0].rank = 5; }},
        Broken{"io 0 (input): rank is 1, must be 2..4", [](SmallModel& m) { m.io[0].rank = 1; }},
        Broken{"io 0 (input): dims[0] is 3, must be -1 (the batch)",
               [](SmallModel& m) { m.io[0].dims[0] = 3; }},
        Broken{"io 1 (output): dims[2] is 2, must be 1..1",
               [](SmallModel& m) { m.io[1].dims[2] = 2; }},
        Broken{"io 0 (input): the shape N, 4, 6, 8 is not that of tensor 0 'input'",
               [](SmallModel& m) { std::swap(m.io[0].dims[2], m.io[0].dims[3]); }},
        Broken{"io 1 (output): the shape N, 6, 1, 1 is not that of tensor 7 'logits'",
               [](SmallModel& m) { m.io[1].dims[1] = 6; }},
        Broken{"op 2 'residual_conv' (conv2d): reads tensor 4 'c' before it is written",
               [](SmallModel& m) { m.operands[m.ops[2].first_operand] = m.c; }},
        Broken{"op 2 'residual_conv' (conv2d): writes tensor 2 'a', which is written twice",
               [](SmallModel& m) { m.operands[m.ops[2].first_operand + 2] = m.a; }},
        Broken{"op 2 'residual_conv' (conv2d): writes tensor 0 'input', which is an input",
               [](SmallModel& m) { m.operands[m.ops[2].first_operand + 2] = m.input; }}));

INSTANTIATE_TEST_SUITE_P(
    Conv2d, ModelRule,
    ::testing::Values(
        Broken{"op 0 'conv' (conv2d): 3 blobs, must be 2",
               [](SmallModel& m) {
                 m.tensors[m.q] = m.tensors[m.input];
                 m.tensors[m.q].name = m.string("q");
                 m.ops.erase(m.ops.begin());
                 m.operands.erase(m.operands.begin(), m.operands.begin() + 2);
                 for (OpRecord& op : m.ops) op.first_operand -= 2;
                 m.io[0].tensor = m.q;
               }},
        Broken{"(conv2d): lo is 201, must be at most hi, 200",
               [](SmallModel& m) { m.ops[m.residual_conv].attrs[conv2d::kLo] = 201; }},
        Broken{"(conv2d): lo and hi must be 0 and 255, and no table, for an f32 output",
               [](SmallModel& m) { m.ops[m.head].attrs[conv2d::kHi] = 254; }},
        Broken{"(conv2d): groups is 3, must divide 4 input and 6 output channels",
               [](SmallModel& m) { m.ops[m.conv].attrs[conv2d::kGroups] = 3; }},
        Broken{"(conv2d): output height is 8, the geometry gives 4",
               [](SmallModel& m) { m.ops[m.conv].attrs[conv2d::kStrideH] = 2; }},
        Broken{"(conv2d): output width is 6, the geometry gives 0",
               [](SmallModel& m) { m.ops[m.conv].attrs[conv2d::kKernelW] = 9; }},
        Broken{"(conv2d): weight has shape [6, 3, 3, 2], must be [6, 3, 3, 4]",
               [](SmallModel& m) { m.ops[m.conv].attrs[conv2d::kGroups] = 1; }},
        Broken{"(conv2d): weight is i32, must be i8",
               [](SmallModel& m) { std::swap(m.operands[4], m.operands[5]); }},
        Broken{"(conv2d): bias is f32, must be i32",
               [](SmallModel& m) { std::swap(m.operands[5], m.operands[6]); }},
        Broken{"(conv2d): weight_scale has shape [1, 6], must be [6]",
               [](SmallModel& m) {
                 m.blobs[2].rank = 2;
                 m.blobs[2].dims[0] = 1;
                 m.blobs[2].dims[1] = 6;
               }},
        Broken{"(conv2d): a weight of channel 5 is -128, must be -127..127",
               [](SmallModel& m) { m.blob_data<int8_t>(m.conv, 0)[107] = -128; }},
        Broken{"(conv2d): weight_scale[4] is -0.5, must be positive and finite",
               [](SmallModel& m) { m.blob_data<float>(m.conv, 2)[4] = -0.5f; }},
        Broken{"(conv2d): weight_scale[0] is nan",
               [](SmallModel& m) { m.blob_data<float>(m.residual_conv, 2)[0] = kNan; }},
        Broken{"(conv2d): the multiplier of channel 1 is inf, must be below 2^96",
               [](SmallModel& m) {
                 m.tensors[m.q].scale = 1e20f;
                 m.blob_data<float>(m.conv, 2)[1] = 1e30f;
               }},
        Broken{"(conv2d): the multiplier of channel 0 is 1.58456325e+29, must be below 2^96",
               [](SmallModel& m) { m.tensors[m.a].scale = 0x1p-96f * 0.02f * 0.01f * 0.5f; }},
        Broken{"(conv2d): bias[2] is inf, must be finite",
               [](SmallModel& m) { m.blob_data<float>(m.head, 1)[2] = kInf; }},
        Broken{"(conv2d): residual tensor 1 'q' must have the output's shape: dims[3] is 4, not 6",
               [](SmallModel& m) { m.operands[m.ops[2].first_operand + 1] = m.q; }},
        Broken{"(conv2d): residual tensor 0 'input' must be u8",
               [](SmallModel& m) { m.operands[m.ops[2].first_operand + 1] = m.input; }},
        Broken{"which int32 does not hold",
               [](SmallModel& m) { m.blob_data<int32_t>(m.conv, 1)[0] = INT32_MAX; }},
        Broken{"which int32 does not hold",
               [](SmallModel& m) { m.blob_data<int32_t>(m.conv, 1)[5] = INT32_MIN; }}));

INSTANTIATE_TEST_SUITE_P(
    OtherOperators, ModelRule,
    ::testing::Values(
        Broken{"op 0 'quantize' (quantize): 1 / scale is not finite",
               [](SmallModel& m) {
                 m.tensors[m.q].scale = 1e-40f;
                 for (int i = 0; i < 6; ++i) m.blob_data<float>(m.conv, 2)[i] = 1.f;
               }},
        Broken{"(quantize): tensor 0 'input' has shape N, 8, 6, 4 but tensor 1 'q' has N, 8, 6, 3",
               [](SmallModel& m) { m.tensors[m.q].dims[3] = 3; }},
        Broken{"(dequantize): tensor 5 'd' has shape N, 4, 3, 6 but tensor 8 'features' has",
               [](SmallModel& m) {
                 m.tensors[m.features].dims[1] = 3;
                 m.io[2].dims[2] = 3;
               }},
        Broken{"(add): tensor 3 'b' has shape N, 8, 6, 6 but tensor 1 'q' has N, 8, 6, 4",
               [](SmallModel& m) { m.operands[m.ops[3].first_operand + 1] = m.q; }},
        Broken{"(add): tensor 0 'input' is f32, must be u8",
               [](SmallModel& m) { m.operands[m.ops[3].first_operand + 1] = m.input; }},
        Broken{"(add): scale of a / scale of the result is 7.0",
               [](SmallModel& m) { m.tensors[m.c].scale = m.tensors[m.d].scale = 1e-31f; }},
        Broken{"(add): scale of b / scale of the result is 5.0",
               [](SmallModel& m) {
                 m.tensors[m.b].scale = 1e-9f;
                 m.tensors[m.c].scale = m.tensors[m.d].scale = 1e-31f;
               }},
        Broken{"(add): lo is 5, must be at most hi, 4",
               [](SmallModel& m) { m.ops[m.add].attrs[add::kHi] = 4; }},
        Broken{"(max_pool2d): input and output must share scale and zero point",
               [](SmallModel& m) { m.tensors[m.d].zero_point = 6; }},
        Broken{"(max_pool2d): input and output must share scale and zero point",
               [](SmallModel& m) { m.tensors[m.d].scale = 0.2f; }},
        Broken{"(max_pool2d): output width is 3, the geometry gives 6 (or 7 in ceil mode",
               [](SmallModel& m) { m.ops[m.max_pool].attrs[pool2d::kStrideW] = 1; }},
        Broken{"(max_pool2d): the window at height -4 has no tap inside the picture",
               [](SmallModel& m) {
                 m.ops[m.max_pool].attrs[pool2d::kPadTop] = 4;
                 m.ops[m.max_pool].attrs[pool2d::kStrideH] = 3;
               }},
        Broken{"(max_pool2d): the last window along height lies in the padding",
               [](SmallModel& m) {
                 m.ops[m.max_pool].attrs[pool2d::kPadBottom] = 4;
                 m.ops[m.max_pool].attrs[pool2d::kStrideH] = 3;
               }},
        Broken{"(avg_pool2d): lo is 1, must be at most hi, 0",
               [](SmallModel& m) {
                 m.ops[m.avg_pool].attrs[pool2d::kLo] = 1;
                 m.ops[m.avg_pool].attrs[pool2d::kHi] = 0;
               }},
        Broken{"(avg_pool2d): input has 6 channels but output 5",
               [](SmallModel& m) { m.tensors[m.e].dims[3] = 5; }},
        Broken{"(avg_pool2d): scale of x / scale of the result is inf",
               [](SmallModel& m) { m.tensors[m.e].scale = 1e-40f; }}));

// Edits of the finished file, so that counts, offsets and sizes can disagree.
struct BrokenBytes {
  const char* message;
  std::function<void(Bytes&)> edit;
  bool fix = true;
};

std::ostream& operator<<(std::ostream& out, const BrokenBytes& broken) {
  return out << broken.message;
}

class ContainerRule : public ::testing::TestWithParam<BrokenBytes> {};

TEST_P(ContainerRule, IsEnforced) {
  Bytes bytes = SmallModel().bytes();
  GetParam().edit(bytes);
  if (GetParam().fix) fix_checksums(bytes);
  Result<ModelFile> file = ModelFile::from_bytes(bytes);
  ASSERT_FALSE(file.ok());
  EXPECT_EQ(file.status().code(), StatusCode::kInvalidFile);
  EXPECT_NE(file.status().message().find(GetParam().message), std::string::npos)
      << "expected: " << GetParam().message << "\nactual:   " << file.status().message();
}

Header& header(Bytes& bytes) { return *reinterpret_cast<Header*>(bytes.data()); }
SectionRecord& section(Bytes& bytes, SectionKind kind) {
  auto* table = reinterpret_cast<SectionRecord*>(bytes.data() + sizeof(Header));
  return table[static_cast<size_t>(kind) - 1];
}

INSTANTIATE_TEST_SUITE_P(
    Header, ContainerRule,
    ::testing::Values(
        BrokenBytes{"the file is empty", [](Bytes& b) { b.clear(); }},
        BrokenBytes{"not a wbcq model file", [](Bytes& b) { b[0] = std::byte{'P'}; }},
        BrokenBytes{"transferred as text", [](Bytes& b) { b.erase(b.begin() + 4); }},
        BrokenBytes{"the file is truncated: it has 5 bytes", [](Bytes& b) { b.resize(5); }},
        BrokenBytes{"format version 2.3, this reader knows version 1.x",
                    [](Bytes& b) { header(b).major = 2; }},
        BrokenBytes{"format version 0.3, this reader knows version 1.x",
                    [](Bytes& b) { header(b).major = 0; }},
        BrokenBytes{"the header is damaged", [](Bytes& b) { b[60] ^= std::byte{1}; }, false},
        BrokenBytes{"header_bytes is 128, must be 64",
                    [](Bytes& b) { header(b).header_bytes = 128; }},
        BrokenBytes{"it is truncated, copy it again", [](Bytes& b) { b.pop_back(); }},
        BrokenBytes{"something was appended to it", [](Bytes& b) { b.push_back(std::byte{0}); }},
        BrokenBytes{"its header says 18446744073709551615",
                    [](Bytes& b) { header(b).file_bytes = ~uint64_t{0}; }},
        BrokenBytes{"needs feature bit 63",
                    [](Bytes& b) { header(b).required_features = 1ull << 63; }},
        BrokenBytes{"section_count is 9, must be 8", [](Bytes& b) { header(b).section_count = 9; }},
        BrokenBytes{"reserved bytes of the header are not zero",
                    [](Bytes& b) { header(b).reserved[19] = 1; }},
        BrokenBytes{"the contents are damaged", [](Bytes& b) { b.back() ^= std::byte{1}; },
                    false}));

INSTANTIATE_TEST_SUITE_P(
    Sections, ContainerRule,
    ::testing::Values(
        BrokenBytes{"section 1 (tensors): kind is 3, must be 2",
                    [](Bytes& b) { section(b, SectionKind::kTensors).kind = 3; }},
        BrokenBytes{"section 1 (tensors): reserved is not zero",
                    [](Bytes& b) { section(b, SectionKind::kTensors).reserved = 1; }},
        BrokenBytes{"section 1 (tensors): offset is 18446744073709551552, must be ",
                    [](Bytes& b) { section(b, SectionKind::kTensors).offset = ~uint64_t{63}; }},
        BrokenBytes{"18446744073709551615 bytes at offset 320 leave the file",
                    [](Bytes& b) { section(b, SectionKind::kStrings).bytes = ~uint64_t{0}; }},
        BrokenBytes{"section 1 (tensors): count is 4294967295, must be at most 1048576",
                    [](Bytes& b) { section(b, SectionKind::kTensors).count = 0xFFFFFFFFu; }},
        BrokenBytes{"section 1 (tensors): bytes is 576, must be 512 for 8 records",
                    [](Bytes& b) { section(b, SectionKind::kTensors).count = 8; }},
        BrokenBytes{"section 7 (data): bytes is 596, must be 1 for 1 bytes",
                    [](Bytes& b) { section(b, SectionKind::kData).count = 1; }},
        BrokenBytes{"section 7 (data): the bytes before it are not zero",
                    [](Bytes& b) { b[section(b, SectionKind::kData).offset - 1] = std::byte{1}; }},
        BrokenBytes{"the data section ends at byte ", [](Bytes& b) {
                      section(b, SectionKind::kData).bytes -= 64;
                      section(b, SectionKind::kData).count -= 64;
                    }}));

TEST(Rule, ACheckedAccumulatorMayFillInt32) {
  // Channel 0 of `conv` has weights -54..-37, whose sum is -819; the input's zero point is 128.
  SmallModel model;
  model.blob_data<int32_t>(model.conv, 1)[0] = INT32_MAX - 128 * 819;
  EXPECT_TRUE(ModelFile::from_bytes(model.bytes()).ok());
  model.blob_data<int32_t>(model.conv, 1)[0] += 1;
  EXPECT_FALSE(ModelFile::from_bytes(model.bytes()).ok());
  model.blob_data<int32_t>(model.conv, 1)[0] = INT32_MIN + 127 * 819;
  EXPECT_TRUE(ModelFile::from_bytes(model.bytes()).ok());
  model.blob_data<int32_t>(model.conv, 1)[0] -= 1;
  EXPECT_FALSE(ModelFile::from_bytes(model.bytes()).ok());
}

TEST(Rule, PoolsMayBeInCeilMode) {
  // 8 rows, windows of 3 every 2 from row 0: three are whole, the fourth begins at row 6.
  for (const int32_t height : {2, 3, 4, 5}) {
    SmallModel model;
    model.ops[model.max_pool].attrs[pool2d::kPadTop] = 0;
    model.ops[model.max_pool].attrs[pool2d::kPadBottom] = 0;
    model.tensors[model.d].dims[1] = model.tensors[model.features].dims[1] = height;
    model.io[2].dims[2] = height;
    model.ops[model.avg_pool].attrs[pool2d::kKernelH] = height;
    Result<ModelFile> file = ModelFile::from_bytes(model.bytes());
    EXPECT_EQ(file.ok(), height == 3 || height == 4) << height << file.status().message();
  }
}

}  // namespace
}  // namespace wbcq::format
