#include "format/reader.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "format/crc32.h"
#include "format/limits.h"
#include "format/message.h"
#include "format/names.h"
#include "format/sparse_blob.h"
#include "format/validate.h"

namespace wbcq::format {
namespace {

static_assert(std::endian::native == std::endian::little, "the records are read in place");

constexpr uint64_t kFirstSection = sizeof(Header) + kSectionCount * sizeof(SectionRecord);
static_assert(kFirstSection % kAlignment == 0);

constexpr uint64_t align_up(uint64_t offset) {
  return (offset + kAlignment - 1) / kAlignment * kAlignment;
}

bool all_zero(std::span<const std::byte> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

Status check_magic(std::span<const std::byte> file) {
  if (file.empty()) return invalid_file("the file is empty: write or copy the model again");
  const size_t size = std::min(file.size(), sizeof(kMagic));
  if (std::memcmp(file.data(), kMagic, size) != 0) {
    const bool is_text = file.size() >= 4 && std::memcmp(file.data(), kMagic, 4) == 0;
    return invalid_file(
        "not a wbcq model file: it does not begin with the bytes 57 42 43 51 0d 0a 1a 0a",
        is_text ? "; it seems to have been transferred as text: copy it as binary" : "");
  }
  if (file.size() < kFirstSection) {
    return invalid_file("the file is truncated: it has ", file.size(), " bytes, the smallest has ",
                        kFirstSection, ": copy it again");
  }
  return Status();
}

Status check_header(std::span<const std::byte> file) {
  WBCQ_RETURN_IF_ERROR(check_magic(file));
  Header header;
  std::memcpy(&header, file.data(), sizeof(header));
  // Before the checksum: another major version may have another header.
  if (header.major != kMajor) {
    return invalid_file("the file has format version ", header.major, ".", header.minor,
                        ", this reader knows version ", kMajor,
                        ".x: use the version of wbcq that wrote it, or write it again");
  }
  if (header.header_crc32 != crc32(file.first(sizeof(Header) - sizeof(uint32_t)))) {
    return invalid_file("the header is damaged (its checksum differs): copy the file again");
  }
  if (header.header_bytes != sizeof(Header)) {
    return invalid_file("header_bytes is ", header.header_bytes, ", must be ", sizeof(Header));
  }
  if (header.file_bytes != file.size()) {
    return invalid_file("the file has ", file.size(), " bytes, its header says ", header.file_bytes,
                        header.file_bytes > file.size() ? ": it is truncated, copy it again"
                                                        : ": something was appended to it");
  }
  if (const uint64_t unknown = header.required_features & ~kSparseBlobs; unknown != 0) {
    return invalid_file("the file (version ", header.major, ".", header.minor,
                        ") needs feature bit ", std::countr_zero(unknown),
                        ", which this reader (version ", kMajor, ".", kMinor,
                        ") does not know: update wbcq");
  }
  if (header.section_count != kSectionCount) {
    return invalid_file("section_count is ", header.section_count, ", must be ", kSectionCount);
  }
  if (!all_zero(std::as_bytes(std::span(header.reserved)))) {
    return invalid_file("reserved bytes of the header are not zero");
  }
  if (header.body_crc32 != crc32(file.subspan(sizeof(Header)))) {
    return invalid_file("the contents are damaged (their checksum differs): copy the file again");
  }
  return Status();
}

// Bytes of one record; 1 where the section is not an array.
uint64_t record_bytes(SectionKind kind) {
  switch (kind) {
    case SectionKind::kTensors:
      return sizeof(TensorRecord);
    case SectionKind::kBlobs:
      return sizeof(BlobRecord);
    case SectionKind::kOperands:
      return sizeof(uint32_t);
    case SectionKind::kOps:
      return sizeof(OpRecord);
    case SectionKind::kIo:
      return sizeof(IoRecord);
    case SectionKind::kStrings:
    case SectionKind::kMetadata:
    case SectionKind::kData:
      break;
  }
  return 1;
}

// `end` is where the section before it ended; it becomes the end of this one.
Status check_section(std::span<const std::byte> file, const SectionRecord& section, uint32_t index,
                     uint64_t& end) {
  const SectionKind kind = static_cast<SectionKind>(index + 1);
  const std::string label = cat("section ", index, " (", section_name(index + 1), ")");
  if (section.kind != static_cast<uint32_t>(kind)) {
    return invalid_file(label, ": kind is ", section.kind, ", must be ", index + 1,
                        ": sections are in the order of their kinds");
  }
  if (section.reserved != 0) return invalid_file(label, ": reserved is not zero");
  const uint64_t offset = align_up(end);
  if (section.offset != offset) {
    return invalid_file(label, ": offset is ", section.offset, ", must be ", offset);
  }
  if (offset > file.size() || section.bytes > file.size() - offset) {
    return invalid_file(label, ": ", section.bytes, " bytes at offset ", offset,
                        " leave the file of ", file.size(), " bytes");
  }
  const uint64_t size = record_bytes(kind);
  if (size > 1 && section.count > kMaxRecords) {
    return invalid_file(label, ": count is ", section.count, ", must be at most ", kMaxRecords);
  }
  if (section.bytes != section.count * size) {
    return invalid_file(label, ": bytes is ", section.bytes, ", must be ", section.count * size,
                        " for ", section.count, size > 1 ? " records" : " bytes");
  }
  if (!all_zero(file.subspan(end, offset - end))) {
    return invalid_file(label, ": the bytes before it are not zero");
  }
  end = offset + section.bytes;
  return Status();
}

template <typename T>
std::span<const T> view(std::span<const std::byte> file, const SectionRecord& section) {
  return {reinterpret_cast<const T*>(file.data() + section.offset), section.bytes / sizeof(T)};
}

std::string_view text_view(std::span<const std::byte> file, const SectionRecord& section) {
  return {reinterpret_cast<const char*>(file.data() + section.offset), section.bytes};
}

}  // namespace

Result<ModelFile> ModelFile::open(const std::string& path) {
  Result<MappedFile> mapped = MappedFile::map(path);
  if (!mapped.ok())
    return Status(mapped.status().code(), cat(path, ": ", mapped.status().message()));
  Result<ModelFile> file = from_file(std::move(mapped).value());
  if (!file.ok()) return Status(file.status().code(), cat(path, ": ", file.status().message()));
  return file;
}

Result<ModelFile> ModelFile::open(int descriptor) {
  Result<MappedFile> mapped = MappedFile::map(descriptor);
  if (!mapped.ok()) return mapped.status();
  return from_file(std::move(mapped).value());
}

Result<ModelFile> ModelFile::from_bytes(std::span<const std::byte> bytes) {
  Result<MappedFile> copy = MappedFile::copy_of(bytes);
  if (!copy.ok()) return copy.status();
  return from_file(std::move(copy).value());
}

Result<ModelFile> ModelFile::borrow(std::span<const std::byte> bytes) {
  Result<MappedFile> mapped = MappedFile::borrow(bytes);
  if (!mapped.ok()) return mapped.status();
  return from_file(std::move(mapped).value());
}

Result<ModelFile> ModelFile::from_file(MappedFile mapped) {
  ModelFile file(std::move(mapped));
  WBCQ_RETURN_IF_ERROR(file.read_sections());
  WBCQ_RETURN_IF_ERROR(validate_records(file));
  const auto is_input = [](const IoRecord& io) { return io.is_output == 0; };
  file.input_count_ =
      static_cast<size_t>(std::count_if(file.io_.begin(), file.io_.end(), is_input));
  WBCQ_RETURN_IF_ERROR(validate_program(file));
  return file;
}

Status ModelFile::read_sections() {
  const std::span<const std::byte> file = bytes();
  WBCQ_RETURN_IF_ERROR(check_header(file));
  const std::span sections(reinterpret_cast<const SectionRecord*>(file.data() + sizeof(Header)),
                           kSectionCount);
  uint64_t end = kFirstSection;
  for (uint32_t i = 0; i < kSectionCount; ++i) {
    WBCQ_RETURN_IF_ERROR(check_section(file, sections[i], i, end));
  }
  if (end != file.size()) {
    return invalid_file("the data section ends at byte ", end, " of ", file.size(),
                        ", must end the file");
  }
  const auto section = [&](SectionKind kind) -> const SectionRecord& {
    return sections[static_cast<uint32_t>(kind) - 1];
  };
  strings_ = text_view(file, section(SectionKind::kStrings));
  tensors_ = view<TensorRecord>(file, section(SectionKind::kTensors));
  blobs_ = view<BlobRecord>(file, section(SectionKind::kBlobs));
  operands_ = view<uint32_t>(file, section(SectionKind::kOperands));
  ops_ = view<OpRecord>(file, section(SectionKind::kOps));
  io_ = view<IoRecord>(file, section(SectionKind::kIo));
  metadata_ = text_view(file, section(SectionKind::kMetadata));
  data_ = view<std::byte>(file, section(SectionKind::kData));
  return Status();
}

size_t ModelFile::mask_bytes(uint32_t blob) const {
  return blobs_[blob].block == 0 ? 0 : SparseLayout(blobs_[blob]).mask_bytes;
}

Result<std::span<const std::byte>> ModelFile::blob_elements(uint32_t blob,
                                                            AlignedBuffer& expanded) const {
  const BlobRecord& record = blobs_[blob];
  if (record.block == 0) return blob_bytes(blob);
  Result<AlignedBuffer> buffer =
      AlignedBuffer::allocate(SparseLayout(record).elements * dtype_size(record.dtype),
                              cat("the elements of blob ", quoted_name(string(record.name))));
  if (!buffer.ok()) return buffer.status();
  expanded = std::move(buffer).value();
  expand_sparse(record, blob_bytes(blob).data(), expanded.data());
  return std::span<const std::byte>(expanded.data(), expanded.size());
}

std::string_view ModelFile::string(uint32_t offset) const {
  const std::string_view rest = strings_.substr(offset);
  return rest.substr(0, rest.find('\0'));
}

}  // namespace wbcq::format
