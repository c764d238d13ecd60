#include "threading/thread_pool.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <new>
#include <string>
#include <thread>

namespace wbcq {
namespace {

using Clock = std::chrono::steady_clock;

// Longer than the pause between two operators, and shorter than what a sleep and a wake-up cost
// twice.
constexpr Clock::duration kSpinTime = std::chrono::microseconds(40);
constexpr int kPollsPerClockRead = 32;

// Two cache lines: the prefetchers of some CPUs fetch lines in pairs.
constexpr size_t kNoSharing = 128;

// What a worker and the caller tell each other, in one word for each worker.
enum class State : uint32_t {
  kIdle,      // the worker looks for work
  kSleeping,  // the worker must be woken
  kPosted,    // a range is there; who makes it kRunning (the worker) or kIdle (the caller) runs it
  kRunning,   // the worker runs its range
  kAwaited,   // the same, and the caller sleeps until it is done
  kStop,
};

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Polls until `state` is no longer `value`, or for as long as spinning pays; false means the
// latter.
bool spin_while(const std::atomic<State>& state, State value, Clock::duration limit) {
  Clock::time_point deadline{};
  for (;;) {
    for (int poll = 0; poll < kPollsPerClockRead; ++poll) {
      if (state.load(std::memory_order_acquire) != value) return true;
      if (limit == Clock::duration::zero()) return false;
      pause();
    }
    const Clock::time_point now = Clock::now();
    if (deadline == Clock::time_point{}) deadline = now + limit;
    if (now >= deadline) return false;
  }
}

// How many forks led to this process: where it has changed, a pool's workers stayed in the parent.
std::atomic<unsigned> fork_generation{0};

void count_fork() { fork_generation.fetch_add(1, std::memory_order_relaxed); }

void watch_forks() {
  static const int registered = pthread_atfork(nullptr, nullptr, count_fork);
  (void)registered;
}

size_t range_begin(size_t tiles, size_t threads, size_t thread) {
  return tiles / threads * thread + std::min(tiles % threads, thread);
}

}  // namespace

struct alignas(kNoSharing) ThreadPool::Worker {
  // The state and the range share a cache line, so that one transfer brings both.
  std::atomic<State> state{State::kIdle};
  TileFn fn = nullptr;
  void* context = nullptr;
  size_t tile_begin = 0;
  size_t tile_end = 0;
  size_t thread = 0;
  Clock::duration spin_time{};
  std::thread handle;

  // The worker's side.
  void loop();
  // The caller's side: posts a range or kStop, takes a range back that was not started, waits.
  void post(State next);
  void run_if_not_started();
  void wait_until_done();
};

void ThreadPool::Worker::loop() {
  for (;;) {
    State now = State::kIdle;
    if (!spin_while(state, State::kIdle, spin_time) &&
        state.compare_exchange_strong(now, State::kSleeping)) {
      state.wait(State::kSleeping);
    }
    now = State::kPosted;
    if (state.compare_exchange_strong(now, State::kRunning)) {
      fn(context, tile_begin, tile_end, thread);
      if (state.exchange(State::kIdle) == State::kAwaited) state.notify_one();
    } else if (now == State::kStop) {
      return;
    }
  }
}

void ThreadPool::Worker::post(State next) {
  if (state.exchange(next) == State::kSleeping) state.notify_one();
}

void ThreadPool::Worker::run_if_not_started() {
  State now = State::kPosted;
  if (state.compare_exchange_strong(now, State::kIdle)) fn(context, tile_begin, tile_end, thread);
}

void ThreadPool::Worker::wait_until_done() {
  if (spin_while(state, State::kRunning, spin_time)) return;
  State now = State::kRunning;
  if (state.compare_exchange_strong(now, State::kAwaited)) state.wait(State::kAwaited);
}

Result<std::unique_ptr<ThreadPool>> ThreadPool::create(size_t threads) {
  if (threads < 1 || threads > kMaxThreads) {
    return Status(StatusCode::kInvalidArgument, "a thread pool of " + std::to_string(threads) +
                                                    " threads was asked for: use 1 to " +
                                                    std::to_string(kMaxThreads));
  }
  std::unique_ptr<ThreadPool> pool(new (std::nothrow) ThreadPool(threads));
  if (pool == nullptr) return Status(StatusCode::kOutOfMemory, "no memory for a thread pool");
  return pool;
}

ThreadPool::ThreadPool(size_t threads)
    : fork_generation_(fork_generation.load(std::memory_order_relaxed)) {
  const size_t wanted = std::clamp<size_t>(threads, 1, kMaxThreads) - 1;
  if (wanted == 0) return;
  workers_.reset(new (std::nothrow) Worker[wanted]);
  if (workers_ == nullptr) return;
  watch_forks();
  // More threads than CPUs: who spins keeps another one from working.
  const Clock::duration spin_time =
      wanted + 1 <= allowed_cpu_count() ? kSpinTime : Clock::duration::zero();
  for (; workers_started_ < wanted; ++workers_started_) {
    Worker& worker = workers_[workers_started_];
    worker.thread = workers_started_ + 1;
    worker.spin_time = spin_time;
    try {
      worker.handle = std::thread(&Worker::loop, &worker);
    } catch (const std::exception&) {
      return;
    }
  }
}

ThreadPool::~ThreadPool() {
  if (in_forked_child()) {
    // The handles name threads that do not exist here, which can be neither joined nor detached.
    (void)workers_.release();
    return;
  }
  for (size_t i = 0; i < workers_started_; ++i) workers_[i].post(State::kStop);
  for (size_t i = 0; i < workers_started_; ++i) workers_[i].handle.join();
}

bool ThreadPool::in_forked_child() const {
  return fork_generation_ != fork_generation.load(std::memory_order_relaxed);
}

void ThreadPool::run(size_t tiles, TileFn fn, void* context) {
  const size_t threads = std::min(tiles, size());
  if (threads <= 1) {
    if (tiles > 0) fn(context, 0, tiles, 0);
    return;
  }
  if (in_forked_child()) {
    for (size_t i = 0; i < threads; ++i) {
      fn(context, range_begin(tiles, threads, i), range_begin(tiles, threads, i + 1), i);
    }
    return;
  }
  // All ranges first, then all signals: the cache lines of all workers are fetched at the same
  // time.
  for (size_t i = 1; i < threads; ++i) {
    Worker& worker = workers_[i - 1];
    worker.fn = fn;
    worker.context = context;
    worker.tile_begin = range_begin(tiles, threads, i);
    worker.tile_end = range_begin(tiles, threads, i + 1);
  }
  for (size_t i = 1; i < threads; ++i) workers_[i - 1].post(State::kPosted);
  fn(context, 0, range_begin(tiles, threads, 1), 0);
  // A worker that the system has not run by now is asleep or kept from its CPU: the caller is
  // faster.
  for (size_t i = 1; i < threads; ++i) workers_[i - 1].run_if_not_started();
  for (size_t i = 1; i < threads; ++i) workers_[i - 1].wait_until_done();
}

}  // namespace wbcq
