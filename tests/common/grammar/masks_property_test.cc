// Masks against a naive matcher that knows every text of a small language: at every text that can
// be reached, exactly the tokens that lead to a beginning of one of its texts are allowed.
#include <gtest/gtest.h>

#include <random>
#include <set>
#include <string>
#include <vector>

#include "tests/common/grammar/test_vocabulary.h"

namespace pingti::grammar {
namespace {

constexpr size_t kMostTexts = 1500;

// A regular expression and all that it matches.
struct Language {
  std::string regex;
  std::set<std::string> texts;
};

class Languages {
 public:
  explicit Languages(uint32_t seed) : random_(seed) {}

  Language Make(int depth) {
    while (true) {
      Language made = Try(depth);
      if (made.texts.size() <= kMostTexts) return made;
    }
  }

 private:
  int Draw(int below) { return static_cast<int>(random_() % static_cast<uint32_t>(below)); }

  Language Try(int depth) {
    switch (depth == 0 ? 0 : Draw(4)) {
      case 0:
        return Leaf();
      case 1:
        return Join(Make(depth - 1), Make(depth - 1));
      case 2: {
        Language a = Make(depth - 1);
        Language b = Make(depth - 1);
        a.regex = "(" + a.regex + "|" + b.regex + ")";
        a.texts.merge(b.texts);
        return a;
      }
      default:
        return Repeat(Make(depth - 1));
    }
  }

  Language Leaf() {
    const std::string leaves[] = {"a", "b", "ab", "é", "[ab]", "aab"};
    const std::string& leaf = leaves[Draw(6)];
    if (leaf == "[ab]") return {leaf, {"a", "b"}};
    return {leaf, {leaf}};
  }

  static Language Join(const Language& a, const Language& b) {
    Language joined{a.regex + b.regex, {}};
    for (const std::string& left : a.texts) {
      for (const std::string& right : b.texts) {
        joined.texts.insert(left + right);
        if (joined.texts.size() > kMostTexts) return joined;
      }
    }
    return joined;
  }

  // Long ones count at run time, short ones are written out.
  Language Repeat(const Language& once) {
    const int min = Draw(4);
    const int max = min + (once.texts.size() == 1 ? Draw(60) : Draw(4));
    Language repeated{
        "(" + once.regex + "){" + std::to_string(min) + "," + std::to_string(max) + "}", {}};
    Language times{"", {""}};
    for (int i = 0; i <= max; ++i) {
      if (i >= min) repeated.texts.insert(times.texts.begin(), times.texts.end());
      times = Join(times, once);
      if (repeated.texts.size() > kMostTexts || times.texts.size() > kMostTexts) {
        repeated.texts.insert(times.texts.begin(), times.texts.end());
        return repeated;
      }
    }
    return repeated;
  }

  std::mt19937 random_;
};

std::set<std::string> Beginnings(const std::set<std::string>& texts) {
  std::set<std::string> beginnings;
  for (const std::string& text : texts) {
    for (size_t i = 0; i <= text.size(); ++i) beginnings.insert(text.substr(0, i));
  }
  return beginnings;
}

TEST(Masks, AllowExactlyWhatANaiveMatcherAllows) {
  const auto vocabulary = ByteVocabulary({"ab", "aa", "aab", "bb", "aaaaaaaa", "ba", "éa",
                                          "\xa9"
                                          "b",
                                          "aé", "abab"});
  int64_t masks = 0;
  std::set<uint32_t> ambiguous;  // read in more ways than are followed, and say so
  for (uint32_t seed = 1; seed <= 400; ++seed) {
    const Language language = Languages(seed).Make(3);
    SCOPED_TRACE(testing::Message() << "seed " << seed << ", " << language.regex);
    const auto compiled =
        CompileForTest(GrammarSource::Kind::kRegex, language.regex, {}, vocabulary);
    ASSERT_TRUE(compiled.ok()) << compiled.status();
    if (seed % 2 == 0)
      (*compiled)->Warm(*RealClock(), std::chrono::steady_clock::time_point::max());
    const std::set<std::string> beginnings = Beginnings(language.texts);
    std::set<std::string> seen{""};
    std::vector<std::pair<std::string, Matcher>> open{{"", Matcher(*compiled)}};
    while (!open.empty() && seen.size() < 400) {
      auto [text, matcher] = std::move(open.back());
      open.pop_back();
      std::vector<uint32_t> mask(vocabulary->mask_words());
      const absl::Status filled = matcher.FillMask(mask);
      if (ambiguous.contains(seed)) break;
      ASSERT_TRUE(filled.ok()) << text << filled;
      ++masks;
      for (int32_t token = 0; token < vocabulary->num_bits(); ++token) {
        const std::string next = text + std::string(vocabulary->bytes(token));
        const bool allowed =
            token == kTestEnd ? language.texts.contains(text) : beginnings.contains(next);
        ASSERT_EQ(IsSet(mask, token), allowed) << "'" << text << "' token " << token;
        Matcher copy = matcher;
        const absl::Status accepted = copy.Accept(token);
        if (absl::IsResourceExhausted(accepted)) {
          ambiguous.insert(seed);
          continue;
        }
        ASSERT_EQ(accepted.ok(), allowed) << "'" << text << "' token " << token;
        if (!allowed || token == kTestEnd || !seen.insert(next).second) continue;
        open.push_back({next, std::move(copy)});
      }
    }
  }
  EXPECT_GT(masks, 5000);
  EXPECT_LT(ambiguous.size(), 10u);
}

TEST(Masks, EmptyAndEndlessTokensAreNeverAllowed) {
  constexpr size_t kMost = 65'535;
  const auto vocabulary =
      ByteVocabulary({"", std::string(kMost, 'a'), "", std::string(kMost + 1, 'a'), "aa"});
  const auto compiled = CompileForTest(GrammarSource::Kind::kRegex, "a*", {}, vocabulary);
  ASSERT_TRUE(compiled.ok()) << compiled.status();
  std::vector<uint32_t> mask(vocabulary->mask_words());
  ASSERT_TRUE(Matcher(*compiled).FillMask(mask).ok());
  std::set<int32_t> allowed;
  for (int32_t token = 0; token < vocabulary->num_bits(); ++token) {
    if (IsSet(mask, token)) allowed.insert(token);
  }
  EXPECT_EQ(allowed, (std::set<int32_t>{kTestEnd, 1 + 'a', 258, 261}));
  EXPECT_FALSE(Matcher(*compiled).Accept(257).ok());
}

}  // namespace
}  // namespace pingti::grammar
