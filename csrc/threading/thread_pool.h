// The threads of one session.
#ifndef WBCQ_THREADING_THREAD_POOL_H_
#define WBCQ_THREADING_THREAD_POOL_H_

#include <cstddef>
#include <memory>

#include "base/status.h"
#include "threading/thread_count.h"

namespace wbcq {

// Splits the tiles of an operator among the calling thread and size() - 1 workers. The split
// depends on the number of tiles and threads alone. A worker that waits spins for a short time,
// because the next operator is usually microseconds away, and then sleeps. A range that its worker
// has not started when the caller has finished its own is run by the caller, under the worker's
// thread number, so that neither a wake-up nor a busy CPU holds up an inference. run() neither
// allocates nor locks, and enters the kernel only to wake a worker that sleeps or to sleep until
// one is done.
//
// One pool serves one caller at a time: run() must not be called from two threads at once, nor from
// a tile function. After fork() the child has no workers; its run() does all the work itself.
class ThreadPool {
 public:
  // Runs the tiles [tile_begin, tile_end), never none. `thread` is below size(), and 0 is the
  // caller: it tells scratch memory apart. Must not throw.
  using TileFn = void (*)(void* context, size_t tile_begin, size_t tile_end, size_t thread);

  // A pool of `threads` threads, the caller included, or of fewer where the system refuses more:
  // see size(). kInvalidArgument unless 1 <= threads <= kMaxThreads.
  static Result<std::unique_ptr<ThreadPool>> create(size_t threads);

  // The same without the check: less than 1 thread counts as 1, more than kMaxThreads as
  // kMaxThreads.
  explicit ThreadPool(size_t threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  size_t size() const { return workers_started_ + 1; }

  // Calls fn for each thread number below min(tiles, size()) with contiguous ranges in that order,
  // whose lengths differ by at most one tile, and returns when all have returned. What fn wrote is
  // visible to the caller. A single range runs on the calling thread and wakes nobody.
  void run(size_t tiles, TileFn fn, void* context);

 private:
  struct Worker;

  bool in_forked_child() const;

  std::unique_ptr<Worker[]> workers_;
  size_t workers_started_ = 0;
  unsigned fork_generation_;
};

}  // namespace wbcq

#endif  // WBCQ_THREADING_THREAD_POOL_H_
