// Everything that running a model on one batch size needs, worked out before it runs.
#ifndef WBCQ_ENGINE_PLAN_H_
#define WBCQ_ENGINE_PLAN_H_

#include <cstddef>
#include <memory>
#include <vector>

#include "engine/model.h"
#include "ops/op.h"

namespace wbcq {

class ExecutionPlan {
 public:
  // One operator with the addresses of its operands. Those of the caller's arrays are set anew for
  // each run.
  struct BoundStep {
    std::unique_ptr<OpPlan> plan;
    std::vector<const std::byte*> inputs;
    std::vector<std::byte*> outputs;

    OpBuffers buffers() const { return {inputs, outputs}; }
  };

  // batch >= 1. The model outlives the plan.
  ExecutionPlan(const Model& model, size_t batch, size_t threads);

  size_t batch() const { return batch_; }
  size_t arena_bytes() const { return arena_bytes_; }
  size_t scratch_bytes() const { return scratch_bytes_; }  // for each thread, a multiple of 64
  size_t table_bytes() const;

  // Points every operand into `arena` (arena_bytes() long, 64-byte aligned).
  void bind_arena(std::byte* arena);
  // Points the operands that belong to the caller at `inputs` and `outputs`, beginning with picture
  // `first`.
  void bind_caller(const float* const* inputs, float* const* outputs, size_t first);

  const std::vector<BoundStep>& steps() const { return steps_; }

  // Where the memory begins in the arena that holds a tensor.
  size_t offset(size_t tensor) const { return offsets_[model_.root(tensor)]; }

 private:
  struct CallerOperand {
    size_t step;
    size_t operand;
    size_t index;     // of the caller's input or output
    size_t elements;  // of one picture
  };

  void plan_arena();
  bool shares_memory(const Step& step, size_t step_index, size_t input,
                     const std::vector<size_t>& last_use) const;

  const Model& model_;
  size_t batch_;
  size_t arena_bytes_ = 0;
  size_t scratch_bytes_ = 0;
  std::vector<BoundStep> steps_;
  std::vector<size_t> offsets_;  // of roots
  std::vector<CallerOperand> caller_inputs_;
  std::vector<CallerOperand> caller_outputs_;
};

}  // namespace wbcq

#endif  // WBCQ_ENGINE_PLAN_H_
