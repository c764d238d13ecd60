// Memory for kernels: 64-byte aligned, never initialised, and a failed allocation is a Status.
#ifndef WBCQ_BASE_ALIGNED_BUFFER_H_
#define WBCQ_BASE_ALIGNED_BUFFER_H_

#include <cstddef>
#include <memory>
#include <new>
#include <string_view>

#include "base/status.h"

namespace wbcq {

inline constexpr size_t kBufferAlignment = 64;

class AlignedBuffer {
 public:
  AlignedBuffer() = default;

  // `what` names the memory in the error message: "arena", "packed weights of layer1.0.conv1".
  static Result<AlignedBuffer> allocate(size_t bytes, std::string_view what);

  std::byte* data() const { return data_.get(); }
  template <typename T>
  T* as() const {
    return reinterpret_cast<T*>(data_.get());
  }
  size_t size() const { return size_; }

 private:
  struct Free {
    void operator()(std::byte* data) const {
      ::operator delete (data, std::align_val_t{kBufferAlignment});
    }
  };
  std::unique_ptr<std::byte, Free> data_;
  size_t size_ = 0;
};

}  // namespace wbcq

#endif  // WBCQ_BASE_ALIGNED_BUFFER_H_
