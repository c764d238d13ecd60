#include "format/crc32.h"

#include <array>
#include <cstring>

namespace wbcq::format {
namespace {

// "Slicing": table k holds the CRC of a byte that is followed by k zero bytes, so that one step
// looks up 16 bytes that do not depend on each other.
constexpr size_t kSlices = 16;
using Tables = std::array<std::array<uint32_t, 256>, kSlices>;

Tables make_tables() {
  Tables tables = {};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xEDB88320u : 0u);
    tables[0][byte] = crc;
  }
  for (size_t k = 1; k < kSlices; ++k) {
    for (size_t byte = 0; byte < 256; ++byte) {
      const uint32_t crc = tables[k - 1][byte];
      tables[k][byte] = (crc >> 8) ^ tables[0][crc & 0xFF];
    }
  }
  return tables;
}

// The four bytes of `word`, followed by `zeros` further bytes of the step.
uint32_t look_up(const Tables& tables, uint32_t word, size_t zeros) {
  return tables[zeros + 3][word & 0xFF] ^ tables[zeros + 2][(word >> 8) & 0xFF] ^
         tables[zeros + 1][(word >> 16) & 0xFF] ^ tables[zeros][word >> 24];
}

}  // namespace

uint32_t crc32(std::span<const std::byte> bytes, uint32_t previous) {
  // Made here rather than by the compiler: 16 KB less in the file.
  static const Tables tables = make_tables();
  uint32_t crc = ~previous;
  const std::byte* data = bytes.data();
  size_t size = bytes.size();
  for (; size >= kSlices; size -= kSlices, data += kSlices) {
    uint32_t words[4];
    std::memcpy(words, data, sizeof(words));
    crc = look_up(tables, words[0] ^ crc, 12) ^ look_up(tables, words[1], 8) ^
          look_up(tables, words[2], 4) ^ look_up(tables, words[3], 0);
  }
  for (; size > 0; --size, ++data) {
    crc = (crc >> 8) ^ tables[0][(crc ^ static_cast<uint32_t>(*data)) & 0xFF];
  }
  return ~crc;
}

}  // namespace wbcq::format
