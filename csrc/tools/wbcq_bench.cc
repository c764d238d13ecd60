// wbcq-bench FILE: how fast a model runs here, and where the time goes.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "cpu/isa.h"
#include "engine/bandwidth.h"
#include "engine/peak.h"
#include "engine/session.h"
#include "tools/arguments.h"
#include "tools/profile_table.h"

namespace wbcq::tools {
namespace {

constexpr const char kUsage[] =
    "usage: wbcq-bench FILE [--batch N] [--threads N] [--isa NAME] [--memory WHAT]\n"
    "                       [--seconds S] [--profile]\n"
    "       wbcq-bench --peak [--threads N] [--isa NAME]\n"
    "\n"
    "Times a wbcq model file on random pictures, or measures the CPU's int8 peak.\n"
    "\n"
    "  --batch N      pictures a run; default 1\n"
    "  --threads N    default 1\n"
    "  --isa NAME     scalar, avx2, avx512vnni, neon, neondot, neoni8mm; default: the best\n"
    "  --memory WHAT  speed or small; default: speed\n"
    "  --seconds S    how long to measure; default 2\n"
    "  --profile      also the time of every operator, beside the measured limits\n"
    "  --peak         measure the int8 peak alone\n"
    "  --help         print this text\n";

constexpr size_t kMinRuns = 5;
constexpr size_t kProfileRepeats = 21;

using Clock = std::chrono::steady_clock;

double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

// Arrays of the caller: pictures of noise in and room for the outputs.
struct Arrays {
  std::vector<std::vector<float>> memory;
  std::vector<const float*> inputs;
  std::vector<float*> outputs;

  Arrays(const Model& model, size_t batch) {
    uint32_t state = 1;
    for (const IoSpec& spec : model.inputs()) {
      std::vector<float>& values = memory.emplace_back(batch * spec.elements);
      for (float& value : values) {
        state = state * 1664525u + 1013904223u;
        value = static_cast<float>(state >> 8) * 0x1p-22f - 2.0f;
      }
    }
    for (const IoSpec& spec : model.outputs()) memory.emplace_back(batch * spec.elements);
    for (size_t i = 0; i < memory.size(); ++i) {
      if (i < model.inputs().size()) {
        inputs.push_back(memory[i].data());
      } else {
        outputs.push_back(memory[i].data());
      }
    }
  }
};

Status time_runs(Session& session, size_t batch, double seconds) {
  Arrays arrays(session.model(), batch);
  std::vector<double> times;
  const Clock::time_point start = Clock::now();
  while (times.size() < kMinRuns || milliseconds_since(start) < seconds * 1e3) {
    const Clock::time_point run_start = Clock::now();
    WBCQ_RETURN_IF_ERROR(session.run(batch, arrays.inputs, arrays.outputs));
    times.push_back(milliseconds_since(run_start));
  }
  std::sort(times.begin(), times.end());
  const auto at = [&](double quantile) {
    return times[static_cast<size_t>(quantile * static_cast<double>(times.size() - 1))];
  };
  std::printf(
      "batch %zu, %zu threads, %s: median %.3f ms, min %.3f, p90 %.3f (%zu runs), %.1f "
      "pictures/s\n",
      batch, session.threads(), std::string(isa_name(session.model().isa())).c_str(), at(0.5),
      times[0], at(0.9), times.size(), 1e3 * static_cast<double>(batch) / at(0.5));
  const MemoryUse memory = session.memory(batch);
  std::printf(
      "memory: packed weights %.2f MB, activations %.2f MB, scratch %.2f MB, tables %.2f MB\n",
      static_cast<double>(memory.packed_weights) / 1e6, static_cast<double>(memory.arena) / 1e6,
      static_cast<double>(memory.scratch) / 1e6, static_cast<double>(memory.tables) / 1e6);
  return Status();
}

Status print_profile(Session& session, size_t batch) {
  const Result<Peak> peak = measure_peak(session.model().isa(), session.threads());
  if (!peak.ok()) return peak.status();
  const auto bandwidths = measure_bandwidths(session.threads());
  if (!bandwidths.ok()) return bandwidths.status();
  const Arrays arrays(session.model(), batch);
  const auto profile = session.profile(batch, arrays.inputs, kProfileRepeats);
  if (!profile.ok()) return profile.status();
  std::vector<ProfiledOp> ops;
  for (size_t i = 0; i < profile.value().size(); ++i) {
    const Tensor& input = session.model().tensors()[session.model().steps()[i].inputs[0]];
    ops.push_back({profile.value()[i], input.dtype == format::DType::kU8});
  }
  const MachineLimits limits = {peak.value(), bandwidths.value(), session.threads()};
  std::printf("\n%s", profile_table(ops, limits).c_str());
  return Status();
}

Status run(const Arguments& arguments) {
  const Result<size_t> threads = arguments.number("threads", 1, 1, 1024);
  if (!threads.ok()) return threads.status();
  const Result<size_t> batch = arguments.number("batch", 1, 1, 65536);
  if (!batch.ok()) return batch.status();
  const Result<size_t> seconds = arguments.number("seconds", 2, 0, 3600);
  if (!seconds.ok()) return seconds.status();
  const std::string isa = arguments.text("isa", "");

  if (arguments.has("peak")) {
    const Result<Isa> selected = select_isa(isa);
    if (!selected.ok()) return selected.status();
    const Result<Peak> peak = measure_peak(selected.value(), threads.value());
    if (!peak.ok()) return peak.status();
    std::printf("%s, %zu threads: %.1f GMAC/s\n", peak.value().kernel, threads.value(),
                peak.value().gmacs);
    return Status();
  }
  const Result<MemoryChoice> memory = memory_choice(arguments.text("memory", "speed"));
  if (!memory.ok()) return memory.status();
  Result<std::shared_ptr<const Model>> model =
      Model::open(arguments.operands()[0], {isa, memory.value(), {}, threads.value()});
  if (!model.ok()) return model.status();
  Result<std::unique_ptr<Session>> session =
      Session::create(std::move(model).value(), threads.value());
  if (!session.ok()) return session.status();
  WBCQ_RETURN_IF_ERROR(
      time_runs(*session.value(), batch.value(), static_cast<double>(seconds.value())));
  return arguments.has("profile") ? print_profile(*session.value(), batch.value()) : Status();
}

int main_of(int argc, char** argv) {
  const Result<Arguments> arguments = Arguments::parse(
      argc, argv, {"batch", "threads", "isa", "memory", "seconds"}, {"profile", "peak", "help"});
  if (!arguments.ok()) return report("wbcq-bench", arguments.status());
  if (arguments.value().has("help")) {
    std::fputs(kUsage, stdout);
    return 0;
  }
  if (arguments.value().operands().size() != (arguments.value().has("peak") ? 0 : 1)) {
    std::fputs(kUsage, stderr);
    return 2;
  }
  const Status status = run(arguments.value());
  return status.ok() ? 0 : report("wbcq-bench", status);
}

}  // namespace
}  // namespace wbcq::tools

int main(int argc, char** argv) { return wbcq::tools::main_of(argc, argv); }
