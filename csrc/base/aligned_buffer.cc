#include "base/aligned_buffer.h"

#include <string>

namespace wbcq {

Result<AlignedBuffer> AlignedBuffer::allocate(size_t bytes, std::string_view what) {
  AlignedBuffer buffer;
  if (bytes == 0) return buffer;
  void* data = ::operator new (bytes, std::align_val_t{kBufferAlignment}, std::nothrow);
  if (data == nullptr) {
    return Status(StatusCode::kOutOfMemory,
                  "cannot allocate " + std::to_string(bytes) + " bytes for " + std::string(what));
  }
  buffer.data_.reset(static_cast<std::byte*>(data));
  buffer.size_ = bytes;
  return buffer;
}

}  // namespace wbcq
