#include "engine/bandwidth.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <iterator>
#include <string>
#include <thread>

#include "base/aligned_buffer.h"
#include "threading/thread_count.h"

namespace wbcq {
namespace {

using Clock = std::chrono::steady_clock;

// Of one thread, where caches are usually its own; of all together, where they are shared.
constexpr size_t kSizes[] = {size_t{1} << 15, size_t{1} << 17, size_t{1} << 19, size_t{1} << 21};
constexpr size_t kSharedSizes[] = {size_t{1} << 23, size_t{1} << 26};
constexpr double kRunSeconds = 0.001;
constexpr double kSecondsOfASize = 0.03;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double seconds_of(std::byte* target, const std::byte* source, size_t half, size_t passes) {
  // Volatile, so that no pass is dropped for another.
  void* (*volatile copy)(void*, const void*, size_t) = std::memcpy;
  const Clock::time_point start = Clock::now();
  for (size_t i = 0; i < passes; ++i) copy(target, source, half);
  return seconds_since(start);
}

// The best of many short runs, as for the peak of multiplications.
double best_gigabytes(std::span<std::byte> memory) {
  const size_t half = memory.size() / 2;
  std::memset(memory.data(), 1, memory.size());
  size_t passes = 1;
  double best = seconds_of(memory.data(), memory.data() + half, half, passes);
  while (best < kRunSeconds) {
    passes *= 2;
    best = seconds_of(memory.data(), memory.data() + half, half, passes);
  }
  const Clock::time_point start = Clock::now();
  while (seconds_since(start) < kSecondsOfASize) {
    best = std::min(best, seconds_of(memory.data(), memory.data() + half, half, passes));
  }
  return static_cast<double>(2 * half * passes) / best / 1e9;
}

}  // namespace

Result<std::vector<Bandwidth>> measure_bandwidths(size_t threads) {
  if (threads < 1 || threads > kMaxThreads) {
    return Status(StatusCode::kInvalidArgument, "threads is " + std::to_string(threads) +
                                                    ", must be 1.." + std::to_string(kMaxThreads));
  }
  std::vector<size_t> sizes(std::begin(kSizes), std::end(kSizes));
  for (const size_t bytes : kSharedSizes) {
    const size_t share = bytes / threads / 128 * 128;
    if (share > sizes.back()) sizes.push_back(share);
  }
  std::vector<Bandwidth> bandwidths;
  for (const size_t bytes : sizes) {
    std::vector<AlignedBuffer> buffers;
    for (size_t i = 0; i < threads; ++i) {
      auto buffer = AlignedBuffer::allocate(bytes, "a measurement of bandwidth");
      if (!buffer.ok()) return buffer.status();
      buffers.push_back(std::move(buffer).value());
    }
    std::vector<double> gigabytes(threads);
    const auto measure = [&](size_t i) {
      gigabytes[i] = best_gigabytes({buffers[i].data(), bytes});
    };
    std::vector<std::thread> workers;
    for (size_t i = 1; i < threads; ++i) workers.emplace_back(measure, i);
    measure(0);
    for (std::thread& worker : workers) worker.join();
    double sum = 0;
    for (const double value : gigabytes) sum += value;
    bandwidths.push_back({bytes, sum / static_cast<double>(threads)});
  }
  return bandwidths;
}

double bandwidth_at(std::span<const Bandwidth> bandwidths, double bytes) {
  const auto above = std::find_if(bandwidths.begin(), bandwidths.end(), [&](const Bandwidth& b) {
    return static_cast<double>(b.bytes) >= bytes;
  });
  if (above == bandwidths.begin()) return bandwidths.front().gigabytes;
  if (above == bandwidths.end()) return bandwidths.back().gigabytes;
  const Bandwidth& below = *(above - 1);
  const double position =
      std::log(bytes / static_cast<double>(below.bytes)) /
      std::log(static_cast<double>(above->bytes) / static_cast<double>(below.bytes));
  return below.gigabytes + position * (above->gigabytes - below.gigabytes);
}

}  // namespace wbcq
