// One run of a model's operators at a time: plans, activations and scratch memory.
#ifndef WBCQ_ENGINE_LANE_H_
#define WBCQ_ENGINE_LANE_H_

#include <cstddef>
#include <map>
#include <memory>

#include "base/aligned_buffer.h"
#include "base/status.h"
#include "engine/model.h"
#include "engine/plan.h"
#include "threading/thread_pool.h"

namespace wbcq {

class Lane {
 public:
  static constexpr size_t kMaxChunk = 8;

  // Larger batches run in parts of that many pictures, so that activations stay near the caches.
  static size_t choose_max_chunk(const Model& model, size_t threads);

  // Operators are shared among the threads of `pool`, or run on the calling thread alone if it is
  // null. Both outlive the lane.
  Lane(const Model& model, ThreadPool* pool, size_t max_chunk)
      : model_(model), pool_(pool), max_chunk_(max_chunk) {}

  size_t max_chunk() const { return max_chunk_; }

  // Bytes for runs with `batch` pictures; allocates nothing of it.
  struct Bytes {
    size_t arena = 0;
    size_t scratch = 0;
    size_t tables = 0;
  };
  Bytes bytes(size_t batch) const;

  // Plans and allocates for runs with `batch` pictures.
  Status reserve(size_t batch);

  // Runs pictures [first, first + batch) of the caller's arrays, reserved before. Adds the time of
  // every step to seconds[step], unless that is null.
  void run(size_t first, size_t batch, const float* const* inputs, float* const* outputs,
           double* seconds);

  // Runs one operator of the reserved plan for `chunk` pictures on whatever its operands hold.
  void run_op(size_t op, size_t chunk);

 private:
  size_t threads() const { return pool_ != nullptr ? pool_->size() : 1; }
  Status plan_chunk(size_t chunk);
  void run_step(const ExecutionPlan::BoundStep& step);

  const Model& model_;
  ThreadPool* pool_;
  size_t max_chunk_;
  std::map<size_t, std::unique_ptr<ExecutionPlan>> plans_;  // by pictures
  AlignedBuffer arena_;
  AlignedBuffer scratch_;
  size_t scratch_stride_ = 0;
};

}  // namespace wbcq

#endif  // WBCQ_ENGINE_LANE_H_
