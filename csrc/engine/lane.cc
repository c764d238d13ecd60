#include "engine/lane.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/checked.h"

namespace wbcq {
namespace {

// Activations that may be spread over the caches whatever the weights are; 1 MB of L2 and what is
// quick in L3.
constexpr size_t kCachedActivations = size_t{3} << 20;

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

}  // namespace

// Each part reads all weights again, and what it cannot keep of its activations goes through L3:
// few pictures at a time for small networks, many where the weights are the larger burden.
size_t Lane::choose_max_chunk(const Model& model, size_t threads) {
  if (model.memory() == MemoryChoice::kSmall) return 1;
  const size_t picture = ExecutionPlan(model, 1, threads).arena_bytes();
  const size_t budget = std::max(kCachedActivations, model.packed_bytes() / 2);
  size_t chunk = kMaxChunk;
  while (chunk > 2 && chunk * picture > budget) chunk /= 2;
  return chunk;
}

Lane::Bytes Lane::bytes(size_t batch) const {
  Bytes use;
  const auto add = [&](size_t chunk) {
    const ExecutionPlan plan(model_, chunk, threads());
    use.arena = std::max(use.arena, plan.arena_bytes());
    use.scratch = std::max(use.scratch, plan.scratch_bytes() * threads());
    use.tables += plan.table_bytes();
  };
  if (batch >= max_chunk_) add(max_chunk_);
  if (batch % max_chunk_ != 0) add(batch % max_chunk_);
  return use;
}

Status Lane::reserve(size_t batch) {
  if (batch >= max_chunk_) WBCQ_RETURN_IF_ERROR(plan_chunk(max_chunk_));
  if (batch % max_chunk_ != 0) WBCQ_RETURN_IF_ERROR(plan_chunk(batch % max_chunk_));
  return Status();
}

Status Lane::plan_chunk(size_t chunk) {
  if (plans_.contains(chunk)) return Status();
  auto plan = std::make_unique<ExecutionPlan>(model_, chunk, threads());
  if (plan->scratch_bytes() > scratch_stride_) {
    auto scratch = AlignedBuffer::allocate((CheckedSize(plan->scratch_bytes()) * threads()).value(),
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

void Lane::run_step(const ExecutionPlan::BoundStep& step) {
  StepRun run = {*step.plan, step.buffers(), scratch_.data(), scratch_stride_};
  if (pool_ != nullptr) {
    pool_->run(step.plan->tiles(), StepRun::tiles, &run);
  } else if (step.plan->tiles() > 0) {
    StepRun::tiles(&run, 0, step.plan->tiles(), 0);
  }
}

void Lane::run(size_t first, size_t batch, const float* const* inputs, float* const* outputs,
               double* seconds) {
  for (size_t done = 0; done < batch; done += max_chunk_) {
    ExecutionPlan& plan = *plans_.find(std::min(max_chunk_, batch - done))->second;
    plan.bind_caller(inputs, outputs, first + done);
    for (size_t s = 0; s < plan.steps().size(); ++s) {
      const double start = seconds != nullptr ? seconds_now() : 0;
      run_step(plan.steps()[s]);
      if (seconds != nullptr) seconds[s] += seconds_now() - start;
    }
  }
}

void Lane::run_op(size_t op, size_t chunk) { run_step(plans_.find(chunk)->second->steps()[op]); }

}  // namespace wbcq
