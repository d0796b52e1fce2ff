// Random grammars of rules that call each other and themselves, against a naive reading of them:
// which short texts match, and which tokens may come next at each of their beginnings.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <set>
#include <string>
#include <vector>

#include "tests/common/grammar/test_vocabulary.h"

namespace pingti::grammar {
namespace {

constexpr size_t kComparedBytes = 6;  // of the texts that are compared
constexpr size_t kNumRules = 3;

// What an expression matches, as far as kComparedBytes show it.
struct Meaning {
  bool productive = false;  // some text matches, however long
  std::set<std::string> texts;
  std::set<std::string> beginnings;  // of texts of any length

  bool operator==(const Meaning&) const = default;

  void Add(const Meaning& other) {
    productive = productive || other.productive;
    texts.insert(other.texts.begin(), other.texts.end());
    beginnings.insert(other.beginnings.begin(), other.beginnings.end());
  }
};

Meaning TextMeaning(const std::string& text) {
  Meaning meaning{true, {}, {}};
  if (text.size() <= kComparedBytes) meaning.texts.insert(text);
  for (size_t i = 0; i <= std::min(text.size(), kComparedBytes); ++i) {
    meaning.beginnings.insert(text.substr(0, i));
  }
  return meaning;
}

std::set<std::string> Join(const std::set<std::string>& a, const std::set<std::string>& b) {
  std::set<std::string> joined;
  for (const std::string& left : a) {
    for (const std::string& right : b) {
      if (left.size() + right.size() <= kComparedBytes) joined.insert(left + right);
    }
  }
  return joined;
}

Meaning Join(const Meaning& a, const Meaning& b) {
  if (!a.productive || !b.productive) return {};
  Meaning joined{true, Join(a.texts, b.texts), Join(a.texts, b.beginnings)};
  joined.beginnings.insert(a.beginnings.begin(), a.beginnings.end());
  return joined;
}

struct Expression {
  enum class Kind { kText, kCall, kSequence, kChoice, kRepeat };
  Kind kind;
  std::string text;                  // kText
  size_t rule = 0;                   // kCall
  std::vector<Expression> children;  // the others
  int min = 0;                       // kRepeat
  int max = 0;                       // kRepeat; -1: any number

  std::string Source() const {
    if (kind == Kind::kText) return '"' + text + '"';
    if (kind == Kind::kCall) return rule == 0 ? "root" : "r" + std::to_string(rule);
    std::string source = "(";
    for (size_t i = 0; i < children.size(); ++i) {
      if (i > 0) source += kind == Kind::kChoice ? " | " : " ";
      source += children[i].Source();
    }
    source += ")";
    if (kind != Kind::kRepeat) return source;
    return source + "{" + std::to_string(min) + "," + (max < 0 ? "" : std::to_string(max)) + "}";
  }

  Meaning Evaluate(const std::vector<Meaning>& rules) const {
    if (kind == Kind::kText) return TextMeaning(text);
    if (kind == Kind::kCall) return rules[rule];
    if (kind == Kind::kRepeat) return EvaluateRepeat(children[0].Evaluate(rules));
    Meaning meaning = kind == Kind::kChoice ? Meaning() : TextMeaning("");
    for (const Expression& child : children) {
      const Meaning part = child.Evaluate(rules);
      if (kind == Kind::kChoice) {
        meaning.Add(part);
      } else {
        meaning = Join(meaning, part);
      }
    }
    return meaning;
  }

  Meaning EvaluateRepeat(const Meaning& once) const {
    Meaning meaning;
    Meaning times = TextMeaning("");
    for (int i = 0; max < 0 || i <= max; ++i) {
      const Meaning before = meaning;
      if (i >= min) meaning.Add(times);
      if (i > min && meaning == before) break;
      times = Join(times, once);
    }
    return meaning;
  }
};

class RulesMaker {
 public:
  explicit RulesMaker(uint32_t seed) : random_(seed) {}

  std::vector<Expression> Rules() {
    std::vector<Expression> rules;
    for (size_t i = 0; i < kNumRules; ++i) {
      rules.push_back({.kind = Expression::Kind::kChoice, .text = {}, .children = {Body(2)}});
      if (Below(3) > 0) rules.back().children.push_back(Text());
      // A rule of many bytes is called where a short one would be written out.
      if (Below(3) == 0) {
        rules.back().children.push_back(
            {.kind = Expression::Kind::kText, .text = std::string(70, 'c'), .children = {}});
      }
    }
    return rules;
  }

 private:
  size_t Below(size_t count) { return random_() % count; }

  Expression Text() {
    const char* texts[] = {"a", "b", "c", "a", "b", "ab", "", "ba"};
    return {.kind = Expression::Kind::kText, .text = texts[Below(8)], .children = {}};
  }

