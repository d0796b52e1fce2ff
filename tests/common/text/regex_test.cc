// What patterns of tokenizers match: classes of characters and brackets within them.
#include "common/text/regex.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace pingti::text {
namespace {

// The matches in `text`, also of an interpreted pattern, which must give the same.
std::vector<std::string> MatchesOf(std::string_view pattern, std::string_view text) {
  std::vector<std::vector<std::string>> found;
  for (const auto engine : {Regex::Engine::kCompiled, Regex::Engine::kInterpreted}) {
    const auto regex = Regex::Compile(pattern, engine);
    EXPECT_TRUE(regex.ok()) << pattern << ": " << regex.status();
    if (!regex.ok()) return {};
    RegexScratch scratch;
    std::vector<std::string>& matches = found.emplace_back();
    EXPECT_TRUE(regex
                    ->FindAll(text, &scratch,
                              [&](Regex::Span span) {
                                matches.emplace_back(
                                    text.substr(span.begin, span.end - span.begin));
                                return absl::OkStatus();
                              })
                    .ok());
  }
  EXPECT_EQ(found[0], found[1]) << pattern;
  return found[0];
}

using Texts = std::vector<std::string>;

TEST(RegexTest, ABracketThatOpensAClassIsAMember) {
  EXPECT_EQ(MatchesOf("[]a]+", "b]ab]"), (Texts{"]a", "]"}));
  EXPECT_EQ(MatchesOf("[^]a]+", "b]abc]"), (Texts{"b", "bc"}));
  EXPECT_EQ(MatchesOf("[a]]", "a]aa]"), (Texts{"a]", "a]"}));
  EXPECT_EQ(MatchesOf("[^a]b", "ab^bxb"), (Texts{"^b", "xb"}));
  EXPECT_EQ(MatchesOf("[a^]+", "a^b^"), (Texts{"a^", "^"}));
  EXPECT_EQ(MatchesOf("[[a]+", "b[ab["), (Texts{"[a", "["}));
  EXPECT_EQ(MatchesOf("[\\]a]+", "]ab"), (Texts{"]a"}));
  EXPECT_FALSE(Regex::Compile("[").ok());
  EXPECT_FALSE(Regex::Compile("[^").ok());
  EXPECT_FALSE(Regex::Compile("[]").ok());
  EXPECT_FALSE(Regex::Compile("\\").ok());
}

TEST(RegexTest, ClassesOfCharactersAreThoseOfUnicode) {
  // U+0085 and U+3000 are white space, U+180E is not; U+0663 is a decimal digit, U+00B2 is not.
  EXPECT_EQ(MatchesOf("\\s+", "a \u0085b\u3000c\u180e"), (Texts{" \u0085", "\u3000"}));
  EXPECT_EQ(MatchesOf("\\S+", "a \u180e"), (Texts{"a", "\u180e"}));
  EXPECT_EQ(MatchesOf("\\d+", "1\u0663\u00b2"), (Texts{"1\u0663"}));
  EXPECT_EQ(MatchesOf("\\D+", "1\u0663\u00b2"), (Texts{"\u00b2"}));
  EXPECT_EQ(MatchesOf("\\w+", "a_1\u00b2-\u00e9"), (Texts{"a_1\u00b2", "\u00e9"}));
  EXPECT_EQ(MatchesOf("[\\w-]+", "a_1-b c"), (Texts{"a_1-b", "c"}));
  EXPECT_EQ(MatchesOf("[^\\s\\d]+", "ab 1c"), (Texts{"ab", "c"}));
}

TEST(RegexTest, WhiteSpaceBeforeTheEndIsFoundOnce) {
  EXPECT_EQ(MatchesOf("\\s+$", "a  b \t "), (Texts{" \t "}));
  EXPECT_EQ(MatchesOf("\\s+$", "a  b"), Texts());
}

TEST(RegexTest, AVisitorsErrorEndsTheSearch) {
  const auto regex = Regex::Compile("a");
  ASSERT_TRUE(regex.ok());
  RegexScratch scratch;
  int visits = 0;
  const absl::Status status = regex->FindAll("aaa", &scratch, [&](Regex::Span span) {
    EXPECT_EQ(span.end, span.begin + 1);
    return ++visits == 2 ? absl::CancelledError("enough") : absl::OkStatus();
  });
  EXPECT_EQ(status, absl::CancelledError("enough"));
  EXPECT_EQ(visits, 2);
}

TEST(RegexTest, WhatIsEscapedMatchesItself) {
  std::string all;
  for (char c = ' '; c < 0x7F; ++c) all += c;
  EXPECT_EQ(MatchesOf(EscapeForRegex(all), "x" + all + "y"), Texts{all});
}

}  // namespace
}  // namespace pingti::text
