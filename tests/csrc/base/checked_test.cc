#include "base/checked.h"

#include <gtest/gtest.h>

#include <limits>

#include "base/aligned_buffer.h"

namespace wbcq {
namespace {

constexpr size_t kMax = std::numeric_limits<size_t>::max();

TEST(CheckedSize, ExactUpToTheLargestValue) {
  EXPECT_TRUE((CheckedSize(kMax - 1) + 1).ok());
  EXPECT_EQ((CheckedSize(kMax - 1) + 1).value(), kMax);
  EXPECT_EQ((CheckedSize(1) * 2 * 3 + 4).value(), 10u);
}

TEST(CheckedSize, RemembersAnOverflow) {
  EXPECT_FALSE((CheckedSize(kMax) + 1).ok());
  EXPECT_FALSE((CheckedSize(kMax) * 2 * 0).ok());
  EXPECT_EQ((CheckedSize(kMax / 2 + 1) * 2 + 5).value(), kMax);
}

TEST(SplitEvenly, PartsCoverTheWholeAndDifferByAtMostOne) {
  for (size_t total = 0; total < 40; ++total) {
    for (size_t count = 1; count < 20; ++count) {
      size_t end = 0;
      for (size_t i = 0; i < count; ++i) {
        const Range part = split_evenly(total, count, i);
        EXPECT_EQ(part.begin, end);
        EXPECT_GE(part.size(), total / count);
        EXPECT_LE(part.size(), total / count + (total % count != 0));
        end = part.end;
      }
      EXPECT_EQ(end, total);
    }
  }
}

TEST(RoundUp, ToMultiples) {
  EXPECT_EQ(round_up(0, 4), 0u);
  EXPECT_EQ(round_up(1, 4), 4u);
  EXPECT_EQ(round_up(4, 4), 4u);
  EXPECT_EQ(ceil_div(9, 4), 3u);
}

TEST(AlignedBuffer, IsAlignedAndOwnsItsMemory) {
  auto buffer = AlignedBuffer::allocate(100, "test");
  ASSERT_TRUE(buffer.ok());
  EXPECT_EQ(buffer.value().size(), 100u);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.value().data()) % kBufferAlignment, 0u);
  const AlignedBuffer moved = std::move(buffer).value();
  moved.data()[99] = std::byte{1};
}

TEST(AlignedBuffer, ReportsWhatCannotBeAllocated) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the sanitizer's allocator ends the process instead of returning null";
#endif
  const auto buffer = AlignedBuffer::allocate(kMax - 4096, "the arena");
  ASSERT_FALSE(buffer.ok());
  EXPECT_EQ(buffer.status().code(), StatusCode::kOutOfMemory);
  EXPECT_NE(buffer.status().message().find("the arena"), std::string::npos);
}

TEST(AlignedBuffer, NothingNeedsNoMemory) {
  const auto buffer = AlignedBuffer::allocate(0, "nothing");
  ASSERT_TRUE(buffer.ok());
  EXPECT_EQ(buffer.value().data(), nullptr);
}

}  // namespace
}  // namespace wbcq
