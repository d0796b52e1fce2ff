// Flags say in people's words what they take and what is wrong with a value.
#include "tools/flag_checks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

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

TEST_F(FlagChecksTest, HelpNamesTheSpellingsAndNotHowTheyAreKept) {
  EXPECT_THAT(app_.help(), HasSubstr("--colour red|blue"));
  EXPECT_THAT(app_.help(), HasSubstr("POSITIVE"));
  EXPECT_THAT(app_.help(), Not(HasSubstr("->")));
}

}  // namespace
}  // namespace pingti::tools
