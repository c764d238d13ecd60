#include "threading/thread_count.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <fstream>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#if defined(__linux__)
#include <sched.h>
#endif

namespace wbcq {
namespace {

// The allowed CPUs' numbers; empty where the system does not tell.
std::vector<size_t> allowed_cpus() {
  std::vector<size_t> cpus;
#if defined(__linux__)
  // The kernel refuses a mask that is smaller than its own, whose size it does not tell.
  for (size_t capacity = 1024; capacity <= size_t{1} << 20; capacity *= 2) {
    cpu_set_t* mask = CPU_ALLOC(capacity);
    if (mask == nullptr) break;
    const size_t bytes = CPU_ALLOC_SIZE(capacity);
    const bool ok = sched_getaffinity(0, bytes, mask) == 0;
    for (size_t cpu = 0; ok && cpu < capacity; ++cpu) {
      if (CPU_ISSET_S(cpu, bytes, mask)) cpus.push_back(cpu);
    }
    CPU_FREE(mask);
    if (ok) break;
  }
#endif
  return cpus;
}

// A core is known by its package and its number there, which repeats from package to package.
bool read_core(const std::string& root, size_t cpu, std::pair<long, long>* core) {
  const std::string topology = root + "/cpu" + std::to_string(cpu) + "/topology/";
  std::ifstream package(topology + "physical_package_id");
  std::ifstream number(topology + "core_id");
  return (package >> core->first) && (number >> core->second);
}

}  // namespace

size_t allowed_cpu_count() {
  const size_t allowed = allowed_cpus().size();
  if (allowed > 0) return allowed;
  return std::max<size_t>(std::thread::hardware_concurrency(), 1);
}

size_t physical_core_count(const std::string& root) {
  std::vector<std::pair<long, long>> cores;
  for (size_t cpu : allowed_cpus()) {
    std::pair<long, long> core;
    if (!read_core(root, cpu, &core)) return allowed_cpu_count();
    cores.push_back(core);
  }
  if (cores.empty()) return allowed_cpu_count();
  std::sort(cores.begin(), cores.end());
  const auto end = std::unique(cores.begin(), cores.end());
  return static_cast<size_t>(end - cores.begin());
}

Result<size_t> default_thread_count() {
  const char* variable = std::getenv("WBCQ_NUM_THREADS");
  const std::string_view text = variable == nullptr ? "" : variable;
  if (text.empty()) return std::min(physical_core_count(), kMaxThreads);
  size_t threads = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), threads);
  if (error != std::errc() || end != text.data() + text.size() || threads < 1 ||
      threads > kMaxThreads) {
    return Status(StatusCode::kInvalidArgument,
                  "the environment variable WBCQ_NUM_THREADS is \"" + std::string(text) +
                      "\": set it to a whole number from 1 to " + std::to_string(kMaxThreads) +
                      ", or unset it to use one thread for each physical core");
  }
  return threads;
}

}  // namespace wbcq
