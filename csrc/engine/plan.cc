#include "engine/plan.h"

#include <algorithm>

#include "base/checked.h"
#include "engine/memory_plan.h"

namespace wbcq {
namespace {

constexpr size_t kNoBuffer = static_cast<size_t>(-1);

}  // namespace

ExecutionPlan::ExecutionPlan(const Model& model, size_t batch, size_t threads)
    : model_(model), batch_(batch) {
  for (const Step& step : model.steps()) {
    BoundStep bound;
    bound.plan = step.op->plan(batch, threads);
    bound.inputs.resize(step.inputs.size());
    bound.outputs.resize(step.outputs.size());
    scratch_bytes_ = std::max(scratch_bytes_, bound.plan->scratch_bytes());
    for (size_t i = 0; i < step.inputs.size(); ++i) {
      const Place& place = model.place(step.inputs[i]);
      if (place.kind != Place::Kind::kInput) continue;
      caller_inputs_.push_back(
          {steps_.size(), i, place.index, model.inputs()[place.index].elements});
    }
    for (size_t i = 0; i < step.outputs.size(); ++i) {
      const Place& place = model.place(step.outputs[i]);
      if (place.kind != Place::Kind::kOutput) continue;
      caller_outputs_.push_back(
          {steps_.size(), i, place.index, model.outputs()[place.index].elements});
    }
    steps_.push_back(std::move(bound));
  }
  scratch_bytes_ = round_up(scratch_bytes_, 64);
  plan_arena();
}

// An output may take over the memory of an input that nobody reads later, if the operator allows it
// for every operand that is the same tensor. Views and tensors with views stay out of it.
bool ExecutionPlan::shares_memory(const Step& step, size_t step_index, size_t input,
                                  const std::vector<size_t>& last_use) const {
  const size_t tensor = step.inputs[input];
  if (model_.place(tensor).kind != Place::Kind::kArena || last_use[tensor] != step_index)
    return false;
  const size_t output = step.outputs[0];
  for (const size_t operand : {tensor, output}) {
    if (model_.root(operand) != operand || model_.has_views(operand)) return false;
  }
  if (model_.place(output).kind != Place::Kind::kArena) return false;
  const Tensor& in = model_.tensors()[tensor];
  const Tensor& out = model_.tensors()[output];
  if (in.layout.bytes(1) != out.layout.bytes(1) ||
      in.layout.pixel_stride != out.layout.pixel_stride) {
    return false;
  }
  for (size_t i = 0; i < step.inputs.size(); ++i) {
    if (step.inputs[i] == tensor && !step.op->may_overwrite(i)) return false;
  }
  return true;
}

void ExecutionPlan::plan_arena() {
  const std::vector<Step>& steps = model_.steps();
  const std::vector<Tensor>& tensors = model_.tensors();
  std::vector<size_t> last_use(tensors.size(), 0);  // of roots
  for (size_t s = 0; s < steps.size(); ++s) {
    for (const size_t tensor : steps[s].outputs) last_use[model_.root(tensor)] = s;
    for (const size_t tensor : steps[s].inputs) last_use[model_.root(tensor)] = s;
  }

  std::vector<BufferLifetime> buffers;
  std::vector<size_t> buffer_of(tensors.size(), kNoBuffer);  // of roots
  for (size_t s = 0; s < steps.size(); ++s) {
    for (const size_t output : steps[s].outputs) {
      const size_t root = model_.root(output);
      if (model_.place(output).kind != Place::Kind::kArena) continue;
      for (size_t i = 0; i < steps[s].inputs.size() && buffer_of[root] == kNoBuffer; ++i) {
        if (shares_memory(steps[s], s, i, last_use)) {
          buffer_of[root] = buffer_of[steps[s].inputs[i]];
        }
      }
      if (buffer_of[root] == kNoBuffer) {
        buffer_of[root] = buffers.size();
        buffers.push_back({tensors[root].layout.bytes(batch_), s, s});
      }
      buffers[buffer_of[root]].last = last_use[root];
    }
  }

  const MemoryPlan memory = plan_memory(buffers);
  arena_bytes_ = memory.arena_bytes;
  offsets_.assign(tensors.size(), 0);
  for (size_t t = 0; t < tensors.size(); ++t) {
    if (buffer_of[t] != kNoBuffer) offsets_[t] = memory.offsets[buffer_of[t]];
  }
}

size_t ExecutionPlan::table_bytes() const {
  size_t bytes = offsets_.size() * sizeof(size_t) +
                 (caller_inputs_.size() + caller_outputs_.size()) * sizeof(CallerOperand);
  for (const BoundStep& step : steps_) {
    bytes += sizeof(BoundStep) + (step.inputs.size() + step.outputs.size()) * sizeof(std::byte*);
  }
  return bytes;
}

void ExecutionPlan::bind_arena(std::byte* arena) {
  for (size_t s = 0; s < steps_.size(); ++s) {
    const Step& step = model_.steps()[s];
    for (size_t i = 0; i < step.inputs.size(); ++i) {
      steps_[s].inputs[i] = arena + offset(step.inputs[i]);
    }
    for (size_t i = 0; i < step.outputs.size(); ++i) {
      steps_[s].outputs[i] = arena + offset(step.outputs[i]);
    }
  }
}

void ExecutionPlan::bind_caller(const float* const* inputs, float* const* outputs, size_t first) {
  for (const CallerOperand& operand : caller_inputs_) {
    steps_[operand.step].inputs[operand.operand] =
        reinterpret_cast<const std::byte*>(inputs[operand.index] + first * operand.elements);
  }
  for (const CallerOperand& operand : caller_outputs_) {
    steps_[operand.step].outputs[operand.operand] =
        reinterpret_cast<std::byte*>(outputs[operand.index] + first * operand.elements);
  }
}

}  // namespace wbcq
