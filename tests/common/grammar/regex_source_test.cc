// Regular expressions against texts that match and texts that do not, and what is refused.
#include "common/grammar/regex_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/common/grammar/test_vocabulary.h"

namespace pingti::grammar {
namespace {

using Kind = GrammarSource::Kind;

struct RegexCase {
  const char* pattern;
  std::vector<std::string> yes;
  std::vector<std::string> no;
};

TEST(RegexSource, MatchesWhatThePatternSays) {
  const std::vector<RegexCase> cases = {
      {"abc", {"abc"}, {"", "ab", "abcd", "xabc"}},
      {"a|bc|", {"a", "bc", ""}, {"b", "abc"}},
      {"a*b+c?", {"b", "aabbc", "bc"}, {"a", "ac", "bcc"}},
      {"(ab){2,3}", {"abab", "ababab"}, {"ab", "abababab", "aba"}},
      {"x{3}", {"xxx"}, {"xx", "xxxx"}},
      {"x{2,}", {"xx", "xxxxxxx"}, {"x", ""}},
      {"[a-cx\\]-]+", {"abc", "]-x"}, {"d", "", "a d"}},
      {"[^a-z]", {"A", "\n", "\xC3\xA9", "\xF0\x9F\x98\x80"}, {"a", "", "AB", "\xC3"}},
      {"\\d{2}\\.\\w\\s", {"12.a ", "00._\t"}, {"1.a ", "12xa ", "12.- "}},
      {".", {"x", "\xE4\xBD\xA0"}, {"\n", "", "xy"}},
      {"^a$", {"a"}, {"", "aa"}},
      {"(?:a|b)+?c", {"abac", "ac"}, {"c"}},
      {"\\u00e9\\x41\\t\\/",
       {"\xC3\xA9"
        "A\t/"},
       {"eA\t/"}},
      {"[\\u4e00-\\u9fff]{2}", {"\xE4\xBD\xA0\xE5\xA5\xBD"}, {"\xE4\xBD\xA0", "ab"}},
      {"(a*)*b", {"b", "aaab"}, {"a", ""}},
      {"(a?){3}", {"", "a", "aaa"}, {"aaaa"}},
      {"(a?b?){2,300}c", {"c", "abababc", "aac"}, {"abab"}},
      {"[a-f]{2,5000}", {"ab", "abcdefabcdef"}, {"a", "g"}},
  };
  for (const RegexCase& c : cases) {
    const auto grammar = CompileForTest(Kind::kRegex, c.pattern);
    ASSERT_TRUE(grammar.ok()) << c.pattern << ": " << grammar.status();
    for (const std::string& text : c.yes)
      EXPECT_TRUE(Matches(*grammar, text)) << c.pattern << " / " << text;
    for (const std::string& text : c.no)
      EXPECT_FALSE(Matches(*grammar, text)) << c.pattern << " / " << text;
  }
}

TEST(RegexSource, CountsLongRepeatsExactly) {
  const auto grammar = CompileForTest(Kind::kRegex, "([a-z][0-9]){300,400}!");
  ASSERT_TRUE(grammar.ok()) << grammar.status();
  const auto text = [](int count) {
    std::string result;
    for (int i = 0; i < count; ++i) result += "a1";
    return result + "!";
  };
  EXPECT_FALSE(Matches(*grammar, text(299)));
  EXPECT_TRUE(Matches(*grammar, text(300)));
  EXPECT_TRUE(Matches(*grammar, text(400)));
  EXPECT_FALSE(Matches(*grammar, text(401)));
  const auto unbounded = CompileForTest(Kind::kRegex, "([a-z][0-9]){300,}!");
  ASSERT_TRUE(unbounded.ok()) << unbounded.status();
  for (const int count : {0, 1, 2, 150, 298, 299, 300, 301, 1000}) {
    EXPECT_EQ(Matches(*unbounded, text(count)), count >= 300) << count;
  }
}

// Neither half of a surrogate pair has an encoding.
TEST(RegexSource, ClassesLeaveSurrogatesOut) {
  for (const char* pattern : {"[\\ud7ff-\\ue000]", "[^a]", ".", "\\W", "[^\\ue001-\\uffff]"}) {
    const auto grammar = CompileForTest(Kind::kRegex, pattern);
    ASSERT_TRUE(grammar.ok()) << grammar.status();
    for (const char* text : {"\xED\x9F\xBF", "\xEE\x80\x80"}) {
      EXPECT_TRUE(Matches(*grammar, text)) << pattern;
    }
    for (const char* text : {"\xED\xA0\x80", "\xED\xAF\xBF", "\xED\xB0\x80", "\xED\xBF\xBF"}) {
      EXPECT_FALSE(Matches(*grammar, text)) << pattern;
    }
  }
}

TEST(RegexSource, EscapesOfOneCharacterHaveTheirDigits) {
  for (const auto& [pattern, text] : std::vector<std::pair<std::string, std::string>>{
           {"\\0", std::string(1, '\0')},
           {"\\0a", std::string("\0a", 2)},
           {"\\u{0}", std::string(1, '\0')},
           {"\\u{41}", "A"},
           {"\\u{000041}", "A"},
           {"\\u{1F600}", "\xF0\x9F\x98\x80"},
           {"\\x411", "A1"},
           {"\\u00411", "A1"},
       }) {
    const auto grammar = CompileForTest(Kind::kRegex, pattern);
    ASSERT_TRUE(grammar.ok()) << pattern << ": " << grammar.status();
    EXPECT_TRUE(Matches(*grammar, text)) << pattern;
  }
  for (const char* pattern : {"\\01", "\\09", "\\1", "\\u{}", "\\u{0000041}", "\\u{41", "\\x4"}) {
    EXPECT_FALSE(CompileForTest(Kind::kRegex, pattern).ok()) << pattern;
  }
}

TEST(RegexSource, RefusesByName) {
  const std::vector<std::pair<const char*, const char*>> cases = {
      {"(?=a)b", "look-ahead"},
      {"(?<!a)b", "look-behind"},
      {"(a)\\1", "back reference"},
      {"\\bword", "word boundary"},
      {"\\p{L}", "Unicode property"},
      {"a^b", "'^'"},
      {"(a$)", "'$'"},
      {"[b-a]", "out of order"},
      {"\\ud800", "no Unicode scalar"},
      {"\\udfff", "no Unicode scalar"},
      {"\\x6", "no Unicode scalar"},
      {"\\u{110000}", "no Unicode scalar"},
      {"a{3,2}", "out of order"},
      {"(a", "within a group"},
      {"a)", "unmatched"},
      {"[a", "within a class"},
      {"*a", "quantifier of nothing"},
      {"a**", "second quantifier"},
      {"a{999999}", "100000"},
      {"\xFF", "UTF-8"}};
  for (const auto& [pattern, what] : cases) {
    const auto grammar = CompileForTest(Kind::kRegex, pattern);
    ASSERT_FALSE(grammar.ok()) << pattern;
    EXPECT_THAT(std::string(grammar.status().message()), testing::HasSubstr(what)) << pattern;
  }
}

TEST(RegexSource, AnEscapedCharacterIsItselfUnlessItIsALetterOrADigit) {
  const std::string known = "dDwWsSfnrtv0";
  for (char c = '!'; c <= '~'; ++c) {
    const auto grammar = CompileForTest(Kind::kRegex, std::string("\\") + c);
    const bool is_word = std::isalnum(static_cast<unsigned char>(c)) != 0;
    ASSERT_EQ(grammar.ok(), !is_word || known.find(c) != std::string::npos) << c;
    if (is_word) continue;
    for (char text = '!'; text <= '~'; ++text) {
      EXPECT_EQ(Matches(*grammar, std::string(1, text)), text == c) << c << text;
    }
  }
}

TEST(RegexSource, NamesOfGroupsAreNoPartOfTheText) {
  const auto grammar = CompileForTest(Kind::kRegex, "(?<first>a|b)-(?<x>c(?:d))");
  ASSERT_TRUE(grammar.ok()) << grammar.status();
  EXPECT_TRUE(Matches(*grammar, "a-cd"));
  EXPECT_TRUE(Matches(*grammar, "b-cd"));
  EXPECT_FALSE(Matches(*grammar, "first>a-cd"));
  EXPECT_FALSE(Matches(*grammar, "a-x>cd"));
}

TEST(RegexSource, APatternWhoseSubsetsDoubleKeepsFewStates) {
  const auto grammar = CompileForTest(Kind::kRegex, "(a|b)*a(a|b){12}");
  ASSERT_TRUE(grammar.ok()) << grammar.status();
  EXPECT_LT((*grammar)->automaton().num_states(), 1000);
  for (size_t at = 0; at < 20; ++at) {
    std::string text(20, 'b');
    text[at] = 'a';
    EXPECT_EQ(Matches(*grammar, text), at == 20 - 13) << at;
  }
}

TEST(RegexSource, GroupsNestAsDeepAsTheLimit) {
  GrammarLimits limits;
  limits.max_nesting = 5;
  for (size_t depth = 0; depth <= 7; ++depth) {
    const std::string pattern = std::string(depth, '(') + "a" + std::string(depth, ')') + "(b)";
    const auto grammar = CompileForTest(GrammarSource::Kind::kRegex, pattern, limits);
    EXPECT_EQ(grammar.ok(), depth <= 5) << pattern;
    if (depth > 5) {
      EXPECT_TRUE(absl::IsResourceExhausted(grammar.status())) << grammar.status();
    }
  }
}

}  // namespace
}  // namespace pingti::grammar
