#include "tools/profile_table.h"

#include <gtest/gtest.h>

#include <sstream>
#include <string>
#include <vector>

namespace wbcq::tools {
namespace {

std::vector<std::string> words(const std::string& line) {
  std::istringstream stream(line);
  std::vector<std::string> found;
  for (std::string word; stream >> word;) found.push_back(word);
  return found;
}

std::vector<std::string> lines(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> found;
  for (std::string line; std::getline(stream, line);) found.push_back(line);
  return found;
}

const MachineLimits kLimits = {{"probe", 500.0}, {{1000, 100.0}, {100000, 50.0}}, 1};

TEST(ProfileTable, SetsEachOperatorBesideTheLimits) {
  const std::vector<ProfiledOp> ops = {
      {{"a.very.long.name.of.a.module.that.goes.on.and.on", "conv2d", "gemm", 2e-3, 500000000,
        1000},
       true},
      {{"pool", "max_pool2d", "max", 1e-3, 0, 10000000}, true},
      {{"island", "conv2d", "gemm_f32", 1e-3, 100000000, 10000}, false},
  };
  const std::vector<std::string> table = lines(profile_table(ops, kLimits));
  ASSERT_EQ(table.size(), 7u);
  // 250 GMAC/s of 500; 1000 bytes in 2 ms.
  EXPECT_EQ(words(table[1]), (std::vector<std::string>{ops[0].profile.name, "gemm", "2000.0",
                                                       "50.0", "250.0", "50.0", "0.0", "0.0"}));
  // 10 MB in 1 ms are 10 GB/s of the last bandwidth, which holds for all larger sizes.
  EXPECT_EQ(words(table[2]),
            (std::vector<std::string>{"pool", "max", "1000.0", "25.0", "10.0", "20.0"}));
  // A float operator has a speed, and no share of the int8 peak.
  EXPECT_EQ(words(table[3]), (std::vector<std::string>{"island", "gemm_f32", "1000.0", "25.0",
                                                       "100.0", "0.0", "0.0"}));
  EXPECT_EQ(words(table[4])[0], "all");
  EXPECT_EQ(words(table[4])[1], "4000.0");
  EXPECT_NE(table[5].find("peak: 500.0 GMAC/s (probe)"), std::string::npos);
  // 0.5 GMAC at 500 GMAC/s take 1 ms, of 4.
  EXPECT_EQ(table[6], "floor: 1.000 ms (int8 multiplications / peak), time / floor: 4.00");
  // Aligned: the microseconds end in one column.
  const size_t end = table[1].find("2000.0") + 6;
  for (size_t i = 2; i < 5; ++i) EXPECT_EQ(table[i].find("000.0") + 5, end) << table[i];
}

TEST(ProfileTable, ThreadsShareTheBytes) {
  const std::vector<ProfiledOp> ops = {{{"add", "add", "add", 1e-3, 0, 200000}, true}};
  MachineLimits limits = kLimits;
  limits.threads = 2;
  // Each thread has 100000 bytes: 50 GB/s, 100 together, of which 0.2 are used.
  EXPECT_EQ(words(lines(profile_table(ops, limits))[1]).back(), "0.2");
}

TEST(ProfileTable, NothingTakesNoTime) {
  const std::vector<ProfiledOp> ops = {{{"add", "add", "add", 0.0, 0, 8}, true}};
  const std::string table = profile_table(ops, kLimits);
  EXPECT_EQ(table.find("nan"), std::string::npos);
  EXPECT_EQ(table.find("inf"), std::string::npos);
  EXPECT_EQ(table.find("time / floor"), std::string::npos);
}

}  // namespace
}  // namespace wbcq::tools
