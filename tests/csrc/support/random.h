// A random generator whose seed is printed with every failure; WBCQ_TEST_SEED repeats a run.
#ifndef WBCQ_TESTS_SUPPORT_RANDOM_H_
#define WBCQ_TESTS_SUPPORT_RANDOM_H_

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <random>

namespace wbcq::testing {

class Random {
 public:
  Random() : seed_(choose_seed()), engine_(seed_) {
    trace_.emplace(__FILE__, __LINE__, "WBCQ_TEST_SEED=" + std::to_string(seed_));
  }
  // A uniform integer of [lo, hi].
  int64_t uniform(int64_t lo, int64_t hi) {
    return std::uniform_int_distribution<int64_t>(lo, hi)(engine_);
  }
  float uniform_float(float lo, float hi) {
    return std::uniform_real_distribution<float>(lo, hi)(engine_);
  }
  bool one_in(int64_t n) { return uniform(1, n) == 1; }
  std::mt19937_64& engine() { return engine_; }

 private:
  static uint64_t choose_seed() {
    if (const char* text = std::getenv("WBCQ_TEST_SEED")) return std::strtoull(text, nullptr, 10);
    return std::random_device{}();
  }
  uint64_t seed_;
  std::mt19937_64 engine_;
  std::optional<::testing::ScopedTrace> trace_;
};

}  // namespace wbcq::testing

#endif  // WBCQ_TESTS_SUPPORT_RANDOM_H_
