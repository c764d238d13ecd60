#include "format/crc32.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string_view>
#include <vector>

#include "support/random.h"

namespace wbcq::format {
namespace {

uint32_t bitwise_crc32(std::span<const std::byte> bytes) {
  uint32_t crc = 0xFFFFFFFFu;
  for (const std::byte byte : bytes) {
    crc ^= static_cast<uint32_t>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xEDB88320u : 0u);
  }
  return ~crc;
}

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

TEST(Crc32, KnownValues) {
  EXPECT_EQ(crc32({}), 0u);
  EXPECT_EQ(crc32(bytes_of("123456789")), 0xCBF43926u);
  EXPECT_EQ(crc32(bytes_of("The quick brown fox jumps over the lazy dog")), 0x414FA339u);
}

TEST(Crc32, EqualsTheDefinitionAtEveryLengthAndAlignment) {
  wbcq::testing::Random random;
  std::vector<std::byte> data(160);
  for (std::byte& byte : data) byte = static_cast<std::byte>(random.uniform(0, 255));
  for (size_t offset = 0; offset < 16; ++offset) {
    for (size_t size = 0; offset + size <= data.size(); ++size) {
      const auto bytes = std::span<const std::byte>(data).subspan(offset, size);
      ASSERT_EQ(crc32(bytes), bitwise_crc32(bytes)) << "offset " << offset << ", size " << size;
    }
  }
}

TEST(Crc32, ContinuesAnEarlierValue) {
  const auto all = bytes_of("The quick brown fox jumps over the lazy dog");
  for (size_t cut = 0; cut <= all.size(); ++cut) {
    EXPECT_EQ(crc32(all.subspan(cut), crc32(all.first(cut))), crc32(all));
  }
}

}  // namespace
}  // namespace wbcq::format
