// See json_rules.h.
#include "common/grammar/json_rules.h"

#include <utility>

namespace pingti::grammar {
namespace {

struct ShortEscape {
  char value;
  std::string_view spelling;
};
constexpr ShortEscape kShortEscapes[] = {{'"', "\\\""}, {'\\', "\\\\"}, {'\b', "\\b"},
                                         {'\f', "\\f"}, {'\n', "\\n"},  {'\r', "\\r"},
                                         {'\t', "\\t"}};

// The escape of a character that cannot stand as it is.
std::string EscapeOf(char32_t value) {
  for (const ShortEscape& escape : kShortEscapes) {
    if (static_cast<char32_t>(escape.value) == value) return std::string(escape.spelling);
  }
  constexpr char kHex[] = "0123456789abcdef";
  return std::string("\\u00") + kHex[value >> 4 & 15] + kHex[value & 15];
}

CharClass HexDigits() { return CharClass{{'0', '9'}, {'a', 'f'}, {'A', 'F'}}; }

}  // namespace

std::string QuoteJson(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    const uint8_t byte = static_cast<uint8_t>(c);
    if (byte < 0x20 || c == '"' || c == '\\') {
      out += EscapeOf(byte);
    } else {
      out += c;
    }
  }
  return out + '"';
}

const CharClass& JsonRules::RawChars() {
  static const CharClass raw = CharClass{{0, 0x1F}, {'"', '"'}, {'\\', '\\'}}.Complement();
  return raw;
}

ExprId JsonRules::Shared(RuleId* rule, const char* name, ExprId (JsonRules::*body)()) {
  if (*rule < 0) {
    *rule = grammar_->AddRule(name, true);
    const ExprId made = (this->*body)();
    grammar_->SetBody(*rule, made);
  }
  return grammar_->Call(*rule);
}

ExprId JsonRules::Any() { return Shared(&any_, "JSON value", &JsonRules::AnyBody); }
ExprId JsonRules::AnyObject() { return Shared(&object_, "JSON object", &JsonRules::ObjectBody); }
ExprId JsonRules::AnyArray() { return Shared(&array_, "JSON array", &JsonRules::ArrayBody); }
ExprId JsonRules::AnyString() { return Shared(&string_, "JSON string", &JsonRules::StringBody); }
ExprId JsonRules::Number() { return Shared(&number_, "JSON number", &JsonRules::NumberBody); }
ExprId JsonRules::Integer() { return Shared(&integer_, "JSON integer", &JsonRules::IntegerBody); }
ExprId JsonRules::StringChar() { return Shared(&char_, "JSON character", &JsonRules::CharBody); }

ExprId JsonRules::Boolean() {
  return grammar_->Choice({grammar_->Literal("true"), grammar_->Literal("false")});
}

ExprId JsonRules::AnyBody() {
  return grammar_->Choice({AnyObject(), AnyArray(), AnyString(), Number(), Boolean(), Null()});
}

ExprId JsonRules::ObjectBody() {
  const ExprId member = MemberOf(AnyString(), Any());
  const ExprId more = grammar_->Repeat(grammar_->Sequence({Comma(), member}), 0, kUnbounded);
  return Object({{grammar_->Sequence({member, more}), false}});
}

ExprId JsonRules::ArrayBody() { return Array({}, 0, Any(), 0, kUnbounded); }

ExprId JsonRules::StringBody() { return Quoted(grammar_->Repeat(CharBody(), 0, kUnbounded)); }

ExprId JsonRules::CharBody() {
  Grammar& g = *grammar_;
  const auto hex = [&](int32_t count) { return g.Repeat(g.Class(HexDigits()), count, count); };
  CharClass not_d = HexDigits().Intersect(CharClass{{'d', 'd'}, {'D', 'D'}}.Complement());
  const ExprId d = g.Class(CharClass{{'d', 'd'}, {'D', 'D'}});
  const ExprId high = g.Sequence({d, g.Class({{'8', '9'}, {'a', 'b'}, {'A', 'B'}}), hex(2)});
  const ExprId low = g.Sequence({d, g.Class({{'c', 'f'}, {'C', 'F'}}), hex(2)});
  // Surrogates only in pairs, which are one character.
  const ExprId unicode =
      g.Sequence({g.Literal("u"), g.Choice({g.Sequence({g.Class(std::move(not_d)), hex(3)}),
                                            g.Sequence({d, g.Class({{'0', '7'}}), hex(2)}),
                                            g.Sequence({high, g.Literal("\\u"), low})})});
  const ExprId simple = g.Class({{'"', '"'},
                                 {'\\', '\\'},
                                 {'/', '/'},
                                 {'b', 'b'},
                                 {'f', 'f'},
                                 {'n', 'n'},
                                 {'r', 'r'},
                                 {'t', 't'}});
  return g.Choice(
      {g.Class(RawChars()), g.Sequence({g.Literal("\\"), g.Choice({simple, unicode})})});
}

