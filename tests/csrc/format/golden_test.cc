// Golden files of every version must always load. tests/wbcq/engine/golden.py made them.
#include <gtest/gtest.h>

#include <filesystem>

#include "format/crc32.h"
#include "format/reader.h"

namespace wbcq::format {
namespace {

std::string golden_path(const char* name) {
  const std::filesystem::path here = std::filesystem::path(__FILE__).parent_path();
  return (here / "../../data" / name).lexically_normal().string();
}

TEST(Golden, Version1_0) {
  Result<ModelFile> result = ModelFile::open(golden_path("golden_v1_0.wbcq"));
  ASSERT_TRUE(result.ok()) << result.status().message();
  const ModelFile& file = result.value();
  EXPECT_EQ(file.header().major, 1);
  EXPECT_EQ(file.header().minor, 0);
  EXPECT_EQ(file.tensors().size(), 15u);
  EXPECT_EQ(file.ops().size(), 13u);
  EXPECT_EQ(file.inputs().size(), 2u);
  EXPECT_EQ(file.outputs().size(), 3u);
  EXPECT_NE(file.metadata().find("\"Lymphozyt \xc3\xa4\""), std::string_view::npos);

  const OpRecord& stem = file.ops()[2];
  EXPECT_EQ(file.string(stem.name), "stem.conv");
  const int32_t attrs[] = {3, 2, 2, 2, 1, 0, 2, 1, 1, 2, 1, 0, 250, 0, 0, 0};
  EXPECT_TRUE(std::equal(std::begin(attrs), std::end(attrs), stem.attrs));
  const TensorRecord& q0 = file.tensors()[file.op_inputs(stem)[0]];
  EXPECT_EQ(file.string(q0.name), "q0");
  EXPECT_EQ(q0.scale, 0.02f);
  EXPECT_EQ(q0.zero_point, 120);
  ASSERT_EQ(file.op_blobs(stem).size(), 3u);
  EXPECT_EQ(file.blob_values<int8_t>(file.op_blobs(stem)[0]).size(), 8u * 3 * 2 * 3);
  EXPECT_EQ(file.blob_values<float>(file.op_blobs(stem)[2])[7], 0.0055f);

  const OpRecord& block = file.ops()[5];
  ASSERT_EQ(file.op_inputs(block).size(), 2u);
  EXPECT_EQ(file.string(file.tensors()[file.op_inputs(block)[1]].name), "side");
  EXPECT_EQ(crc32(file.data_section()), 0x71473a59u);
}

TEST(Golden, Version1_1) {
  Result<ModelFile> result = ModelFile::open(golden_path("golden_v1_1.wbcq"));
  ASSERT_TRUE(result.ok()) << result.status().message();
  const ModelFile& file = result.value();
  EXPECT_EQ(file.header().minor, 1);
  EXPECT_EQ(file.tensors().size(), 36u);
  EXPECT_EQ(file.ops().size(), 30u);

  const TensorRecord& second = file.tensors()[6];
  EXPECT_EQ(file.string(second.name), "second");
  EXPECT_EQ(second.parent, 5u);
  EXPECT_EQ(file.string(file.tensors()[second.parent - 1].name), "concat");
  EXPECT_EQ(second.channel_offset, 4);

  const OpRecord& branch = file.ops()[2];
  ASSERT_EQ(file.conv2d_inputs(branch).size(), 2u);
  EXPECT_EQ(file.string(file.tensors()[file.conv2d_inputs(branch)[0]].name), "right");
  EXPECT_EQ(file.conv2d_residual(branch), kNone);
  const OpRecord& first = file.ops()[1];
  ASSERT_EQ(file.op_blobs(first).size(), 4u);
  EXPECT_EQ(file.blob_values<uint8_t>(file.op_blobs(first)[3]).size(), 256u);
  EXPECT_EQ(first.attrs[conv2d::kPreScale], 0x3D800000);  // 0.0625
  EXPECT_EQ(first.attrs[conv2d::kPreZeroPoint], 100);
  const OpRecord& blend = file.ops()[28];
  EXPECT_EQ(file.string(file.tensors()[file.conv2d_residual(blend)].name), "framed");
}

TEST(Golden, Version1_2) {
  Result<ModelFile> result = ModelFile::open(golden_path("golden_v1_2.wbcq"));
  ASSERT_TRUE(result.ok()) << result.status().message();
  const ModelFile& file = result.value();
  EXPECT_EQ(file.header().minor, 2);
  EXPECT_EQ(file.ops()[1].attrs[pool2d::kKernelH], 0);
  const OpRecord& space = file.ops()[4];
  EXPECT_EQ(static_cast<OpKind>(space.kind), OpKind::kRearrange);
  EXPECT_EQ(space.attrs[rearrange::kOffset], 24);
  EXPECT_EQ(space.attrs[rearrange::kSize + 5], 4);
  EXPECT_EQ(space.attrs[rearrange::kStride + 4], -8);
  const OpRecord& group = file.ops()[8];
  EXPECT_EQ(static_cast<OpKind>(group.kind), OpKind::kNormalize);
  EXPECT_EQ(group.attrs[normalize::kGroups], 2);
  EXPECT_EQ(group.attrs[normalize::kEps], 0x3E000000);  // 0.125
}

TEST(Golden, Version1_3) {
  Result<ModelFile> result = ModelFile::open(golden_path("golden_v1_3.wbcq"));
  ASSERT_TRUE(result.ok()) << result.status().message();
  const ModelFile& file = result.value();
  EXPECT_EQ(file.header().minor, 3);
  EXPECT_EQ(file.header().required_features, kSparseBlobs);
  const uint32_t first = file.op_blobs(file.ops()[1])[0];
  EXPECT_EQ(file.blobs()[first].block, 1);
  EXPECT_EQ(file.blob_values<int8_t>(first).size(), 210u);
  AlignedBuffer expanded;
  const Result<std::span<const std::byte>> elements = file.blob_elements(first, expanded);
  ASSERT_TRUE(elements.ok()) << elements.status().message();
  EXPECT_EQ(crc32(elements.value()), 0x65783563u);
  EXPECT_EQ(file.blobs()[file.op_blobs(file.ops()[2])[0]].block, 4);
}

}  // namespace
}  // namespace wbcq::format
