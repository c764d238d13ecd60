// A buffer that ends exactly at an unreadable page, so that one byte read or written past the end
// stops the test.
#ifndef WBCQ_TESTS_SUPPORT_GUARDED_BUFFER_H_
#define WBCQ_TESTS_SUPPORT_GUARDED_BUFFER_H_

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace wbcq::testing {

template <typename T>
class GuardedBuffer {
 public:
  // `slack` more bytes stay readable past the last element, for kernels whose contract allows it.
  explicit GuardedBuffer(size_t count, size_t slack = 0) : count_(count) {
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t bytes = count * sizeof(T) + slack;
    const size_t body = (bytes + page - 1) / page * page;
    mapped_ = body + page;
    void* base = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) std::abort();
    base_ = static_cast<std::byte*>(base);
    if (mprotect(base_ + body, page, PROT_NONE) != 0) std::abort();
    std::memset(base_, 0xA5, body);
    data_ = base_ + body - bytes;
  }
  ~GuardedBuffer() { munmap(base_, mapped_); }
  GuardedBuffer(const GuardedBuffer&) = delete;
  GuardedBuffer& operator=(const GuardedBuffer&) = delete;

  // Unaligned for T when the size is no multiple of alignof(T): choose sizes and slack accordingly.
  T* data() { return reinterpret_cast<T*>(data_); }
  size_t size() const { return count_; }
  T& operator[](size_t i) { return data()[i]; }

 private:
  size_t count_;
  size_t mapped_ = 0;
  std::byte* base_ = nullptr;
  std::byte* data_ = nullptr;
};

}  // namespace wbcq::testing

#endif  // WBCQ_TESTS_SUPPORT_GUARDED_BUFFER_H_