ExprId JsonRules::Digits(char32_t first, int32_t min, int32_t max) {
  return grammar_->Repeat(grammar_->Class({{first, '9'}}), min, max);
}

ExprId JsonRules::IntegerBody() {
  Grammar& g = *grammar_;
  return g.Sequence(
      {g.Optional(g.Literal("-")),
       g.Choice({g.Literal("0"),
                 g.Sequence({Digits('1', 1, 1), Digits('0', 0, kMaxIntegerDigits - 1)})})});
}

ExprId JsonRules::NumberBody() {
  Grammar& g = *grammar_;
  const ExprId fraction = g.Sequence({g.Literal("."), Digits('0', 1, kMaxFractionDigits)});
  const ExprId exponent =
      g.Sequence({g.Class({{'e', 'e'}, {'E', 'E'}}), g.Optional(g.Class({{'+', '+'}, {'-', '-'}})),
                  Digits('0', 1, kMaxExponentDigits)});
  return g.Sequence({IntegerBody(), g.Optional(fraction), g.Optional(exponent)});
}

ExprId JsonRules::SpelledChars(const CharClass& chars) {
  std::vector<ExprId> choices{grammar_->Class(chars.Intersect(RawChars()))};
  for (char32_t value = 0; value <= '\\'; ++value) {
    if (RawChars().Contains(value) || !chars.Contains(value)) continue;
    choices.push_back(grammar_->Literal(EscapeOf(value)));
  }
  return grammar_->Choice(std::move(choices));
}

ExprId JsonRules::Quoted(ExprId content) {
  return grammar_->Sequence({grammar_->Literal("\""), content, grammar_->Literal("\"")});
}

ExprId JsonRules::Member(std::string_view name, ExprId value) {
  return MemberOf(grammar_->Literal(QuoteJson(name)), value);
}

ExprId JsonRules::MemberOf(ExprId quoted_name, ExprId value) {
  return grammar_->Sequence({quoted_name, grammar_->Literal(":"), Space(), value});
}

ExprId JsonRules::Object(std::vector<Grammar::ListElement> members) {
  const ExprId list = grammar_->List(std::move(members), Comma());
  return grammar_->Sequence(
      {grammar_->Literal("{"), Space(), list, Space(), grammar_->Literal("}")});
}

ExprId JsonRules::Array(const std::vector<ExprId>& first, int32_t min_first, ExprId rest,
                        int32_t min_more, int32_t max_more) {
  Grammar& g = *grammar_;
  const ExprId nothing = g.Literal("");
  // What may follow the elements of `first`, then what may follow the one before, and so on.
  ExprId tail = nothing;
  const bool has_first = !first.empty();
  if (max_more != 0) {
    // It stands twice below: as a rule, so that arrays in arrays do not double each time.
    const RuleId element = g.AddRule("array element");
    g.SetBody(element, rest);
    rest = g.Call(element);
    const int32_t one_less = max_more == kUnbounded ? kUnbounded : max_more - 1;
    if (has_first) {
      tail = g.Repeat(g.Sequence({Comma(), rest}), min_more, max_more);
    } else {
      tail = g.Sequence(
          {rest, g.Repeat(g.Sequence({Comma(), rest}), min_more > 0 ? min_more - 1 : 0, one_less)});
      if (min_more == 0) tail = g.Optional(tail);
    }
  }
  for (size_t i = first.size(); i-- > 0;) {
    std::vector<ExprId> parts;
    if (i > 0) parts.push_back(Comma());
    parts.push_back(first[i]);
    parts.push_back(tail);
    tail = g.Sequence(std::move(parts));
    if (static_cast<int32_t>(i) >= min_first) tail = g.Optional(tail);
  }
  return g.Sequence({g.Literal("["), Space(), tail, Space(), g.Literal("]")});
}

}  // namespace pingti::grammar
