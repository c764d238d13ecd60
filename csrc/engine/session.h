// One caller's memory and threads for a model.
#ifndef WBCQ_ENGINE_SESSION_H_
#define WBCQ_ENGINE_SESSION_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/status.h"
#include "engine/model.h"
#include "engine/plan.h"
#include "threading/thread_pool.h"

namespace wbcq {

struct OpProfile {
  std::string name;
  std::string kind;
  std::string kernel;
  double seconds;  // median over the repeats
  uint64_t macs;   // products with padding not counted
  uint64_t bytes;  // activations read and written, and weights read
};

// Bytes that a session has or would allocate, apart from the packed weights that sessions share.
struct MemoryUse {
  size_t arena = 0;
  size_t scratch = 0;
  size_t tables = 0;
  size_t packed_weights = 0;
};

// Not for two threads at once; several sessions may share a model. After the first run of a batch
// size (or reserve()) a run allocates nothing and takes no lock.
class Session {
 public:
  // Larger batches run in parts of max_chunk() pictures, so that activations stay near the caches.
  static constexpr size_t kMaxChunk = 8;
  // Activations that may be spread over the caches whatever the weights are; 1 MB of L2 and what
  // is quick in L3.
  static constexpr size_t kCachedActivations = size_t{3} << 20;

  // threads: 0 for default_thread_count(). The system may grant fewer: see threads().
  static Result<std::unique_ptr<Session>> create(std::shared_ptr<const Model> model,
                                                 size_t threads);

  size_t threads() const { return threads_; }
  const Model& model() const { return *model_; }
  size_t max_chunk() const { return max_chunk_; }

  // What a run with `batch` pictures needs; allocates nothing of it.
  MemoryUse memory(size_t batch) const;
  // Plans and allocates for runs with `batch` pictures.
  Status reserve(size_t batch);

  // inputs[i] and outputs[i] hold `batch` pictures of model().inputs()[i] and outputs()[i]:
  // C-contiguous float32. Outputs overlap nothing else. With batch 0 nothing is read or written.
  Status run(size_t batch, std::span<const float* const> inputs, std::span<float* const> outputs);

  // Runs `repeats` times (at least once) and reports each operator's median time.
  Result<std::vector<OpProfile>> profile(size_t batch, std::span<const float* const> inputs,
                                         size_t repeats);

  // Runs one operator on whatever its operands' memory holds: for micro-benchmarks. The operator
  // must not touch the caller's arrays, as the first and the last of a model do. batch <=
  // max_chunk().
  Status run_op(size_t op, size_t batch);

 private:
  Session(std::shared_ptr<const Model> model, std::unique_ptr<ThreadPool> pool);
  Status check_arguments(size_t inputs, size_t outputs) const;
  size_t choose_max_chunk() const;
  Status plan_chunk(size_t chunk);
  void run_step(const ExecutionPlan::BoundStep& step);
  void run_plan(ExecutionPlan& plan, double* seconds);
  void run_chunks(size_t batch, const float* const* inputs, float* const* outputs, double* seconds);

  std::shared_ptr<const Model> model_;
  std::unique_ptr<ThreadPool> pool_;
  size_t threads_;
  size_t max_chunk_;
  std::map<size_t, std::unique_ptr<ExecutionPlan>> plans_;  // by pictures
  AlignedBuffer arena_;
  AlignedBuffer scratch_;
  size_t scratch_stride_ = 0;
};

}  // namespace wbcq

#endif  // WBCQ_ENGINE_SESSION_H_
