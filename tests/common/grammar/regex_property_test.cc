// Random patterns against the standard library's ECMAScript expressions, over every short text.
#include <gtest/gtest.h>

#include <random>
#include <regex>
#include <string>
#include <vector>

#include "tests/common/grammar/test_vocabulary.h"

namespace pingti::grammar {
namespace {

constexpr std::string_view kAlphabet = "ab1_\n";
constexpr size_t kMostBytes = 4;

class PatternMaker {
 public:
  explicit PatternMaker(uint32_t seed) : random_(seed) {}

  // One of alternatives, up to `depth` groups deep.
  std::string Alternatives(int depth) {
    std::string pattern = Sequence(depth);
    while (Below(4) == 0) pattern += "|" + (Below(5) == 0 ? "" : Sequence(depth));
    return pattern;
  }

 private:
  size_t Below(size_t count) { return random_() % count; }
  std::string OneOf(const std::vector<std::string>& choices) {
    return choices[Below(choices.size())];
  }

  std::string Sequence(int depth) {
    std::string pattern;
    for (size_t i = 0; i <= Below(3); ++i) pattern += Quantified(depth);
    return pattern;
  }

  std::string Quantified(int depth) {
    std::string pattern = Atom(depth);
    if (Below(2) == 0) return pattern;
    pattern += OneOf({"*", "+", "?", "{0}", "{1}", "{2}", "{0,1}", "{1,2}", "{1,}", "{2,}", "{3,}",
                      "{0,}", "{2,3}", "{3,4}"});
    return pattern + OneOf({"", "", "?"});
  }

  std::string Atom(int depth) {
    if (depth > 0 && Below(3) == 0) {
      return OneOf({"(", "(?:"}) + Alternatives(depth - 1) + ")";
    }
    if (Below(3) == 0) {
      std::string set = OneOf({"[", "[^"});
      for (size_t i = 0; i <= Below(3); ++i) {
        set += OneOf({"a", "b", "1", "_", "a-b", "0-9", "A-a", "\\d", "\\w", "\\s", "\\n", "\\x61",
                      "\\u0062", "\\-", "\\]", "a^"});
      }
      return set + "]";
    }
    return OneOf({"a", "b", "1", "_", ".", "\\d", "\\D", "\\w", "\\W", "\\s", "\\S", "\\n", "\\x61",
                  "\\u0031", "\\.", "\\*"});
  }

  std::mt19937 random_;
};

TEST(RegexProperty, PatternsMatchWhatEcmaScriptSays) {
  std::vector<std::string> texts = {""};
  for (size_t i = 0; i < texts.size(); ++i) {
    if (texts[i].size() == kMostBytes) break;
    for (const char c : kAlphabet) texts.push_back(texts[i] + c);
  }
  int num_patterns = 0;
  for (uint32_t seed = 1; seed <= 150; ++seed) {
    const std::string pattern = PatternMaker(seed).Alternatives(2);
    const std::regex expected(pattern, std::regex::ECMAScript);
    const auto grammar = CompileForTest(GrammarSource::Kind::kRegex, pattern);
    ASSERT_TRUE(grammar.ok()) << pattern << ": " << grammar.status();
    int num_matches = 0;
    for (const std::string& text : texts) {
      const bool matches = std::regex_match(text, expected);
      num_matches += matches ? 1 : 0;
      ASSERT_EQ(Matches(*grammar, text), matches) << "/" << pattern << "/ on '" << text << "'";
    }
    num_patterns += num_matches > 0 ? 1 : 0;
  }
  EXPECT_GT(num_patterns, 100);
}

}  // namespace
}  // namespace pingti::grammar
