#include "threading/thread_count.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace wbcq {
namespace {

namespace fs = std::filesystem;

// Sets WBCQ_NUM_THREADS, or unsets it, for the length of a test.
class ScopedVariable {
 public:
  explicit ScopedVariable(const char* value) {
    if (const char* old = std::getenv(kName)) old_ = old;
    value != nullptr ? setenv(kName, value, 1) : unsetenv(kName);
  }
  ~ScopedVariable() { old_ ? setenv(kName, old_->c_str(), 1) : unsetenv(kName); }
  ScopedVariable(const ScopedVariable&) = delete;
  ScopedVariable& operator=(const ScopedVariable&) = delete;

 private:
  static constexpr const char* kName = "WBCQ_NUM_THREADS";
  std::optional<std::string> old_;
};

// Narrows the affinity mask of a thread of its own, and runs `body` there.
template <typename Body>
void with_cpus(const std::vector<size_t>& cpus, Body body) {
  std::thread([&] {
    cpu_set_t mask;
    CPU_ZERO(&mask);
    for (size_t cpu : cpus) CPU_SET(cpu, &mask);
    ASSERT_EQ(sched_setaffinity(0, sizeof(mask), &mask), 0);
    body();
  }).join();
}

std::vector<size_t> usable_cpus() {
  cpu_set_t mask;
  std::vector<size_t> cpus;
  if (sched_getaffinity(0, sizeof(mask), &mask) != 0) return cpus;
  for (size_t cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &mask)) cpus.push_back(cpu);
  }
  return cpus;
}

// A copy of /sys/devices/system/cpu with the topology that a test wants.
class Topology {
 public:
  // Tests run at once as processes of their own.
  Topology()
      : root_(fs::path(::testing::TempDir()) / ("wbcq_topology_" + std::to_string(getpid()))) {
    fs::remove_all(root_);
  }
  ~Topology() { fs::remove_all(root_); }
  void add(size_t cpu, int package, int core) {
    const fs::path folder = root_ / ("cpu" + std::to_string(cpu)) / "topology";
    fs::create_directories(folder);
    std::ofstream(folder / "physical_package_id") << package << "\n";
    std::ofstream(folder / "core_id") << core << "\n";
  }
  std::string root() const { return root_.string(); }

 private:
  fs::path root_;
};

TEST(ThreadCountTest, CountsAllowedCpus) {
  const std::vector<size_t> cpus = usable_cpus();
  ASSERT_FALSE(cpus.empty());
  EXPECT_EQ(allowed_cpu_count(), cpus.size());
  with_cpus({cpus.back()}, [] {
    EXPECT_EQ(allowed_cpu_count(), 1u);
    EXPECT_EQ(physical_core_count(), 1u);
  });
}

TEST(ThreadCountTest, SiblingsOfACoreCountOnce) {
  const std::vector<size_t> cpus = usable_cpus();
  Topology topology;
  for (size_t cpu : cpus) topology.add(cpu, 0, 7);
  EXPECT_EQ(physical_core_count(topology.root()), 1u);
}

TEST(ThreadCountTest, CoreNumbersRepeatInEveryPackage) {
  const std::vector<size_t> cpus = usable_cpus();
  Topology topology;
  for (size_t i = 0; i < cpus.size(); ++i) topology.add(cpus[i], static_cast<int>(i), 0);
  EXPECT_EQ(physical_core_count(topology.root()), cpus.size());
}

TEST(ThreadCountTest, AnUnreadableTopologyCountsCpus) {
  Topology topology;
  EXPECT_EQ(physical_core_count(topology.root()), allowed_cpu_count());
  const std::vector<size_t> cpus = usable_cpus();
  for (size_t cpu : cpus) topology.add(cpu, 0, 0);
  std::ofstream(fs::path(topology.root()) / ("cpu" + std::to_string(cpus.back())) / "topology" /
                "core_id")
      << "?";
  EXPECT_EQ(physical_core_count(topology.root()), allowed_cpu_count());
}

TEST(ThreadCountTest, DefaultsToPhysicalCores) {
  for (const char* unset : {static_cast<const char*>(nullptr), ""}) {
    const ScopedVariable variable(unset);
    const Result<size_t> threads = default_thread_count();
    ASSERT_TRUE(threads.ok());
    EXPECT_EQ(threads.value(), physical_core_count());
  }
}

TEST(ThreadCountTest, ReadsTheVariable) {
  for (size_t wanted : {size_t{1}, size_t{3}, kMaxThreads}) {
    const ScopedVariable variable(std::to_string(wanted).c_str());
    const Result<size_t> threads = default_thread_count();
    ASSERT_TRUE(threads.ok());
    EXPECT_EQ(threads.value(), wanted);
  }
}

TEST(ThreadCountTest, RefusesWhatIsNoThreadCount) {
  for (const char* text :
       {"0", "-1", "+2", "two", "2 ", " 2", "2.0", "0x2", "1025", "99999999999999999999999999"}) {
    const ScopedVariable variable(text);
    const Result<size_t> threads = default_thread_count();
    ASSERT_FALSE(threads.ok()) << text;
    EXPECT_EQ(threads.status().code(), StatusCode::kInvalidArgument);
    const std::string& message = threads.status().message();
    EXPECT_NE(message.find("WBCQ_NUM_THREADS"), std::string::npos) << message;
    EXPECT_NE(message.find(text), std::string::npos) << message;
    EXPECT_NE(message.find("1 to 1024"), std::string::npos) << message;
  }
}

}  // namespace
}  // namespace wbcq
