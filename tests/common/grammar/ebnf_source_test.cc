// Grammars as text: every short text against a regular expression that means the same, and what is
// refused.
#include "common/grammar/ebnf_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cctype>
#include <regex>
#include <string>
#include <utility>
#include <vector>

#include "common/grammar/grammar.h"
#include "tests/common/grammar/test_vocabulary.h"

namespace pingti::grammar {
namespace {

using testing::HasSubstr;

// All texts of up to `length` of the letters.
std::vector<std::string> TextsOf(const std::string& letters, size_t length) {
  std::vector<std::string> texts{""};
  for (size_t begin = 0, i = 0; i < length; ++i) {
    const size_t end = texts.size();
    for (; begin < end; ++begin) {
      for (const char c : letters) texts.push_back(texts[begin] + c);
    }
  }
  return texts;
}

TEST(EbnfSource, GrammarsMeanWhatRegularExpressionsMean) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {R"(root ::= "a")", "a"},
      {R"(root ::= "ab" | "b" | "")", "ab|b|"},
      {R"(root ::= )", ""},
      {R"(root ::= "a" | )", "a|"},
      {R"(root ::= "a" "b"* "c"+)", "ab*c+"},
      {R"(root ::= ("a" | "b" "c")? "-")", "(a|bc)?-"},
      {R"(root ::= [ab]{2} | "c"{1,2} | "-"{3,})", "[ab]{2}|c{1,2}|-{3,}"},
      {R"(root ::= "a"{0} "b"{0,1} "c"{2,2})", "b?cc"},
      {R"(root ::= ("a" "b"){1,2} [^ab]?)", "(ab){1,2}[^ab]?"},
      {R"(root ::= [a-c] [-a] [a-])", "[a-c][-a][-a]"},
      {R"(root ::= . "a")", R"([\s\S]a)"},
      {R"(root ::= [\x61\]\-] "\x62\"" | "\\" | "\n")", "[a\\]\\-]b\"|\\\\|\n"},
      {R"(root ::= "a"*? | "b"+*)", "a*|b*"},
      {"root ::= x y # the rest is a comment: \"c\"\n  | \"-\"\nx ::= \"a\"\ny ::= x? \"b\"",
       "aa?b|-"},
      {"# first\n\ny ::= \"b\" | \"c\"\nroot ::= \"a\"\n  y\n  y\n", "a[bc][bc]"},
      {"root ::= some-rule_2 | root_b\nsome-rule_2::=\"a\"\nroot_b \t::= \"b\"", "a|b"},
      {"root::=\"a\"\r\n", "a"},
  };
  const std::vector<std::string> texts = TextsOf("abc-]\"\\\n", 3);
  for (const auto& [source, expression] : cases) {
    const auto grammar = CompileForTest(GrammarSource::Kind::kEbnf, source);
    ASSERT_TRUE(grammar.ok()) << source << ": " << grammar.status();
    const std::regex regex(expression);
    for (const std::string& text : texts) {
      ASSERT_EQ(Matches(*grammar, text), std::regex_match(text, regex)) << source << " / " << text;
    }
  }
}

TEST(EbnfSource, RulesCallThemselves) {
  const auto grammar =
      CompileForTest(GrammarSource::Kind::kEbnf, R"g(root ::= "" | "a" root "b" | "(" root ")")g");
  ASSERT_TRUE(grammar.ok()) << grammar.status();
  for (const char* yes : {"", "ab", "aabb", "()", "a()b", "(ab)"}) {
    EXPECT_TRUE(Matches(*grammar, yes)) << yes;
  }
  for (const char* no : {"a", "aab", "abb", "(", ")(", "a(b)"}) {
    EXPECT_FALSE(Matches(*grammar, no)) << no;
  }
}

TEST(EbnfSource, WhatLeadsNowhereIsNotBegun) {
  // No character is in [^\\x00-\\U0010ffff].
  for (const char* source : {R"(root ::= "a" [^\x00-\U0010ffff] | "b")",
                             "root ::= x none | \"b\"\nx ::= \"a\"\nnone ::= [^\\x00-\\U0010ffff]",
                             R"(root ::= ("ab" | "ac") "d" [^\x00-\U0010ffff] | "b" | "bad")"}) {
    const auto grammar = CompileForTest(GrammarSource::Kind::kEbnf, source);
    ASSERT_TRUE(grammar.ok()) << grammar.status();
    EXPECT_FALSE(Matcher(*grammar).Accept(1 + 'a').ok()) << source;
    EXPECT_TRUE(Matches(*grammar, "b")) << source;
  }
}

TEST(EbnfSource, CharactersBeyondAsciiAreOneCharacter) {
  const auto grammar = CompileForTest(GrammarSource::Kind::kEbnf,
                                      R"(root ::= "\u00e9" [\u4f60-\u4f61] "\U0001f600" . [^a])");
  ASSERT_TRUE(grammar.ok()) << grammar.status();
  EXPECT_TRUE(Matches(*grammar, "\u00e9\u4f61\U0001f600\u00e9\u00e9"));
  EXPECT_TRUE(Matches(*grammar, "\u00e9\u4f60\U0001f600ab"));
  EXPECT_FALSE(Matches(*grammar, "\u00e9\u4f62\U0001f600ab"));
  EXPECT_FALSE(Matches(*grammar, "\u00e9\u4f60\U0001f600aa"));
}

