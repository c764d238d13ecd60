// Makes a damaged file pass the checks that a fuzzer cannot guess.
#ifndef WBCQ_FUZZ_REPAIR_H_
#define WBCQ_FUZZ_REPAIR_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "format/crc32.h"
#include "format/format.h"

namespace wbcq::fuzz {

// A copy with the right magic, features, size and checksums; empty if it is shorter than a header.
inline std::vector<std::byte> repaired(std::span<const std::byte> file) {
  if (file.size() < sizeof(format::Header)) return {};
  std::vector<std::byte> copy(file.begin(), file.end());
  format::Header header;
  std::memcpy(&header, copy.data(), sizeof(header));
  std::memcpy(header.magic, format::kMagic, sizeof(format::kMagic));
  header.major = format::kMajor;
  header.required_features = format::kSparseBlobs;
  header.file_bytes = copy.size();
  header.body_crc32 = format::crc32(std::span(copy).subspan(sizeof(header)));
  std::memcpy(copy.data(), &header, sizeof(header));
  header.header_crc32 =
      format::crc32(std::span(copy).first(offsetof(format::Header, header_crc32)));
  std::memcpy(copy.data(), &header, sizeof(header));
  return copy;
}

}  // namespace wbcq::fuzz

#endif  // WBCQ_FUZZ_REPAIR_H_
