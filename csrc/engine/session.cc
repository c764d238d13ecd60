#include "engine/session.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "base/checked.h"

namespace wbcq {
namespace {

// One operator's run, as the thread pool's workers see it.
struct StepRun {
  const OpPlan& plan;
  OpBuffers buffers;
  std::byte* scratch;
  size_t scratch_stride;

  static void tiles(void* context, size_t first, size_t last, size_t thread) {
    const StepRun& run = *static_cast<const StepRun*>(context);
    run.plan.run(run.buffers, first, last, run.scratch + thread * run.scratch_stride);
  }
};

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double median(std::vector<double>& values) {
  const auto middle = values.begin() + static_cast<ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace

Session::Session(std::shared_ptr<const Model> model, std::unique_ptr<ThreadPool> pool)
    : model_(std::move(model)),
      pool_(std::move(pool)),
      threads_(pool_->size()),
      max_chunk_(choose_max_chunk()) {}

// Each part reads all weights again, and what it cannot keep of its activations goes through L3:
// few pictures at a time for small networks, many where the weights are the larger burden.
size_t Session::choose_max_chunk() const {
  if (model_->memory() == MemoryChoice::kSmall) return 1;
  const size_t picture = ExecutionPlan(*model_, 1, threads_).arena_bytes();
  const size_t budget = std::max(kCachedActivations, model_->packed_bytes() / 2);
  size_t chunk = kMaxChunk;
  while (chunk > 2 && chunk * picture > budget) chunk /= 2;
  return chunk;
}

Result<std::unique_ptr<Session>> Session::create(std::shared_ptr<const Model> model,
                                                 size_t threads) {
  if (threads == 0) {
    const Result<size_t> count = default_thread_count();
    if (!count.ok()) return count.status();
    threads = count.value();
  }
  auto pool = ThreadPool::create(threads);
  if (!pool.ok()) return pool.status();
  return std::unique_ptr<Session>(new Session(std::move(model), std::move(pool).value()));
}

MemoryUse Session::memory(size_t batch) const {
  MemoryUse use;
  use.packed_weights = model_->packed_bytes();
  const auto add = [&](size_t chunk) {
    const ExecutionPlan plan(*model_, chunk, threads_);
    use.arena = std::max(use.arena, plan.arena_bytes());
    use.scratch = std::max(use.scratch, plan.scratch_bytes() * threads_);
    use.tables += plan.table_bytes();
  };
  if (batch >= max_chunk()) add(max_chunk());
  if (batch % max_chunk() != 0) add(batch % max_chunk());
  return use;
}

Status Session::plan_chunk(size_t chunk) {
  if (plans_.contains(chunk)) return Status();
  auto plan = std::make_unique<ExecutionPlan>(*model_, chunk, threads_);
  if (plan->scratch_bytes() > scratch_stride_) {
    auto scratch = AlignedBuffer::allocate((CheckedSize(plan->scratch_bytes()) * threads_).value(),
                                           "the scratch memory of a session");
    if (!scratch.ok()) return scratch.status();
    scratch_ = std::move(scratch).value();
    scratch_stride_ = plan->scratch_bytes();
  }
  if (plan->arena_bytes() > arena_.size()) {
    auto arena = AlignedBuffer::allocate(plan->arena_bytes(), "the activations of a session");
    if (!arena.ok()) return arena.status();
    arena_ = std::move(arena).value();
    for (const auto& [pictures, other] : plans_) other->bind_arena(arena_.data());
  }
  plan->bind_arena(arena_.data());
  plans_.emplace(chunk, std::move(plan));
  return Status();
}

Status Session::reserve(size_t batch) {
  if (batch >= max_chunk()) WBCQ_RETURN_IF_ERROR(plan_chunk(max_chunk()));
  if (batch % max_chunk() != 0) WBCQ_RETURN_IF_ERROR(plan_chunk(batch % max_chunk()));
  return Status();
}

Status Session::check_arguments(size_t inputs, size_t outputs) const {
  if (inputs != model_->inputs().size()) {
    return Status(StatusCode::kInvalidArgument,
                  "the model has " + std::to_string(model_->inputs().size()) + " inputs, " +
                      std::to_string(inputs) + " were given");
  }
  if (outputs != model_->outputs().size()) {
    return Status(StatusCode::kInvalidArgument,
                  "the model has " + std::to_string(model_->outputs().size()) + " outputs, " +
                      std::to_string(outputs) + " were given");
  }
  return Status();
}

void Session::run_step(const ExecutionPlan::BoundStep& step) {
  StepRun run = {*step.plan, step.buffers(), scratch_.data(), scratch_stride_};
  pool_->run(step.plan->tiles(), StepRun::tiles, &run);
}

void Session::run_plan(ExecutionPlan& plan, double* seconds) {
  for (const ExecutionPlan::BoundStep& step : plan.steps()) {
    const double start = seconds != nullptr ? seconds_now() : 0;
    run_step(step);
    if (seconds != nullptr) *seconds++ += seconds_now() - start;
  }
}

// Adds the time of every step to seconds[step], unless that is null.
void Session::run_chunks(size_t batch, const float* const* inputs, float* const* outputs,
                         double* seconds) {
  for (size_t first = 0; first < batch; first += max_chunk()) {
    ExecutionPlan& plan = *plans_.find(std::min(max_chunk(), batch - first))->second;
    plan.bind_caller(inputs, outputs, first);
    run_plan(plan, seconds);
  }
}

Status Session::run(size_t batch, std::span<const float* const> inputs,
                    std::span<float* const> outputs) {
  WBCQ_RETURN_IF_ERROR(check_arguments(inputs.size(), outputs.size()));
  WBCQ_RETURN_IF_ERROR(reserve(batch));
  run_chunks(batch, inputs.data(), outputs.data(), nullptr);
  return Status();
}

Status Session::run_op(size_t op, size_t batch) {
  const std::vector<Step>& steps = model_->steps();
  if (op >= steps.size()) {
    return Status(
        StatusCode::kInvalidArgument,
        "operator " + std::to_string(op) + " of a model with " + std::to_string(steps.size()));
  }
  if (batch == 0 || batch > max_chunk()) {
    return Status(StatusCode::kInvalidArgument, "a batch of " + std::to_string(batch) +
                                                    ", must be 1.." + std::to_string(max_chunk()));
  }
  const auto in_arena = [&](size_t tensor) {
    return model_->place(tensor).kind == Place::Kind::kArena;
  };
  const Step& step = steps[op];
  if (!std::all_of(step.inputs.begin(), step.inputs.end(), in_arena) ||
      !std::all_of(step.outputs.begin(), step.outputs.end(), in_arena)) {
    return Status(StatusCode::kInvalidArgument, "operator " + std::to_string(op) + " '" +
                                                    step.op->name() +
                                                    "' reads or writes the caller's arrays");
  }
  WBCQ_RETURN_IF_ERROR(reserve(batch));
  run_step(plans_.find(batch)->second->steps()[op]);
  return Status();
}

Result<std::vector<OpProfile>> Session::profile(size_t batch, std::span<const float* const> inputs,
                                                size_t repeats) {
  WBCQ_RETURN_IF_ERROR(check_arguments(inputs.size(), model_->outputs().size()));
  WBCQ_RETURN_IF_ERROR(reserve(batch));
  std::vector<AlignedBuffer> buffers;
  std::vector<float*> outputs;
  for (const IoSpec& output : model_->outputs()) {
    const CheckedSize bytes = CheckedSize(batch) * output.elements * sizeof(float);
    auto buffer = AlignedBuffer::allocate(bytes.value(), "the outputs of a profile");
    if (!buffer.ok()) return buffer.status();
    buffers.push_back(std::move(buffer).value());
    outputs.push_back(buffers.back().as<float>());
  }

  const std::vector<Step>& steps = model_->steps();
  std::vector<std::vector<double>> times(steps.size());
  std::vector<double> seconds(steps.size());
  run_chunks(batch, inputs.data(), outputs.data(), nullptr);
  for (size_t i = 0; i < std::max<size_t>(1, repeats); ++i) {
    std::fill(seconds.begin(), seconds.end(), 0.0);
    run_chunks(batch, inputs.data(), outputs.data(), seconds.data());
    for (size_t s = 0; s < steps.size(); ++s) times[s].push_back(seconds[s]);
  }

  std::vector<OpProfile> profiles;
  const size_t chunks = ceil_div(batch, max_chunk());
  for (size_t s = 0; s < steps.size(); ++s) {
    const Op& op = *steps[s].op;
    profiles.push_back({op.name(), std::string(op.kind()), std::string(op.kernel()),
                        median(times[s]), op.cost().macs * batch,
                        op.cost().activation_bytes * batch + op.cost().weight_bytes * chunks});
  }
  return profiles;
}

}  // namespace wbcq
