#include "engine/peak.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "kernels/peak/peak.h"
#include "threading/thread_count.h"

namespace wbcq {

#define WBCQ_PEAK_KERNEL(isa, object) extern const PeakKernel object;
#include "kernels/peak/kernels.inc"

namespace {

using Clock = std::chrono::steady_clock;

constexpr double kRunSeconds = 0.005;
constexpr double kTotalSeconds = 0.25;

const PeakKernel* find_kernel(Isa isa) {
#define WBCQ_PEAK_KERNEL(name, object) \
  if (isa == Isa::k##name) return &object;
#include "kernels/peak/kernels.inc"
  return nullptr;
}

double seconds_of(const PeakKernel& kernel, size_t iterations) {
  int32_t sink = 1;
  const Clock::time_point start = Clock::now();
  kernel.run(iterations, &sink);
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// The best of many short runs: what the core can do when nothing else disturbs it.
double best_gmacs(const PeakKernel& kernel) {
  size_t iterations = 1000;
  while (seconds_of(kernel, iterations) < kRunSeconds) iterations *= 2;
  double best = seconds_of(kernel, iterations);
  const Clock::time_point start = Clock::now();
  while (std::chrono::duration<double>(Clock::now() - start).count() < kTotalSeconds) {
    best = std::min(best, seconds_of(kernel, iterations));
  }
  return static_cast<double>(iterations) * static_cast<double>(kernel.macs_per_iteration) / best /
         1e9;
}

}  // namespace

Result<Peak> measure_peak(Isa isa, size_t threads) {
  const PeakKernel* kernel = find_kernel(isa);
  if (kernel == nullptr || !isa_supported(isa)) {
    return Status(StatusCode::kUnsupported,
                  "this machine cannot run ISA " + std::string(isa_name(isa)));
  }
  if (threads < 1 || threads > kMaxThreads) {
    return Status(StatusCode::kInvalidArgument, "threads is " + std::to_string(threads) +
                                                    ", must be 1.." + std::to_string(kMaxThreads));
  }
  std::vector<double> gmacs(threads);
  std::vector<std::thread> workers;
  for (size_t i = 1; i < threads; ++i) {
    workers.emplace_back([&, i] { gmacs[i] = best_gmacs(*kernel); });
  }
  gmacs[0] = best_gmacs(*kernel);
  for (std::thread& worker : workers) worker.join();
  Peak peak = {kernel->name, 0};
  for (const double value : gmacs) peak.gmacs += value;
  return peak;
}

}  // namespace wbcq
