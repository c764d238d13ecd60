#include "threading/thread_pool.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "support/random.h"

namespace wbcq {
namespace {

using testing::Random;

struct Range {
  size_t begin = 0;
  size_t end = 0;
  size_t calls = 0;
  std::thread::id thread;
};

// What every thread was given, written without synchronization: the pool must order it before run()
// returns.
struct Record {
  explicit Record(size_t threads) : ranges(threads) {}
  static void note(void* context, size_t begin, size_t end, size_t thread) {
    Range& range = static_cast<Record*>(context)->ranges[thread];
    range.begin = begin;
    range.end = end;
    ++range.calls;
    range.thread = std::this_thread::get_id();
  }
  std::vector<Range> ranges;
};

void check_split(const Record& record, size_t tiles, size_t threads) {
  const size_t used = std::min(tiles, threads);
  size_t next = 0;
  for (size_t i = 0; i < threads; ++i) {
    const Range& range = record.ranges[i];
    ASSERT_EQ(range.calls, i < used ? 1u : 0u) << "thread " << i << ", " << tiles << " tiles";
    if (i >= used) continue;
    ASSERT_EQ(range.begin, next) << "thread " << i << ", " << tiles << " tiles";
    const size_t length = tiles / used + (i < tiles % used ? 1 : 0);
    ASSERT_EQ(range.end - range.begin, length) << "thread " << i << ", " << tiles << " tiles";
    next = range.end;
  }
  ASSERT_EQ(next, tiles);
}

std::unique_ptr<ThreadPool> make_pool(size_t threads) {
  Result<std::unique_ptr<ThreadPool>> pool = ThreadPool::create(threads);
  EXPECT_TRUE(pool.ok()) << pool.status().message();
  EXPECT_EQ(pool.value()->size(), threads);
  return std::move(pool).value();
}

TEST(ThreadPoolTest, RefusesImpossibleSizes) {
  for (size_t threads : {size_t{0}, kMaxThreads + 1, ~size_t{0}}) {
    const Result<std::unique_ptr<ThreadPool>> pool = ThreadPool::create(threads);
    ASSERT_FALSE(pool.ok());
    EXPECT_EQ(pool.status().code(), StatusCode::kInvalidArgument);
    EXPECT_NE(pool.status().message().find(std::to_string(threads)), std::string::npos);
  }
  EXPECT_EQ(ThreadPool(0).size(), 1u);
}

TEST(ThreadPoolTest, SplitsIntoContiguousRanges) {
  for (size_t threads = 1; threads <= 7; ++threads) {
    const std::unique_ptr<ThreadPool> pool = make_pool(threads);
    for (size_t tiles = 0; tiles <= 40; ++tiles) {
      Record record(threads);
      pool->run(tiles, Record::note, &record);
      ASSERT_NO_FATAL_FAILURE(check_split(record, tiles, threads));
    }
  }
}

TEST(ThreadPoolTest, SplitsTheLargestTileCountWithoutOverflow) {
  const std::unique_ptr<ThreadPool> pool = make_pool(3);
  Record record(3);
  pool->run(~size_t{0}, Record::note, &record);
  check_split(record, ~size_t{0}, 3);
}

// Every range waits for all others to have started, which one thread alone could never bring about.
TEST(ThreadPoolTest, RangesRunAtTheSameTime) {
  constexpr size_t kThreads = 4;
  const std::unique_ptr<ThreadPool> pool = make_pool(kThreads);
  struct Meeting {
    std::atomic<size_t> started{0};
    Record record{kThreads};
  } meeting;
  const auto meet = [](void* context, size_t begin, size_t end, size_t thread) {
    Meeting& here = *static_cast<Meeting*>(context);
    Record::note(&here.record, begin, end, thread);
    ++here.started;
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (here.started < kThreads && std::chrono::steady_clock::now() < deadline) {
      std::this_thread::yield();
    }
  };
  pool->run(kThreads, meet, &meeting);
  ASSERT_EQ(meeting.started, kThreads);
  EXPECT_EQ(meeting.record.ranges[0].thread, std::this_thread::get_id());
  for (size_t i = 0; i < kThreads; ++i) {
    for (size_t j = 0; j < i; ++j) {
      EXPECT_NE(meeting.record.ranges[i].thread, meeting.record.ranges[j].thread);
    }
  }
}

TEST(ThreadPoolTest, OneTileRunsOnTheCaller) {
  const std::unique_ptr<ThreadPool> pool = make_pool(4);
  Record record(4);
  pool->run(1, Record::note, &record);
  EXPECT_EQ(record.ranges[0].thread, std::this_thread::get_id());
}

// A counter for each thread that only the pool's ordering protects: ThreadSanitizer sees a data
// race, and the sums are wrong, where run() returns early or a worker starts late or twice.
struct Counters {
  struct alignas(64) Counter {
    uint64_t tiles = 0;
  };
  static void add(void* context, size_t begin, size_t end, size_t thread) {
    static_cast<Counters*>(context)->counters[thread].tiles += end - begin;
  }
  explicit Counters(size_t threads) : counters(threads) {}
  uint64_t total() const {
    uint64_t sum = 0;
    for (const Counter& counter : counters) sum += counter.tiles;
    return sum;
  }
  std::vector<Counter> counters;
};

TEST(ThreadPoolTest, ManyShortRuns) {
  const std::unique_ptr<ThreadPool> pool = make_pool(2);
  Counters counters(2);
  for (uint64_t run = 1; run <= 5000; ++run) {
    pool->run(3, Counters::add, &counters);
    ASSERT_EQ(counters.total(), 3 * run);
  }
}

// Workers of a pool that is larger than the machine do not spin: nearly every run meets one that is
// just falling asleep.
TEST(ThreadPoolTest, RunsRaceWithWorkersThatFallAsleep) {
  const size_t threads = allowed_cpu_count() + 1;
  const std::unique_ptr<ThreadPool> pool = make_pool(threads);
  Counters counters(threads);
  for (uint64_t run = 1; run <= 5000; ++run) {
    pool->run(threads, Counters::add, &counters);
    ASSERT_EQ(counters.total(), threads * run);
  }
}

// The caller's range takes about as long as the worker needs to see its own, a little more or less
// in every run: both reach for the worker's range at the same time, and one of them must get it.
TEST(ThreadPoolTest, CallerAndWorkerReachForTheSameRange) {
  const std::unique_ptr<ThreadPool> pool = make_pool(2);
  struct Work {
    Counters counters{2};
    std::atomic<uint64_t> delay{0};
  } work;
  const auto fn = [](void* context, size_t begin, size_t end, size_t thread) {
    Work& here = *static_cast<Work*>(context);
    Counters::add(&here.counters, begin, end, thread);
    if (thread == 0) {
      for (uint64_t left = here.delay; left > 0; --left) here.delay.load();
    }
  };
  for (uint64_t run = 1; run <= 20000; ++run) {
    work.delay = run % 400;
    pool->run(2, fn, &work);
    ASSERT_EQ(work.counters.total(), 2 * run);
  }
}

// Pauses on either side of the spin time, so that runs meet workers that spin, that sleep, and that
// are about to.
TEST(ThreadPoolTest, RunsMeetSleepingWorkers) {
  Random random;
  const std::unique_ptr<ThreadPool> pool = make_pool(3);
  Counters counters(3);
  uint64_t expected = 0;
  for (int run = 0; run < 400; ++run) {
    const auto pause = std::chrono::microseconds(random.uniform(0, 120));
    const auto until = std::chrono::steady_clock::now() + pause;
    if (random.one_in(2)) std::this_thread::sleep_until(until);
    while (std::chrono::steady_clock::now() < until) {
    }
    const size_t tiles = static_cast<size_t>(random.uniform(0, 5));
    pool->run(tiles, Counters::add, &counters);
    expected += tiles;
    ASSERT_EQ(counters.total(), expected);
  }
}

// The caller is done long before the worker, and sleeps meanwhile.
TEST(ThreadPoolTest, WaitsForSlowWorkers) {
  const std::unique_ptr<ThreadPool> pool = make_pool(2);
  Counters counters(2);
  const auto slow = [](void* context, size_t begin, size_t end, size_t thread) {
    std::this_thread::sleep_for(std::chrono::milliseconds(thread == 1 ? 3 : 1));
    Counters::add(context, begin, end, thread);
  };
  for (uint64_t run = 1; run <= 20; ++run) {
    pool->run(2, slow, &counters);
    ASSERT_EQ(counters.total(), 2 * run);
  }
}

TEST(ThreadPoolTest, OversubscribedPoolsRunAtTheSameTime) {
  constexpr size_t kThreads = 9;
  constexpr int kRuns = 60;
  std::atomic<int> complete{0};
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&complete] {
      ThreadPool pool(kThreads);
      Counters counters(kThreads);
      for (int run = 0; run < kRuns; ++run) pool.run(100, Counters::add, &counters);
      if (counters.total() == 100 * kRuns) ++complete;
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(complete, 4);
}

TEST(ThreadPoolTest, EndsWhileWorkersStartSpinOrSleep) {
  for (int64_t pause : {0, 0, 0, 5, 20, 40, 41, 45, 80, 3000}) {
    ThreadPool unused(3);
    ThreadPool used(3);
    Record record(3);
    used.run(3, Record::note, &record);
    std::this_thread::sleep_for(std::chrono::microseconds(pause));
  }
}

// A session that was made before fork() must work, not hang, in the child, and end cleanly there.
TEST(ThreadPoolTest, WorksAfterFork) {
  auto pool = std::make_unique<ThreadPool>(3);
  Record before(3);
  pool->run(5, Record::note, &before);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    alarm(20);
    Counters counters(3);
    pool->run(5, Counters::add, &counters);
    const bool split = counters.counters[0].tiles == 2 && counters.counters[1].tiles == 2 &&
                       counters.counters[2].tiles == 1;
    pool.reset();
    _exit(split ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status)) << "signal " << WTERMSIG(status);
  EXPECT_EQ(WEXITSTATUS(status), 0);
  Record after(3);
  pool->run(5, Record::note, &after);
  check_split(after, 5, 3);
}

// Stacks do not fit into the address space that is left: a smaller pool, and a correct one.
TEST(ThreadPoolTest, IsSmallerWhenTheSystemRefusesThreads) {
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  constexpr int kLimitNotEnforced = 77;
  if (child == 0) {
    alarm(20);
    size_t pages = 0;
    if (FILE* file = std::fopen("/proc/self/statm", "r")) {
      if (std::fscanf(file, "%zu", &pages) != 1) pages = 0;
      std::fclose(file);
    }
    const size_t room = size_t{48} << 20;
    const rlim_t limit = pages * static_cast<size_t>(sysconf(_SC_PAGESIZE)) + room;
    const rlimit address_space = {limit, limit};
    setrlimit(RLIMIT_AS, &address_space);
    void* probe = mmap(nullptr, 2 * room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (probe != MAP_FAILED) _exit(kLimitNotEnforced);
    ThreadPool pool(64);
    Record record(64);
    pool.run(1000, Record::note, &record);
    size_t tiles = 0;
    for (size_t i = 0; i < pool.size(); ++i) tiles += record.ranges[i].end - record.ranges[i].begin;
    _exit(pool.size() < 64 && tiles == 1000 ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status)) << "signal " << WTERMSIG(status);
  if (WEXITSTATUS(status) == kLimitNotEnforced) GTEST_SKIP() << "RLIMIT_AS has no effect here";
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace wbcq
