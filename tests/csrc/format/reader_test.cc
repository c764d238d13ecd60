#include "format/reader.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>

#include "base/checked.h"
#include "format/file_builder.h"
#include "format/mapped_file.h"

namespace wbcq::format {
namespace {

using testing::Bytes;
using testing::fix_checksums;
using testing::SmallModel;

std::filesystem::path write_file(std::string_view name, const Bytes& bytes) {
  const std::filesystem::path path =
      std::filesystem::path(::testing::TempDir()) /
      (std::string(::testing::UnitTest::GetInstance()->current_test_info()->name()) +
       std::to_string(getpid()) + std::string(name));
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
  return path;
}

void expect_small_model(const ModelFile& file) {
  const SmallModel model;
  EXPECT_EQ(file.header().major, 1);
  ASSERT_EQ(file.tensors().size(), model.tensors.size());
  ASSERT_EQ(file.ops().size(), model.ops.size());
  ASSERT_EQ(file.inputs().size(), 1u);
  ASSERT_EQ(file.outputs().size(), 2u);
  EXPECT_EQ(file.outputs()[1].tensor, model.features);
  EXPECT_EQ(file.metadata(), "{}");
  EXPECT_EQ(file.string(file.tensors()[model.a].name), "a");
  const OpRecord& conv = file.ops()[model.residual_conv];
  EXPECT_EQ(file.string(conv.name), "residual_conv");
  ASSERT_EQ(file.op_inputs(conv).size(), 2u);
  EXPECT_EQ(file.op_inputs(conv)[1], model.a);
  EXPECT_EQ(file.op_outputs(conv)[0], model.b);
  ASSERT_EQ(file.op_blobs(conv).size(), 3u);
  const auto bias = file.blob_values<int32_t>(file.op_blobs(conv)[1]);
  EXPECT_EQ(std::vector<int32_t>(bias.begin(), bias.end()),
            (std::vector<int32_t>{100, 101, 102, 103, 104, 105}));
  for (uint32_t i = 0; i < file.blobs().size(); ++i) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>(file.blob_bytes(i).data()) % kAlignment, 0u);
  }
}

TEST(Reader, ReadsBytes) {
  const Bytes bytes = SmallModel().bytes();
  // A copy at an odd address: the reader may rely on nothing.
  Bytes shifted(bytes.size() + 1);
  std::copy(bytes.begin(), bytes.end(), shifted.begin() + 1);
  Result<ModelFile> file = ModelFile::from_bytes(std::span(shifted).subspan(1));
  ASSERT_TRUE(file.ok()) << file.status().message();
  shifted.assign(shifted.size(), std::byte{0});
  expect_small_model(file.value());
}

TEST(Reader, BorrowsAlignedBytesAndCopiesOthers) {
  const Bytes bytes = SmallModel().bytes();
  Bytes memory(bytes.size() + MappedFile::kBorrowedAlignment + 1);
  const auto address = reinterpret_cast<uintptr_t>(memory.data());
  const size_t aligned = round_up(address, MappedFile::kBorrowedAlignment) - address;
  for (const size_t offset : {aligned, aligned + 1}) {
    const std::span place = std::span(memory).subspan(offset, bytes.size());
    std::copy(bytes.begin(), bytes.end(), place.begin());
    Result<ModelFile> file = ModelFile::borrow(place);
    ASSERT_TRUE(file.ok()) << file.status().message();
    EXPECT_EQ(file.value().bytes().data() == place.data(), offset == aligned);
    EXPECT_EQ(file.value().string_section(), ModelFile::from_bytes(bytes).value().string_section());
    const ModelFile moved = std::move(file).value();
    EXPECT_TRUE(std::equal(moved.bytes().begin(), moved.bytes().end(), bytes.begin()));
  }
  EXPECT_EQ(ModelFile::borrow({}).status().code(), StatusCode::kInvalidFile);
}

TEST(Reader, ReadsAFile) {
  const std::filesystem::path path = write_file(".wbcq", SmallModel().bytes());
  Result<ModelFile> file = ModelFile::open(path.string());
  ASSERT_TRUE(file.ok()) << file.status().message();
  std::filesystem::remove(path);  // the mapping stays
  expect_small_model(file.value());
}

TEST(Reader, ReadsAnOpenFileThatIsClosedAfterwards) {
  const std::filesystem::path path = write_file(".wbcq", SmallModel().bytes());
  const int descriptor = ::open(path.c_str(), O_RDONLY);
  ASSERT_GE(descriptor, 0);
  Result<ModelFile> file = ModelFile::open(descriptor);
  close(descriptor);
  std::filesystem::remove(path);
  ASSERT_TRUE(file.ok()) << file.status().message();
  expect_small_model(file.value());
  EXPECT_EQ(ModelFile::open(descriptor).status().code(), StatusCode::kIo);
}

TEST(MappedFileTest, ReleasedPagesAreReadAgain) {
  Bytes bytes(200'000);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 7 >> 3);
  const std::filesystem::path path = write_file(".bin", bytes);
  const Result<MappedFile> mapped = MappedFile::map(path.string());
  std::filesystem::remove(path);
  ASSERT_TRUE(mapped.ok()) << mapped.status().message();
  const std::span<const std::byte> all = mapped.value().bytes();
  ASSERT_TRUE(std::equal(all.begin(), all.end(), bytes.begin()));
  mapped.value().release(all.subspan(100, 150'000));
  EXPECT_TRUE(std::equal(all.begin(), all.end(), bytes.begin()));

  const Result<MappedFile> copy = MappedFile::copy_of(bytes);
  copy.value().release(copy.value().bytes());
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), copy.value().bytes().begin()));
}

TEST(Reader, ViewsStayValidWhenMoved) {
  Result<ModelFile> first = ModelFile::from_bytes(SmallModel().bytes());
  Result<ModelFile> second = ModelFile::from_bytes(SmallModel().bytes());
  ASSERT_TRUE(first.ok() && second.ok());
  ModelFile moved = std::move(first).value();
  expect_small_model(moved);
  moved = std::move(second).value();
  expect_small_model(moved);
}

TEST(Reader, FilesThatCannotBeOpened) {
  const auto message = [](const std::string& path) {
    Result<ModelFile> file = ModelFile::open(path);
    EXPECT_EQ(file.status().code(), StatusCode::kIo) << path;
    return file.status().message();
  };
  const std::string missing = ::testing::TempDir() + "/there-is-no-such-file";
  EXPECT_EQ(message(missing), missing + ": cannot open: No such file or directory");
  EXPECT_EQ(message("/"), "/: cannot open: it is a directory");
  EXPECT_EQ(message("/dev/null"), "/dev/null: cannot open: it is not a regular file");
}

TEST(Reader, MessagesNameThePath) {
  const std::filesystem::path path = write_file(".wbcq", {});
  Result<ModelFile> file = ModelFile::open(path.string());
  EXPECT_EQ(file.status().code(), StatusCode::kInvalidFile);
  EXPECT_EQ(file.status().message(),
            path.string() + ": the file is empty: write or copy the model again");
  std::filesystem::remove(path);
}

TEST(Reader, AHigherMinorVersionIsRead) {
  Bytes bytes = SmallModel().bytes();
  bytes[offsetof(Header, minor)] = std::byte{7};
  fix_checksums(bytes);
  EXPECT_TRUE(ModelFile::from_bytes(bytes).ok());
}

}  // namespace
}  // namespace wbcq::format
