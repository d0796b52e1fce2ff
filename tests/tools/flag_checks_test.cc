// Flags say in people's words what they take and what is wrong with a value.
#include "tools/flag_checks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <limits>
#include <string>
#include <vector>

namespace pingti::tools {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

enum class Colour { kRed = 7, kBlue = 2 };

class FlagChecksTest : public ::testing::Test {
 protected:
  FlagChecksTest() {
    TakesOneOf<Colour>(app_.add_option("--colour", colour_, "Of the bicycle shed"),
                       {{"red", Colour::kRed}, {"blue", Colour::kBlue}});
    TakesOneOf<bool>(app_.add_option("--shed", is_large_, "How large"),
                     {{"small", false}, {"large", true}});
    app_.add_option("--count", counts_, "How many")->delimiter(',')->check(Positive());
    app_.add_option("--share", share_, "How much")->check(NonNegative());
    app_.add_option("--seed", seed_, "Which numbers")->check(Integer<int64_t>());
    app_.add_option("--url", url_, "Where")->transform(BaseUrl());
    app_.add_option("--api-key", api_key_, "Who")->check(ApiKey())->envname("FLAG_CHECKS_KEY");
  }

  // What is wrong with the arguments; empty: nothing.
  std::string Parse(const std::string& arguments) {
    try {
      app_.parse(arguments);
      return "";
    } catch (const CLI::ParseError& error) {
      return error.what();
    }
  }

  CLI::App app_;
  Colour colour_ = Colour::kRed;
  bool is_large_ = false;
  std::vector<int> counts_;
  double share_ = 1;
  int64_t seed_ = 0;
  std::string url_;
  std::string api_key_;
};

TEST_F(FlagChecksTest, SpellingsBecomeTheirValues) {
  EXPECT_EQ(Parse("--colour blue --shed large --count 1,3 --share 0"), "");
  EXPECT_EQ(colour_, Colour::kBlue);
  EXPECT_TRUE(is_large_);
  EXPECT_EQ(counts_, (std::vector<int>{1, 3}));
  EXPECT_EQ(share_, 0);
  EXPECT_EQ(Parse("--colour red --shed small"), "");
  EXPECT_EQ(colour_, Colour::kRed);
  EXPECT_FALSE(is_large_);
}

TEST_F(FlagChecksTest, AnErrorNamesTheFlagTheValueAndWhatWasExpected) {
  EXPECT_EQ(Parse("--colour green"), "--colour: 'green': expected one of red, blue");
  EXPECT_EQ(Parse("--colour 7"), "--colour: '7': expected one of red, blue");
  EXPECT_EQ(Parse("--count 2,0"), "--count: 0: expected a number above 0");
  EXPECT_EQ(Parse("--count=-1"), "--count: -1: expected a number above 0");
  EXPECT_EQ(Parse("--share=-0.5"), "--share: -0.5: expected a number of at least 0");
  EXPECT_EQ(Parse("--share x"), "--share: x: expected a number of at least 0");
  EXPECT_EQ(Parse("--share nan"), "--share: nan: expected a number of at least 0");
}

TEST_F(FlagChecksTest, AnIntegerIsTheOneThatIsWritten) {
  EXPECT_EQ(Parse("--seed=-9223372036854775808"), "");
  EXPECT_EQ(seed_, std::numeric_limits<int64_t>::min());
  for (const std::string text : {"9223372036854775808", "0x10", "1.5", "1e3"}) {
    EXPECT_EQ(Parse("--seed " + text),
              "--seed: " + text +
                  ": expected an integer from -9223372036854775808 to 9223372036854775807");
  }
}

TEST_F(FlagChecksTest, AServersAddressMayBeTheOneThatLibrariesTake) {
  for (const std::string end : {"", "/", "//", "/v1", "/v1/"}) {
    EXPECT_EQ(Parse("--url http://h:1/models" + end), "");
    EXPECT_EQ(url_, "http://h:1/models");
  }
  EXPECT_EQ(Parse("--url http://"), "");
  EXPECT_EQ(url_, "http://");
}

TEST_F(FlagChecksTest, AKeyThatNoHeaderCanCarryIsRefusedAndNotShown) {
  EXPECT_EQ(Parse("--api-key sk-1~x"), "");
  const std::string expected =
      "--api-key: expected printable ASCII characters, without a line's end";
  ::setenv("FLAG_CHECKS_KEY", "sk-2\n", 1);
  EXPECT_EQ(Parse(""), expected);
  ::setenv("FLAG_CHECKS_KEY", "sk-3\r\nX-Other: y", 1);
  EXPECT_EQ(Parse(""), expected);
  ::unsetenv("FLAG_CHECKS_KEY");
}

TEST_F(FlagChecksTest, HelpNamesTheSpellingsAndNotHowTheyAreKept) {
  EXPECT_THAT(app_.help(), HasSubstr("--colour red|blue"));
  EXPECT_THAT(app_.help(), HasSubstr("POSITIVE"));
  EXPECT_THAT(app_.help(), Not(HasSubstr("->")));
}

}  // namespace
}  // namespace pingti::tools
