#include "format/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <new>

#include "format/format.h"
#include "format/message.h"

namespace wbcq::format {
namespace {

constexpr size_t kLeastRelease = 65536;  // reading smaller parts again costs more than they take

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  ~FileDescriptor() {
    if (fd_ >= 0) close(fd_);
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

Status io_error(const char* action) {
  const int error = errno;
  return Status(StatusCode::kIo, cat("cannot ", action, ": ", std::strerror(error)));
}

}  // namespace

Result<MappedFile> MappedFile::map(const std::string& path) {
  // O_NONBLOCK: opening a named pipe would otherwise wait for a writer.
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.get() < 0) return io_error("open");
  return map(file.get());
}

Result<MappedFile> MappedFile::map(int descriptor) {
  struct stat info = {};
  if (fstat(descriptor, &info) != 0) return io_error("read the size");
  if (!S_ISREG(info.st_mode)) {
    return Status(StatusCode::kIo, S_ISDIR(info.st_mode) ? "cannot open: it is a directory"
                                                         : "cannot open: it is not a regular file");
  }
  if (info.st_size == 0) return MappedFile(nullptr, 0, Storage::kEmpty);
  const size_t size = static_cast<size_t>(info.st_size);
  void* data = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, descriptor, 0);
  if (data == MAP_FAILED) return io_error("map into memory");
  return MappedFile(static_cast<std::byte*>(data), size, Storage::kMapped);
}

Result<MappedFile> MappedFile::copy_of(std::span<const std::byte> bytes) {
  if (bytes.empty()) return MappedFile(nullptr, 0, Storage::kEmpty);
  void* data = ::operator new(bytes.size(), std::align_val_t(kAlignment), std::nothrow);
  if (data == nullptr) {
    return Status(StatusCode::kOutOfMemory,
                  cat("no memory for a model file of ", bytes.size(), " bytes"));
  }
  std::memcpy(data, bytes.data(), bytes.size());
  return MappedFile(static_cast<std::byte*>(data), bytes.size(), Storage::kAllocated);
}

Result<MappedFile> MappedFile::borrow(std::span<const std::byte> bytes) {
  if (bytes.empty() || reinterpret_cast<uintptr_t>(bytes.data()) % kBorrowedAlignment != 0) {
    return copy_of(bytes);
  }
  return MappedFile(const_cast<std::byte*>(bytes.data()), bytes.size(), Storage::kBorrowed);
}

void MappedFile::release(std::span<const std::byte> part) const {
  if (storage_ != Storage::kMapped || part.size() < kLeastRelease) return;
  // Whole pages: what neighbours share with them is read from the file again.
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto first = reinterpret_cast<uintptr_t>(part.data()) / page * page;
  const auto end = reinterpret_cast<uintptr_t>(part.data() + part.size());
  madvise(reinterpret_cast<void*>(first), end - first, MADV_DONTNEED);
}

MappedFile::~MappedFile() {
  switch (storage_) {
    case Storage::kEmpty:
    case Storage::kBorrowed:
      break;
    case Storage::kMapped:
      munmap(data_, size_);
      break;
    case Storage::kAllocated:
      ::operator delete(data_, std::align_val_t(kAlignment));
      break;
  }
}

}  // namespace wbcq::format
