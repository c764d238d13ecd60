// The bytes of a file in memory that is aligned to at least 64 bytes: mapped read-only, or a copy.
#ifndef WBCQ_FORMAT_MAPPED_FILE_H_
#define WBCQ_FORMAT_MAPPED_FILE_H_

#include <cstddef>
#include <span>
#include <string>
#include <utility>

#include "base/status.h"

namespace wbcq::format {

class MappedFile {
 public:
  // The file must not be shortened or written in place while it is mapped; replacing it with
  // rename(2), as the Python writer does, is safe.
  static Result<MappedFile> map(const std::string& path);
  // The same of an open file, which the caller may close at once.
  static Result<MappedFile> map(int descriptor);
  static Result<MappedFile> copy_of(std::span<const std::byte> bytes);
  // The bytes themselves, which must outlive it unchanged, where their address allows it (a
  // multiple of kBorrowedAlignment, which memory of any allocator is); else a copy.
  static Result<MappedFile> borrow(std::span<const std::byte> bytes);
  static constexpr size_t kBorrowedAlignment = 16;

  MappedFile(MappedFile&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)),
        size_(std::exchange(other.size_, 0)),
        storage_(std::exchange(other.storage_, Storage::kEmpty)) {}
  MappedFile& operator=(MappedFile&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(storage_, other.storage_);
    return *this;
  }
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  // The pages of `part` need no memory until they are read again, if the file is mapped.
  void release(std::span<const std::byte> part) const;

 private:
  enum class Storage { kEmpty, kMapped, kAllocated, kBorrowed };
  MappedFile(std::byte* data, size_t size, Storage storage)
      : data_(data), size_(size), storage_(storage) {}

  std::byte* data_;  // never written
  size_t size_;
  Storage storage_;
};

}  // namespace wbcq::format

#endif  // WBCQ_FORMAT_MAPPED_FILE_H_
