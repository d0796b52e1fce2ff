// How the word patterns of the families cut, and how many steps they may take.
#include "common/text/pre_tokenizer.h"

#include <gtest/gtest.h>

#include "common/text/patterns.h"

namespace pingti::text {
namespace {

using Words = std::vector<std::string>;

constexpr const char* kFamilies[] = {"gpt-2",        "smollm",         "llama-bpe",   "qwen2",
                                     "deepseek-llm", "deepseek-coder", "deepseek-v3", "falcon"};

Words Cut(const PreTokenizer& pre_tokenizer, std::string_view text, bool starts_text = true) {
  Words words;
  RegexScratch regex;
  const absl::Status status = pre_tokenizer.Apply(
      {text, starts_text}, &regex, [&](std::string_view word) { words.emplace_back(word); });
  EXPECT_TRUE(status.ok()) << status;
  return words;
}

Words CutAs(std::string_view family, std::string_view text) {
  const auto rules = MakeFamilyRules(family);
  EXPECT_TRUE(rules.ok()) << rules.status();
  return Cut(rules->pre_tokenizer, text);
}

std::unique_ptr<PreTokenizerStep> Split(const char* pattern, SplitBehavior behavior) {
  return SplitByRegex(*Regex::Compile(pattern), behavior, /*invert=*/false);
}

TEST(PreTokenizerTest, FamiliesCutWordsDigitsAndSpacesTheirWay) {
  const char* text = "I'll  pay 1234 x\n\n";
  EXPECT_EQ(CutAs("gpt-2", text), (Words{"I", "'ll", " ", " pay", " 1234", " x", "\n\n"}));
  EXPECT_EQ(CutAs("smollm", text),
            (Words{"I", "'ll", " ", " pay", " ", "1", "2", "3", "4", " x", "\n\n"}));
  EXPECT_EQ(CutAs("llama-bpe", text),
            (Words{"I", "'ll", " ", " pay", " ", "123", "4", " x", "\n\n"}));
  EXPECT_EQ(CutAs("qwen2", text),
            (Words{"I", "'ll", " ", " pay", " ", "1", "2", "3", "4", " x", "\n\n"}));
  EXPECT_EQ(CutAs("deepseek-llm", text),
            (Words{"I", "'", "ll", " ", " pay", " ", "1", "2", "3", "4", " x", "\n", "\n"}));
  EXPECT_EQ(CutAs("deepseek-coder", text),
            (Words{"I", "'", "ll", " ", " pay", " ", "1", "2", "3", "4", " x", "\n", "\n"}));
  EXPECT_EQ(CutAs("deepseek-v3", text),
            (Words{"I", "'ll", " ", " pay", " ", "123", "4", " x", "\n\n"}));
  EXPECT_EQ(CutAs("falcon", text),
            (Words{"I", "'", "ll", " ", " pay", " ", "123", "4", " x", "\n\n"}));
}

TEST(PreTokenizerTest, FamiliesKeepEastAsianTextWithLettersOrApart) {
  const char* text = "x\u4f60\u597dy\u3042";
  for (const char* family : {"gpt-2", "smollm", "llama-bpe", "qwen2"}) {
    EXPECT_EQ(CutAs(family, text), Words{text}) << family;
  }
  for (const char* family : {"deepseek-llm", "deepseek-coder", "deepseek-v3"}) {
    EXPECT_EQ(CutAs(family, text), (Words{"x", "\u4f60\u597d", "y", "\u3042"})) << family;
  }
}

TEST(PreTokenizerTest, WordsJoinedAgainAreTheText) {
  const std::string text =
      "a\u4f60\u597d b1\u0661 \t\n\r\n  \u00a0\u2028x' 'S\u0301\u200d\U0001f600--\x01 ";
  for (const char* family : kFamilies) {
    std::string joined;
    for (const std::string& word : CutAs(family, text)) joined += word;
    EXPECT_EQ(joined, text) << family;
  }
}

TEST(PreTokenizerTest, LongRunsAreCutWithoutLossOrLimit) {
  constexpr size_t kLength = 100'000;
  Words texts;
  for (const char* unit : {" ", "\n", "\t \n", "a", "7", "'", "_=", "\u3000", "\u0301", "\u4f60"}) {
    std::string run;
    while (run.size() < kLength) run += unit;
    texts.insert(texts.end(), {run, run + "x", run + "\u4f60", "x" + run + "\u00a0."});
  }
  for (const char* family : kFamilies) {
    for (const std::string& text : texts) {
      size_t bytes = 0;
      for (const std::string& word : CutAs(family, text)) bytes += word.size();
      EXPECT_EQ(bytes, text.size()) << family;
    }
  }
}

TEST(PreTokenizerTest, WhiteSpaceBeforeOtherTextIsNotTriedFromEachOfItsPlaces) {
  // Trying would take an interpreter some 10^11 steps here and run into the test's timeout.
  const std::string text = std::string(500'000, ' ') + "\u4f60";
  const auto regex = Regex::Compile("\\s+$", Regex::Engine::kInterpreted);
  ASSERT_TRUE(regex.ok()) << regex.status();
  RegexScratch scratch;
  size_t matches = 0;
  const absl::Status status = regex->FindAll(text, &scratch, [&](Regex::Span) {
    ++matches;
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(matches, 0u);
}

TEST(PreTokenizerTest, WhiteSpaceAtTheEndsOfLinesIsFoundAsThePatternSays) {
  PreTokenizer pre_tokenizer;
  pre_tokenizer.Add(Split("\\s+$", SplitBehavior::kIsolated));
  EXPECT_EQ(Cut(pre_tokenizer, "a  b \n c  "), (Words{"a  b", " ", "\n c", "  "}));
  EXPECT_EQ(Cut(pre_tokenizer, " \n\n x"), (Words{" \n", "\n x"}));
  EXPECT_EQ(Cut(pre_tokenizer, "   "), (Words{"   "}));
}

TEST(PreTokenizerTest, AWordReachesTheEndBeforeTheNextIsCut) {
  // A prefix is put in front of each word in a buffer that lives until the word is done.
  PreTokenizer pre_tokenizer;
  pre_tokenizer.Add(Split(",", SplitBehavior::kRemoved));
  pre_tokenizer.Add(PrefixSpace());
  pre_tokenizer.Add(Split("[0-9]", SplitBehavior::kMergedWithPrevious));
  EXPECT_EQ(Cut(pre_tokenizer, "a1b,c2,,3"), (Words{" a1", "b", " c2", " 3"}));
}

TEST(PreTokenizerTest, OnlyTheWordAtTheVeryStartIsTheFirst) {
  PreTokenizer pre_tokenizer;
  pre_tokenizer.Add(Split(",", SplitBehavior::kRemoved));
  pre_tokenizer.Add(Metaspace("_", MetaspacePrepend::kFirst, true));
  EXPECT_EQ(Cut(pre_tokenizer, "a b,c"), (Words{"_a", "_b", "c"}));
  EXPECT_EQ(Cut(pre_tokenizer, ",c"), (Words{"c"}));
  EXPECT_EQ(Cut(pre_tokenizer, "a", /*starts_text=*/false), (Words{"a"}));
  EXPECT_EQ(Cut(pre_tokenizer, ""), Words{});
}

}  // namespace
}  // namespace pingti::text
