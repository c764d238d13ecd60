// Damaged files: every one is refused with a message, or, where checksums are repaired after the
// damage, read without a fault. Runs everywhere; ASan and UBSan make it sharper, csrc/fuzz longer.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "format/file_builder.h"
#include "format/reader.h"
#include "format/sparse_model.h"
#include "format/wide_model.h"
#include "support/random.h"

namespace wbcq::format {
namespace {

using testing::Bytes;
using testing::fix_checksums;
using testing::SmallModel;
using testing::SparseModel;
using testing::WideModel;

// Touches everything that the accessors of an accepted file give.
uint64_t visit(const ModelFile& file) {
  uint64_t sum = file.metadata().size() + file.header().minor;
  for (const TensorRecord& tensor : file.tensors()) sum += file.string(tensor.name).size();
  for (uint32_t i = 0; i < file.blobs().size(); ++i) {
    sum += file.string(file.blobs()[i].name).size();
    AlignedBuffer expanded;
    const Result<std::span<const std::byte>> elements = file.blob_elements(i, expanded);
    EXPECT_TRUE(elements.ok()) << elements.status().message();
    if (!elements.ok()) continue;
    for (const std::byte byte : elements.value()) sum += static_cast<uint8_t>(byte);
  }
  for (const OpRecord& op : file.ops()) {
    sum += file.string(op.name).size();
    for (const uint32_t tensor : file.op_inputs(op)) sum += file.tensors()[tensor].dims[3];
    for (const uint32_t tensor : file.op_outputs(op)) sum += file.tensors()[tensor].dims[3];
    for (const uint32_t blob : file.op_blobs(op)) sum += file.blobs()[blob].bytes;
  }
  for (const IoRecord& io : file.io()) sum += file.tensors()[io.tensor].dims[3];
  return sum;
}

// Reads a damaged file; true if it was accepted.
bool read(const Bytes& bytes) {
  Result<ModelFile> file = ModelFile::from_bytes(bytes);
  if (file.ok()) return visit(file.value()) > 0;
  EXPECT_EQ(file.status().code(), StatusCode::kInvalidFile);
  EXPECT_FALSE(file.status().message().empty());
  return false;
}

struct Model {
  const char* name;
  Bytes bytes;
};
std::ostream& operator<<(std::ostream& out, const Model& model) { return out << model.name; }

class Mutation : public ::testing::TestWithParam<Model> {};

INSTANTIATE_TEST_SUITE_P(Models, Mutation,
                         ::testing::Values(Model{"small", SmallModel().bytes()},
                                           Model{"wide", WideModel().bytes()},
                                           Model{"sparse", SparseModel().bytes()}));

TEST_P(Mutation, EveryTruncationIsRefused) {
  const Bytes whole = GetParam().bytes;
  for (size_t size = 0; size < whole.size(); ++size) {
    Bytes part(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(size));
    ASSERT_FALSE(read(part)) << size;
    fix_checksums(part);
    ASSERT_FALSE(read(part)) << size;
  }
}

TEST_P(Mutation, EveryChangedByteIsRefused) {
  const Bytes whole = GetParam().bytes;
  for (size_t i = 0; i < whole.size(); ++i) {
    for (const int flip : {0x01, 0x80, 0xFF}) {
      Bytes damaged = whole;
      damaged[i] ^= static_cast<std::byte>(flip);
      ASSERT_FALSE(read(damaged)) << "byte " << i << " ^ " << flip;
    }
  }
}

TEST_P(Mutation, ChangedBytesWithRepairedChecksumsAreHarmless) {
  const Bytes whole = GetParam().bytes;
  size_t accepted = 0;
  for (size_t i = 0; i < whole.size(); ++i) {
    for (const int value : {0x00, 0x01, 0x7F, 0x80, 0xFF}) {
      Bytes damaged = whole;
      damaged[i] = static_cast<std::byte>(value);
      fix_checksums(damaged);
      accepted += read(damaged) ? 1 : 0;
    }
  }
  // Scales, weights and names may change; if nothing were accepted, repairing would be broken.
  EXPECT_GT(accepted, whole.size() / 10);
}

TEST_P(Mutation, RandomDamageWithRepairedChecksumsIsHarmless) {
  wbcq::testing::Random random;
  const Bytes whole = GetParam().bytes;
  for (int repeat = 0; repeat < 20000; ++repeat) {
    Bytes damaged = whole;
    for (int64_t edits = random.uniform(1, 4); edits > 0; --edits) {
      const size_t at = static_cast<size_t>(random.uniform(0, std::ssize(damaged) - 1));
      // Values that stand at the limits of the fields they may hit.
      constexpr uint32_t kValues[] = {0,          1,          2,           3,          64,
                                      0x7FFFFFFF, 0x80000000, 0xFFFFFFFFu, 0x01000000, 0x7F800000,
                                      0x7FC00000, 0xFFFFFF80, 0x00100000,  255,        256};
      const uint32_t value = random.one_in(2)
                                 ? static_cast<uint32_t>(random.uniform(0, 0xFFFFFFFFll))
                                 : kValues[random.uniform(0, std::ssize(kValues) - 1)];
      const size_t aligned = random.one_in(4) ? at : at / 4 * 4;
      std::memcpy(damaged.data() + aligned, &value, std::min<size_t>(4, damaged.size() - aligned));
    }
    fix_checksums(damaged);
    read(damaged);
  }
}

TEST(RandomBytes, AreRefused) {
  wbcq::testing::Random random;
  for (int repeat = 0; repeat < 2000; ++repeat) {
    Bytes bytes(static_cast<size_t>(random.uniform(0, 1000)));
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random.uniform(0, 255));
    if (bytes.size() >= 8 && random.one_in(2)) std::memcpy(bytes.data(), kMagic, 8);
    ASSERT_FALSE(read(bytes));
    fix_checksums(bytes);
    ASSERT_FALSE(read(bytes));
  }
}

}  // namespace
}  // namespace wbcq::format
