// Counts every allocation of the process. Sanitizers bring operators of their own.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "engine/network.h"
#include "engine/session.h"

namespace {

std::atomic<size_t> allocations{0};

void* allocate(size_t bytes, size_t alignment) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  const size_t rounded = (bytes + alignment - 1) / alignment * alignment;
  if (rounded < bytes) return nullptr;
  return alignment <= alignof(std::max_align_t) ? std::malloc(bytes == 0 ? 1 : bytes)
                                                : std::aligned_alloc(alignment, rounded);
}

void* allocate_or_throw(size_t bytes, size_t alignment) {
  void* memory = allocate(bytes, alignment);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

void* operator new(size_t bytes) { return allocate_or_throw(bytes, 1); }
void* operator new[](size_t bytes) { return allocate_or_throw(bytes, 1); }
void* operator new(size_t bytes, const std::nothrow_t&) noexcept { return allocate(bytes, 1); }
void* operator new[](size_t bytes, const std::nothrow_t&) noexcept { return allocate(bytes, 1); }
void* operator new(size_t bytes, std::align_val_t alignment) {
  return allocate_or_throw(bytes, static_cast<size_t>(alignment));
}
void* operator new(size_t bytes, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return allocate(bytes, static_cast<size_t>(alignment));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }

namespace wbcq {
namespace {

TEST(Session, RunsWithoutAllocating) {
  testing::Random random;
  const auto model = testing::load_or_fail(testing::RandomNetwork(random).bytes(), "");
  for (const size_t threads : {1, 2}) {
    auto session = Session::create(model, threads);
    ASSERT_TRUE(session.ok());
    ASSERT_TRUE(session.value()->reserve(11).ok());
    const auto inputs = testing::random_inputs(random, *model, 11);
    auto outputs = testing::empty_outputs(*model, 11);
    const auto in = testing::pointers(inputs);
    const auto out = testing::pointers(outputs);

    const size_t before = allocations.load();
    const Status status = session.value()->run(11, in, out);
    const size_t after = allocations.load();
    EXPECT_TRUE(status.ok());
    EXPECT_EQ(after - before, 0u) << threads << " threads";
  }
}

TEST(Session, PlanningIsWhatAllocates) {
  testing::Random random;
  const auto model = testing::load_or_fail(testing::RandomNetwork(random).bytes(), "");
  auto session = Session::create(model, 1);
  ASSERT_TRUE(session.ok());
  const size_t before = allocations.load();
  ASSERT_TRUE(session.value()->reserve(3).ok());
  EXPECT_GT(allocations.load(), before);
}

}  // namespace
}  // namespace wbcq

#endif
