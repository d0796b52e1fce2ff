// The rules of JSON text (RFC 8259) that constraints are put together from.
//
// White space: none, or one space after '{', '[', ',' and ':' and before '}' and ']'. Numbers have
// bounded digits (kMaxIntegerDigits and so on), so that a text cannot go on in one for ever and
// every reader can hold it. Thread-compatible.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/grammar/grammar.h"

namespace pingti::grammar {

inline constexpr int32_t kMaxIntegerDigits = 18;
inline constexpr int32_t kMaxFractionDigits = 17;
inline constexpr int32_t kMaxExponentDigits = 2;

// Makes each rule when it is first asked for.
class JsonRules {
 public:
  explicit JsonRules(Grammar* grammar) : grammar_(grammar) {}

  ExprId Space() { return grammar_->Optional(grammar_->Literal(" ")); }
  ExprId Comma() { return grammar_->Sequence({grammar_->Literal(","), Space()}); }
  ExprId Any();
  ExprId AnyObject();
  ExprId AnyArray();
  ExprId AnyString();
  ExprId Number();
  ExprId Integer();
  ExprId Boolean();
  ExprId Null() { return grammar_->Literal("null"); }

  // Any character of a string, however it is escaped; without the quotes.
  ExprId StringChar();
  // The members of `chars` in their shortest spelling: as they are, or escaped where they must be.
  ExprId SpelledChars(const CharClass& chars);
  // Everything that may stand in a string unescaped.
  static const CharClass& RawChars();

  ExprId Quoted(ExprId content);
  // '"name"', ':' and the value.
  ExprId Member(std::string_view name, ExprId value);
  ExprId MemberOf(ExprId quoted_name, ExprId value);
  // Braces around a List of members.
  ExprId Object(std::vector<Grammar::ListElement> members);
  // Brackets around `first` elements and at least `min_more` and at most `max_more` (kUnbounded)
  // further ones like `rest`. Elements of `first` beyond `min_first` may be missing at the end.
  ExprId Array(const std::vector<ExprId>& first, int32_t min_first, ExprId rest, int32_t min_more,
               int32_t max_more);

 private:
  ExprId Shared(RuleId* rule, const char* name, ExprId (JsonRules::*body)());
  ExprId AnyBody();
  ExprId ObjectBody();
  ExprId ArrayBody();
  ExprId StringBody();
  ExprId NumberBody();
  ExprId IntegerBody();
  ExprId CharBody();
  ExprId Digits(char32_t first, int32_t min, int32_t max);

  Grammar* const grammar_;
  RuleId any_ = -1;
  RuleId object_ = -1;
  RuleId array_ = -1;
  RuleId string_ = -1;
  RuleId number_ = -1;
  RuleId integer_ = -1;
  RuleId char_ = -1;
};

// A JSON string with its quotes: escapes only what must be escaped.
std::string QuoteJson(std::string_view text);

}  // namespace pingti::grammar
