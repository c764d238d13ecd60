#include "format/message.h"

#include <gtest/gtest.h>

namespace wbcq::format {
namespace {

TEST(Message, Cat) {
  EXPECT_EQ(cat("op ", 12, ": scale is ", 0.5f, ", size ", uint64_t{1} << 40),
            "op 12: scale is 0.5, size 1099511627776");
  EXPECT_EQ(cat(), "");
}

TEST(Message, QuotedMakesControlCharactersVisible) {
  EXPECT_EQ(quoted_name("layer1.0.conv1"), "'layer1.0.conv1'");
  EXPECT_EQ(quoted_name("a\x1b[31m\n"), "'a\\x1b[31m\\x0a'");
  EXPECT_EQ(quoted_name("Leukozyt \xc3\xa4"), "'Leukozyt \xc3\xa4'");
  EXPECT_EQ(quoted_name("\xff"), "'\\xff'");
  EXPECT_LT(quoted_name(std::string(5000, 'x')).size(), 200u);
}

TEST(Message, Utf8) {
  for (const char* good : {"", "abc", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf",
                           "\xee\x80\x80", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"}) {
    EXPECT_TRUE(is_utf8(good)) << quoted_name(good);
  }
  for (const char* bad :
       {"\x80", "\xc0\x80", "\xc1\xbf", "\xc2", "\xc2\x41", "\xe0\x9f\xbf", "\xed\xa0\x80",
        "\xe2\x82", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "ok\xff"}) {
    EXPECT_FALSE(is_utf8(bad)) << quoted_name(bad);
  }
}

}  // namespace
}  // namespace wbcq::format
