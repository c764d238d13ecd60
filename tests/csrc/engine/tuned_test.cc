// Choices that `wbcq tune` stored: found where they are, and nowhere else.
#include "engine/tuned.h"

#include <gtest/gtest.h>

#include <cstdio>

#include "cpu/cpu_name.h"

namespace wbcq {
namespace {

TEST(Tuned, KeysNameCpuIsaAndThreads) {
  EXPECT_EQ(tuned_key(Isa::kAvx2, 12), cpu_name() + "|avx2|12");
}

TEST(Tuned, NamesCanStandInJson) {
  const std::string name = cpu_name();
  EXPECT_FALSE(name.empty());
  for (const char c : name) {
    EXPECT_TRUE(c >= ' ' && c <= '~' && c != '"' && c != '\\' && c != '|') << name;
  }
  EXPECT_EQ(name.find("  "), std::string::npos) << name;
  EXPECT_NE(name.front(), ' ');
  EXPECT_NE(name.back(), ' ');
#if defined(__x86_64__)
  unsigned family, model, stepping;
  const size_t at = name.rfind('(');
  ASSERT_NE(at, std::string::npos) << name;
  ASSERT_EQ(std::sscanf(name.c_str() + at, "(%u.%u.%u)", &family, &model, &stepping), 3) << name;
  EXPECT_GE(family, 6u) << name;
#endif
}

TEST(Tuned, ChoicesOfAKey) {
  const char* metadata =
      R"({"classes":["a"],"tuned":{"CPU 1|avx2|1":"ds-","CPU 1|avx2|12":"sss"},"x":1})";
  EXPECT_EQ(tuned_choices(metadata, "CPU 1|avx2|1", 3), "ds-");
  EXPECT_EQ(tuned_choices(metadata, "CPU 1|avx2|12", 3), "sss");
  EXPECT_EQ(tuned_choices(metadata, "CPU 1|avx2|2", 3), "");
  EXPECT_EQ(tuned_choices(metadata, "CPU|avx2|1", 3), "");
}

TEST(Tuned, ChoicesOfAnotherProgramAreNotUsed) {
  const char* metadata = R"({"tuned":{"CPU|avx2|1":"ds-"}})";
  for (const size_t operators : {0, 1, 2, 4, 100}) {
    EXPECT_EQ(tuned_choices(metadata, "CPU|avx2|1", operators), "") << operators;
  }
}

TEST(Tuned, OtherMetadataAreNotTaken) {
  // Inside a string, as the value of another kind, cut off.
  EXPECT_EQ(tuned_choices(R"({"note":"\"CPU|avx2|1\":\"ds-\""})", "CPU|avx2|1", 3), "");
  EXPECT_EQ(tuned_choices(R"({"tuned":{"CPU|avx2|1":["ds-"]}})", "CPU|avx2|1", 3), "");
  EXPECT_EQ(tuned_choices(R"({"tuned":{"CPU|avx2|1":"ds)", "CPU|avx2|1", 2), "");
  EXPECT_EQ(tuned_choices("", "CPU|avx2|1", 0), "");
}

}  // namespace
}  // namespace wbcq
