// The work of one mask is counted and bounded.
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <vector>

#include "tests/common/grammar/test_vocabulary.h"

namespace pingti::grammar {
namespace {

struct Outcome {
  bool whole;
  int64_t work;
  std::vector<uint32_t> mask;
};

Outcome FillOf(const CompiledGrammar& compiled, int64_t most_work) {
  Configurations configurations(&compiled.automaton());
  TokenMasks masks(&compiled.automaton(), &compiled.vocabulary());
  Outcome outcome;
  outcome.mask.resize(compiled.vocabulary().mask_words());
  const int64_t before = configurations.work();
  outcome.whole = masks.Fill(&configurations, configurations.start(), most_work, outcome.mask);
  outcome.work = configurations.work() - before;
  return outcome;
}

TEST(MaskBudget, EndsTheWorkWhereItIsSpentWhateverTheGrammar) {
  const auto vocabulary = LargeVocabulary();
  // The last step may go beyond: by one move, one state's words and its exits.
  constexpr int64_t kSlack = 500'000;
  for (const std::string regex : {"(.{1,500}){1,500}", "((.{1,50}){1,50}){1,50}", "(a*b*){1,400}",
                                  "(.{0,400}x){2,9}", "([a-m]{1,99}|[h-z]{1,99}){1,99}"}) {
    const auto compiled = CompileForTest(GrammarSource::Kind::kRegex, regex, {}, vocabulary);
    ASSERT_TRUE(compiled.ok()) << regex << compiled.status();
    for (const int64_t most : {int64_t{0}, int64_t{10'000}, int64_t{2'000'000}}) {
      const Outcome outcome = FillOf(**compiled, most);
      EXPECT_LE(outcome.work, most + kSlack) << regex;
      EXPECT_EQ(outcome.whole, outcome.work <= most) << regex;
    }
  }
}

TEST(MaskBudget, CountsTheSameEveryTimeAndIsWholeWithExactlyThatMuch) {
  const auto compiled =
      CompileForTest(GrammarSource::Kind::kRegex, "(a[b-f]{1,9}|x+){1,20}", {}, LargeVocabulary());
  ASSERT_TRUE(compiled.ok());
  const Outcome free = FillOf(**compiled, kMaskWork);
  ASSERT_TRUE(free.whole);
  const Outcome exact = FillOf(**compiled, free.work);
  EXPECT_TRUE(exact.whole);
  EXPECT_EQ(exact.work, free.work);
  EXPECT_EQ(exact.mask, free.mask);
  EXPECT_FALSE(FillOf(**compiled, free.work - 1).whole);
}

// The work is looked at after each piece of it: with exactly what a piece ends at, the next one is
// begun.
TEST(MaskBudget, NoMaskIsTakenForWholeWithLess) {
  const auto vocabulary = ByteVocabulary({"ab", "abab", "aab", "bb", "xab", "b]", "]]"});
  for (const std::string regex : {"(ab|x){1,40}b", "[ab]*", "(a{1,40}b{0,40}){2,50}", "a|bb"}) {
    const auto compiled = CompileForTest(GrammarSource::Kind::kRegex, regex, {}, vocabulary);
    ASSERT_TRUE(compiled.ok()) << regex << compiled.status();
    const Outcome free = FillOf(**compiled, kMaskWork);
    ASSERT_TRUE(free.whole);
    for (int64_t most = 0; most <= free.work;) {
      const Outcome outcome = FillOf(**compiled, most);
      ASSERT_EQ(outcome.whole, most == free.work) << regex << " with " << most;
      if (outcome.whole) {
        EXPECT_EQ(outcome.mask, free.mask) << regex;
        break;
      }
      ASSERT_GT(outcome.work, most);
      most = outcome.work;
    }
  }
}

TEST(MaskBudget, AWarmGrammarsMasksCostLittle) {
  constexpr int64_t kLittle = 20'000;
  const std::string schema =
      R"({"type":"object","properties":{"s":{"type":"string"},"l":{"type":"array","items":)"
      R"({"type":"string"}},"o":{}},"required":["s","l","o"]})";
  const std::string text = R"({"s":"ab","l": ["ab","c"],"o":[true,{"x": [null, -1.5]}]})";
  const auto compiled =
      CompileForTest(GrammarSource::Kind::kJsonSchema, schema, {}, LargeVocabulary());
  ASSERT_TRUE(compiled.ok()) << compiled.status();
  (*compiled)->Warm(*RealClock(), std::chrono::steady_clock::time_point::max());
  Matcher matcher(*compiled);
  std::vector<uint32_t> mask((*compiled)->vocabulary().mask_words());
  for (const char c : text) {
    EXPECT_TRUE(matcher.FillMask(mask, kLittle).ok()) << "at " << c;
    ASSERT_TRUE(matcher.Accept(1 + static_cast<uint8_t>(c)).ok()) << "at " << c;
  }
}

TEST(MaskBudget, HoldsAnyTextAndAnyJson) {
  const auto vocabulary = LargeVocabulary();
  for (const GrammarSource& source :
       {GrammarSource{GrammarSource::Kind::kRegex, "(.|\\n)*"},
        GrammarSource{GrammarSource::Kind::kJsonSchema, "{}"},
        GrammarSource{GrammarSource::Kind::kRegex, "([a-z ]{1,80}[.!?] ){1,40}"}}) {
    const auto compiled = CompileForTest(source.kind, source.text, {}, vocabulary);
    ASSERT_TRUE(compiled.ok()) << compiled.status();
    const Outcome outcome = FillOf(**compiled, kMaskWork);
    EXPECT_TRUE(outcome.whole) << source.text;
    EXPECT_LT(outcome.work, kMaskWork * 3 / 4) << source.text;
  }
}

}  // namespace
}  // namespace pingti::grammar
