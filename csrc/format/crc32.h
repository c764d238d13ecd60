// zlib's CRC-32 (reflected polynomial 0xEDB88320).
#ifndef WBCQ_FORMAT_CRC32_H_
#define WBCQ_FORMAT_CRC32_H_

#include <cstddef>
#include <cstdint>
#include <span>

namespace wbcq::format {

// `previous` continues a CRC: crc32(b, crc32(a)) is the CRC of a followed by b.
uint32_t crc32(std::span<const std::byte> bytes, uint32_t previous = 0);

}  // namespace wbcq::format

#endif  // WBCQ_FORMAT_CRC32_H_
