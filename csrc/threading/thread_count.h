// How many threads inference should use on this machine.
#ifndef WBCQ_THREADING_THREAD_COUNT_H_
#define WBCQ_THREADING_THREAD_COUNT_H_

#include <cstddef>
#include <string>

#include "base/status.h"

namespace wbcq {

// The largest pool that ThreadPool::create() and WBCQ_NUM_THREADS accept.
inline constexpr size_t kMaxThreads = 1024;

// Logical CPUs that the affinity mask of this thread allows; at least 1.
size_t allowed_cpu_count();

// Physical cores among the allowed CPUs: two threads that share a core's vector units gain nothing.
// Where the topology under `root` cannot be read every allowed CPU counts as a core.
size_t physical_core_count(const std::string& root = "/sys/devices/system/cpu");

// The environment variable WBCQ_NUM_THREADS where it is set and not empty, else
// physical_core_count(). Anything but a whole number of [1, kMaxThreads] is kInvalidArgument.
Result<size_t> default_thread_count();

}  // namespace wbcq

#endif  // WBCQ_THREADING_THREAD_COUNT_H_
