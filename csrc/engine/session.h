// One caller's memory and threads for a model.
#ifndef WBCQ_ENGINE_SESSION_H_
#define WBCQ_ENGINE_SESSION_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "engine/lane.h"
#include "engine/model.h"
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
//
// Each thread runs the whole network on pictures of its own, in memory of its own, so that no
// activation moves from one core to another; only pictures that do not go round are shared,
// operator by operator.
class Session {
 public:
  static constexpr size_t kMaxChunk = Lane::kMaxChunk;

  // threads: 0 for default_thread_count(). The system may grant fewer: see threads().
  static Result<std::unique_ptr<Session>> create(std::shared_ptr<const Model> model,
                                                 size_t threads);

  size_t threads() const { return threads_; }
  const Model& model() const { return *model_; }
  // The most pictures that all threads work on together, or that a thread works on alone.
  size_t max_chunk() const { return shared_.max_chunk(); }
  // Of `batch` pictures, how many each thread runs alone.
  size_t own_pictures(size_t batch) const;

  // What a run with `batch` pictures needs; allocates nothing of it.
  MemoryUse memory(size_t batch) const;
  // Plans and allocates for runs with `batch` pictures.
  Status reserve(size_t batch);

  // inputs[i] and outputs[i] hold `batch` pictures of model().inputs()[i] and outputs()[i]:
  // C-contiguous float32. Outputs overlap nothing else. With batch 0 nothing is read or written.
  Status run(size_t batch, std::span<const float* const> inputs, std::span<float* const> outputs);

  // Runs `repeats` times (at least once) and reports each operator's median time: that of the first
  // thread while all of them run.
  Result<std::vector<OpProfile>> profile(size_t batch, std::span<const float* const> inputs,
                                         size_t repeats);

  // Runs one operator, shared by all threads, on whatever its operands' memory holds: for
  // micro-benchmarks. The operator must not touch the caller's arrays, as the first and the last of
  // a model do. batch <= max_chunk().
  Status run_op(size_t op, size_t batch);

 private:
  Session(std::shared_ptr<const Model> model, std::unique_ptr<ThreadPool> pool);
  Status check_arguments(size_t inputs, size_t outputs) const;
  size_t shared_pictures(size_t batch) const { return batch - threads_ * own_pictures(batch); }
  void run_all(size_t batch, const float* const* inputs, float* const* outputs, double* seconds);

  std::shared_ptr<const Model> model_;
  std::unique_ptr<ThreadPool> pool_;
  size_t threads_;
  Lane shared_;
  std::vector<Lane> lanes_;  // of each thread, if there are several
};

}  // namespace wbcq

#endif  // WBCQ_ENGINE_SESSION_H_
