#include "tools/arguments.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace wbcq::tools {
namespace {

Result<Arguments> parse(std::vector<std::string> words) {
  std::vector<char*> argv = {nullptr};
  for (std::string& word : words) argv.push_back(word.data());
  return Arguments::parse(static_cast<int>(argv.size()), argv.data(), {"input", "threads"},
                          {"help"});
}

TEST(Arguments, OptionsSwitchesAndOperands) {
  const auto arguments = parse({"file", "--input", "a", "--help", "--input=b", "--threads=3"});
  ASSERT_TRUE(arguments.ok());
  EXPECT_EQ(arguments.value().operands(), std::vector<std::string>({"file"}));
  EXPECT_EQ(arguments.value().all("input"), std::vector<std::string>({"a", "b"}));
  EXPECT_EQ(arguments.value().text("input", ""), "b");
  EXPECT_TRUE(arguments.value().has("help"));
  EXPECT_EQ(arguments.value().number("threads", 1, 1, 8).value(), 3u);
}

TEST(Arguments, Defaults) {
  const auto arguments = parse({});
  EXPECT_TRUE(arguments.value().all("input").empty());
  EXPECT_EQ(arguments.value().text("input", "x"), "x");
  EXPECT_EQ(arguments.value().number("threads", 7, 1, 8).value(), 7u);
}

TEST(Arguments, RefusesUnknownAndMalformedOnes) {
  EXPECT_FALSE(parse({"--output", "x"}).ok());
  EXPECT_FALSE(parse({"--input"}).ok());
  EXPECT_FALSE(parse({"--help=1"}).ok());
  for (const char* value : {"", "x", "3x", "-1", "0", "9", "99999999999999999999999"}) {
    const auto arguments = parse({"--threads", value});
    ASSERT_TRUE(arguments.ok());
    EXPECT_FALSE(arguments.value().number("threads", 1, 1, 8).ok()) << value;
  }
}

}  // namespace
}  // namespace wbcq::tools
