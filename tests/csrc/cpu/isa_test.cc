#include "cpu/isa.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>
#include <string>

namespace wbcq {
namespace {

constexpr Isa kAllIsas[] = {Isa::kScalar, Isa::kAvx2,    Isa::kAvx512Vnni,
                            Isa::kNeon,   Isa::kNeonDot, Isa::kNeonI8mm};

// Sets WBCQ_FORCE_ISA for one scope and puts the old value back.
class ScopedForceIsa {
 public:
  explicit ScopedForceIsa(const char* value) {
    if (const char* old = std::getenv(kVariable)) old_ = old;
    value ? setenv(kVariable, value, 1) : unsetenv(kVariable);
  }
  ~ScopedForceIsa() { old_ ? setenv(kVariable, old_->c_str(), 1) : unsetenv(kVariable); }
  ScopedForceIsa(const ScopedForceIsa&) = delete;
  ScopedForceIsa& operator=(const ScopedForceIsa&) = delete;

 private:
  static constexpr const char* kVariable = "WBCQ_FORCE_ISA";
  std::optional<std::string> old_;
};

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

TEST(IsaTest, NamesRoundTripAndAreUnique) {
  std::set<std::string_view> names;
  for (Isa isa : kAllIsas) {
    EXPECT_EQ(isa_from_name(isa_name(isa)), isa);
    names.insert(isa_name(isa));
  }
  EXPECT_EQ(names.size(), std::size(kAllIsas));
  EXPECT_EQ(isa_from_name(""), std::nullopt);
  EXPECT_EQ(isa_from_name("AVX2"), std::nullopt);
  EXPECT_EQ(isa_from_name("avx2 "), std::nullopt);
}

TEST(IsaTest, SupportedIsasAscendFromScalar) {
  const std::vector<Isa> isas = supported_isas();
  ASSERT_FALSE(isas.empty());
  EXPECT_EQ(isas.front(), Isa::kScalar);
  EXPECT_TRUE(std::is_sorted(isas.begin(), isas.end()));
  for (Isa isa : kAllIsas) {
    EXPECT_EQ(std::count(isas.begin(), isas.end(), isa), isa_supported(isa) ? 1 : 0);
  }
}

TEST(IsaTest, NeverSupportsAnotherArchitecture) {
#if defined(__x86_64__)
  for (Isa isa : {Isa::kNeon, Isa::kNeonDot, Isa::kNeonI8mm}) EXPECT_FALSE(isa_supported(isa));
  EXPECT_TRUE(!isa_supported(Isa::kAvx512Vnni) || isa_supported(Isa::kAvx2));
#elif defined(__aarch64__)
  for (Isa isa : {Isa::kAvx2, Isa::kAvx512Vnni}) EXPECT_FALSE(isa_supported(isa));
  EXPECT_TRUE(isa_supported(Isa::kNeon));
  EXPECT_TRUE(!isa_supported(Isa::kNeonI8mm) || isa_supported(Isa::kNeonDot));
#endif
}

#if defined(__x86_64__) && defined(__linux__)
// The kernel's own reading of CPUID and XCR0.
TEST(IsaTest, AgreesWithProcCpuinfo) {
  std::ifstream file("/proc/cpuinfo");
  std::set<std::string> flags;
  for (std::string line; std::getline(file, line) && flags.empty();) {
    if (line.rfind("flags", 0) != 0) continue;
    std::istringstream words(line.substr(line.find(':') + 1));
    for (std::string word; words >> word;) flags.insert(word);
  }
  if (flags.empty()) GTEST_SKIP() << "/proc/cpuinfo lists no flags";
  const auto all = [&](std::initializer_list<const char*> names) {
    return std::all_of(names.begin(), names.end(), [&](const char* n) { return flags.count(n); });
  };
  const bool avx2 = all({"avx", "avx2", "fma"});
  EXPECT_EQ(isa_supported(Isa::kAvx2), avx2);
  EXPECT_EQ(
      isa_supported(Isa::kAvx512Vnni),
      avx2 && all({"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512vbmi", "avx512_vnni"}));
}
#endif

TEST(SelectIsaTest, EmptyMeansTheBest) {
  for (const char* value : {static_cast<const char*>(nullptr), ""}) {
    ScopedForceIsa forced(value);
    const Result<Isa> isa = select_isa("");
    ASSERT_TRUE(isa.ok()) << isa.status().message();
    EXPECT_EQ(isa.value(), supported_isas().back());
  }
}

TEST(SelectIsaTest, EverySupportedNameWorksFromBothSources) {
  for (Isa expected : supported_isas()) {
    const std::string name(isa_name(expected));
    {
      ScopedForceIsa forced(nullptr);
      const Result<Isa> isa = select_isa(name);
      ASSERT_TRUE(isa.ok()) << isa.status().message();
      EXPECT_EQ(isa.value(), expected);
    }
    ScopedForceIsa forced(name.c_str());
    const Result<Isa> isa = select_isa("");
    ASSERT_TRUE(isa.ok()) << isa.status().message();
    EXPECT_EQ(isa.value(), expected);
  }
}

TEST(SelectIsaTest, ArgumentWinsOverEnvironment) {
  ScopedForceIsa forced("no-such-isa");
  const Result<Isa> isa = select_isa("scalar");
  ASSERT_TRUE(isa.ok()) << isa.status().message();
  EXPECT_EQ(isa.value(), Isa::kScalar);
}

TEST(SelectIsaTest, UnknownNameIsRefusedAndNamesThatWorkAreListed) {
  ScopedForceIsa unset(nullptr);
  const Result<Isa> argument = select_isa("avx10");
  ASSERT_FALSE(argument.ok());
  EXPECT_EQ(argument.status().code(), StatusCode::kInvalidArgument);
  EXPECT_TRUE(contains(argument.status().message(), "\"avx10\"")) << argument.status().message();

  ScopedForceIsa forced("avx10");
  const Result<Isa> environment = select_isa("");
  ASSERT_FALSE(environment.ok());
  EXPECT_EQ(environment.status().code(), StatusCode::kInvalidArgument);
  EXPECT_TRUE(contains(environment.status().message(), "WBCQ_FORCE_ISA"));
  for (Isa isa : supported_isas()) {
    EXPECT_TRUE(contains(environment.status().message(), isa_name(isa)))
        << environment.status().message();
  }
}

TEST(SelectIsaTest, KnownButUnsupportedNameIsRefused) {
  ScopedForceIsa unset(nullptr);
  for (Isa isa : kAllIsas) {
    if (isa_supported(isa)) continue;
    const Result<Isa> selected = select_isa(isa_name(isa));
    ASSERT_FALSE(selected.ok());
    EXPECT_EQ(selected.status().code(), StatusCode::kUnsupported);
    EXPECT_TRUE(contains(selected.status().message(), isa_name(isa)));
    EXPECT_TRUE(contains(selected.status().message(), "scalar")) << selected.status().message();
  }
}

}  // namespace
}  // namespace wbcq
