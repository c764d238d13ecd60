#include "engine/session.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/checked.h"

namespace wbcq {
namespace {

// Beyond so many threads the weights of networks above so many bytes are read together: a copy for
// each would have to come from memory that all of them share.
constexpr size_t kFewThreads = 4;
constexpr size_t kCachedWeights = size_t{8} << 20;

// A run of pictures, as the thread pool's workers see it.
struct LanesRun {
  std::vector<Lane>& lanes;
  size_t pictures;  // of each lane
  const float* const* inputs;
  float* const* outputs;
  double* seconds;  // of the first lane

  static void tiles(void* context, size_t first, size_t last, size_t /*thread*/) {
    const LanesRun& run = *static_cast<const LanesRun*>(context);
    for (size_t i = first; i < last; ++i) {
      run.lanes[i].run(i * run.pictures, run.pictures, run.inputs, run.outputs,
                       i == 0 ? run.seconds : nullptr);
    }
  }
};

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
      shared_(*model_, pool_.get(), Lane::choose_max_chunk(*model_, threads_)) {
  if (threads_ == 1 || model_->memory() == MemoryChoice::kSmall) return;
  if (threads_ > kFewThreads && model_->packed_bytes() > kCachedWeights) return;
  const size_t chunk = Lane::choose_max_chunk(*model_, 1);
  for (size_t i = 0; i < threads_; ++i) lanes_.emplace_back(*model_, nullptr, chunk);
}

size_t Session::own_pictures(size_t batch) const { return lanes_.empty() ? 0 : batch / threads_; }

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
  const auto add = [&use](const Lane::Bytes& bytes) {
    use.arena += bytes.arena;
    use.scratch += bytes.scratch;
    use.tables += bytes.tables;
  };
  add(shared_.bytes(shared_pictures(batch)));
  for (const Lane& lane : lanes_) add(lane.bytes(own_pictures(batch)));
  return use;
}

Status Session::reserve(size_t batch) {
  WBCQ_RETURN_IF_ERROR(shared_.reserve(shared_pictures(batch)));
  for (Lane& lane : lanes_) WBCQ_RETURN_IF_ERROR(lane.reserve(own_pictures(batch)));
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

void Session::run_all(size_t batch, const float* const* inputs, float* const* outputs,
                      double* seconds) {
  const size_t own = own_pictures(batch);
  if (own > 0) {
    LanesRun run = {lanes_, own, inputs, outputs, seconds};
    pool_->run(lanes_.size(), LanesRun::tiles, &run);
  }
  shared_.run(threads_ * own, shared_pictures(batch), inputs, outputs, seconds);
}

Status Session::run(size_t batch, std::span<const float* const> inputs,
                    std::span<float* const> outputs) {
  WBCQ_RETURN_IF_ERROR(check_arguments(inputs.size(), outputs.size()));
  WBCQ_RETURN_IF_ERROR(reserve(batch));
  run_all(batch, inputs.data(), outputs.data(), nullptr);
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
  WBCQ_RETURN_IF_ERROR(shared_.reserve(batch));
  shared_.run_op(op, batch);
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
  run_all(batch, inputs.data(), outputs.data(), nullptr);
  for (size_t i = 0; i < std::max<size_t>(1, repeats); ++i) {
    std::fill(seconds.begin(), seconds.end(), 0.0);
    run_all(batch, inputs.data(), outputs.data(), seconds.data());
    for (size_t s = 0; s < steps.size(); ++s) times[s].push_back(seconds[s]);
  }

  std::vector<OpProfile> profiles;
  const size_t own = own_pictures(batch);
  const size_t chunks = threads_ * (own > 0 ? ceil_div(own, lanes_[0].max_chunk()) : 0) +
                        ceil_div(shared_pictures(batch), max_chunk());
  for (size_t s = 0; s < steps.size(); ++s) {
    const Op& op = *steps[s].op;
    profiles.push_back({op.name(), std::string(op.kind()), std::string(op.kernel()),
                        median(times[s]), op.cost().macs * batch,
                        op.cost().activation_bytes * batch + op.cost().weight_bytes * chunks});
  }
  return profiles;
}

}  // namespace wbcq