TEST(EbnfSource, RefusalsNameTheLineAndWhatIsExpected) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "expected a rule named 'root'"},
      {"a ::= \"b\"", "expected a rule named 'root'"},
      {"root ::= \"a\"\nroot ::= \"b\"", "line 2: rule 'root' is defined twice"},
      {"root ::= x", "rule 'x' is used but not defined"},
      {"root \"a\"", "line 1: expected a rule: name ::= ..."},
      {"::= \"a\"", "line 1: expected a rule"},
      {"root ::= \"a\"\n\n)", "line 3: expected '|', another rule or the end"},
      {"root ::= (\"a\"", "line 1: expected ')'"},
      {"root ::= \"a\n\"", "line 1: a literal has no closing"},
      {"root ::= \"a", "line 1: a literal has no closing"},
      {"root ::= [a", "a class has no closing"},
      {"root ::= [a\n]", "a class has no closing"},
      {"root ::= [a-", "a class has no closing"},
      {"root ::= [b-a]", "a range has its ends out of order"},
      {"root ::= *", "expected a literal, a class, a group or a name"},
      {"root ::= \"a\"{2,1}", "expected {n}, {n,} or {n,m} with n <= m <= 100000"},
      {"root ::= \"a\"{", "expected {n}"},
      {"root ::= \"a\"{}", "expected {n}"},
      {"root ::= \"a\"{,2}", "expected {n}"},
      {"root ::= \"a\"{1", "expected {n}"},
      {"root ::= \"a\"{100001}", "expected {n}"},
      {"root ::= \"a\"{1,100001}", "expected {n}"},
      {"root ::= \"\\q\"", "an escape is not known"},
      {"root ::= \"\\", "expected a character after"},
      {"root ::= \"\\x6\"", "an escape is no Unicode scalar value"},
      {"root ::= \"\\ud800\"", "an escape is no Unicode scalar value"},
      {"root ::= \"\\udfff\"", "an escape is no Unicode scalar value"},
      {"root ::= \"\\U00110000\"", "an escape is no Unicode scalar value"},
      {"root ::= \"\xff\"", "expected UTF-8"},
  };
  for (const auto& [source, message] : cases) {
    const auto grammar = CompileForTest(GrammarSource::Kind::kEbnf, source);
    EXPECT_THAT(std::string(grammar.status().message()), HasSubstr(message)) << source;
  }
  for (const char* source : {"root ::= \"\\ud7ff\\ue000\\U0010ffff\"", "root ::= \"a\"{0,3}"}) {
    EXPECT_TRUE(CompileForTest(GrammarSource::Kind::kEbnf, source).ok()) << source;
  }
}

TEST(EbnfSource, GroupsNestAsDeepAsTheLimit) {
  GrammarLimits limits;
  limits.max_nesting = 5;
  for (int depth = 0; depth <= 7; ++depth) {
    const std::string source = "root ::= " + std::string(static_cast<size_t>(depth), '(') +
                               "\"a\"" + std::string(static_cast<size_t>(depth), ')') + " (\"b\")";
    EXPECT_EQ(CompileForTest(GrammarSource::Kind::kEbnf, source, limits).ok(), depth <= 5) << depth;
  }
}

// A text that is nested more deeply than anybody means to is not gone along with for ever.
TEST(EbnfSource, RulesCallThemselvesUpToABound) {
  const auto grammar =
      CompileForTest(GrammarSource::Kind::kEbnf, "root ::= \"(\" root \")\" | \"x\"");
  ASSERT_TRUE(grammar.ok()) << grammar.status();
  for (const size_t depth : {1u, 100u, 500u, 520u, 2000u}) {
    const std::string text = std::string(depth, '(') + "x" + std::string(depth, ')');
    EXPECT_EQ(Matches(*grammar, text), depth <= 500) << depth;
  }
}

TEST(EbnfSource, RuleNamesHaveLettersDigitsAndTwoSigns) {
  for (char c = 0x20; c < 0x7f; ++c) {
    const std::string name = std::string("x") + c + "y";
    const std::string source = "root ::= " + name + "\n" + name + " ::= \"a\"";
    const bool is_expected =
        std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_';
    EXPECT_EQ(CompileForTest(GrammarSource::Kind::kEbnf, source).ok(), is_expected) << name;
  }
}

TEST(EbnfSource, ExpressionsNestAsDeepAsTheLimit) {
  GrammarLimits limits;
  limits.max_depth = 5;
  Grammar grammar(limits);
  ExprId expr = grammar.Literal("a");
  for (int depth = 2; depth <= 7; ++depth) {
    expr = grammar.Optional(expr);
    EXPECT_EQ(grammar.status().ok(), depth <= 5) << depth;
  }
}

}  // namespace
}  // namespace pingti::grammar