  Expression Call() {
    return {.kind = Expression::Kind::kCall, .text = {}, .rule = Below(kNumRules), .children = {}};
  }

  Expression Body(int depth) {
    const size_t kind = depth == 0 ? Below(3) : Below(8);
    if (kind <= 1) return Call();
    if (kind == 2) return Text();
    Expression made{.kind = Expression::Kind::kSequence, .text = {}, .children = {}};
    if (kind <= 5) {
      // A text first: most rules that call themselves at once are refused.
      if (Below(4) > 0) made.children.push_back(Text());
      for (size_t i = 0; i <= Below(3); ++i) made.children.push_back(Body(depth - 1));
    } else if (kind == 6) {
      made.kind = Expression::Kind::kChoice;
      for (size_t i = 0; i <= 1 + Below(2); ++i) made.children.push_back(Body(depth - 1));
    } else {
      made.kind = Expression::Kind::kRepeat;
      made.children.push_back(Body(depth - 1));
      made.min = static_cast<int>(Below(4));
      const int more[] = {0, 1, 2, 40};
      made.max = Below(4) == 0 ? -1 : made.min + more[Below(4)];
    }
    return made;
  }

  std::mt19937 random_;
};

std::string SourceOf(const std::vector<Expression>& rules) {
  std::string source;
  for (size_t i = 0; i < rules.size(); ++i) {
    source += (i == 0 ? "root" : "r" + std::to_string(i)) + " ::= " + rules[i].Source() + "\n";
  }
  return source;
}

Meaning MeaningOf(const std::vector<Expression>& rules) {
  std::vector<Meaning> meanings(rules.size());
  for (bool changed = true; changed;) {
    changed = false;
    for (size_t i = 0; i < rules.size(); ++i) {
      const Meaning next = rules[i].Evaluate(meanings);
      changed = changed || next != meanings[i];
      meanings[i] = next;
    }
  }
  return meanings[0];
}

// Compares at each beginning that a grammar allows, up to kComparedBytes. False: too ambiguous.
bool Compare(const std::shared_ptr<CompiledGrammar>& grammar, const Meaning& meaning) {
  const Vocabulary& vocabulary = grammar->vocabulary();
  std::set<std::string> seen{""};
  std::vector<std::pair<std::string, Matcher>> open{{"", Matcher(grammar)}};
  while (!open.empty()) {
    auto [text, matcher] = std::move(open.back());
    open.pop_back();
    EXPECT_EQ(matcher.can_end(), meaning.texts.contains(text)) << "'" << text << "'";
    std::vector<uint32_t> mask(vocabulary.mask_words());
    const absl::Status filled = matcher.FillMask(mask);
    if (absl::IsResourceExhausted(filled)) return false;
    EXPECT_TRUE(filled.ok()) << "'" << text << "': " << filled;
    for (int32_t token = 1; token < vocabulary.num_bits(); ++token) {
      const std::string next = text + std::string(vocabulary.bytes(token));
      if (next.size() > kComparedBytes) continue;
      const bool allowed = meaning.beginnings.contains(next);
      Matcher copy = matcher;
      EXPECT_EQ(IsSet(mask, token), allowed) << "'" << text << "' to '" << next << "'";
      if (!allowed && !IsSet(mask, token)) continue;
      const absl::Status accepted = copy.Accept(token);
      if (absl::IsResourceExhausted(accepted)) return false;
      EXPECT_EQ(accepted.ok(), allowed) << "'" << text << "' to '" << next << "'";
      if (testing::Test::HasFailure()) return true;
      if (seen.insert(next).second) open.push_back({next, std::move(copy)});
    }
  }
  return true;
}

TEST(RulesProperty, RecursiveRulesMatchWhatANaiveReadingSays) {
  const auto vocabulary = ByteVocabulary({"ab", "ba", "aab", "bb", "cc"});
  int num_compared = 0;
  for (uint32_t seed = 1; seed <= 400 && !HasFailure(); ++seed) {
    const std::vector<Expression> rules = RulesMaker(seed).Rules();
    SCOPED_TRACE(testing::Message() << "seed " << seed << "\n" << SourceOf(rules));
    const Meaning meaning = MeaningOf(rules);
    const auto grammar =
        CompileForTest(GrammarSource::Kind::kEbnf, SourceOf(rules), {}, vocabulary);
    if (!grammar.ok()) {
      const std::string message(grammar.status().message());
      EXPECT_THAT(message,
                  testing::HasSubstr(meaning.productive ? "refers to itself" : "no finite text"));
      continue;
    }
    EXPECT_TRUE(meaning.productive);
    num_compared += Compare(*grammar, meaning) ? 1 : 0;
  }
  EXPECT_GT(num_compared, 200);
}

}  // namespace
}  // namespace pingti::grammar
