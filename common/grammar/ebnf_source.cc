// See ebnf_source.h. A recursive descent over the source.
#include "common/grammar/ebnf_source.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "common/grammar/code_points.h"

namespace pingti::grammar {
namespace {

constexpr int32_t kMostRepeats = 100'000;

bool IsNameChar(char32_t c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '_';
}

class EbnfParser {
 public:
  EbnfParser(std::string_view source, Grammar* grammar)
      : source_(source), in_(source), grammar_(*grammar) {}

  absl::Status Run() {
    SkipSpace();
    while (!in_.done()) PINGTI_RETURN_IF_ERROR(ParseRule());
    for (const auto& [name, rule] : rules_) {
      if (grammar_.rule(rule).body < 0) {
        return absl::InvalidArgumentError(
            Concat("grammar: rule '", name, "' is used but not defined"));
      }
    }
    const auto root = rules_.find("root");
    if (root == rules_.end()) {
      return absl::InvalidArgumentError("grammar: expected a rule named 'root'");
    }
    grammar_.SetRoot(root->second);
    return grammar_.status();
  }

 private:
  absl::Status Bad(std::string_view what) const {
    const auto line = 1 + std::count(source_.begin(), source_.begin() + in_.position(), '\n');
    return absl::InvalidArgumentError(Concat("grammar, line ", line, ": ", what));
  }

  void SkipSpace() {
    while (!in_.done()) {
      const char32_t c = in_.Peek();
      if (c == '#') {
        while (!in_.done() && in_.Peek() != '\n') in_.Next();
      } else if (c == ' ' || c == '\t' || c == '\r' || c == '\n') {
        in_.Next();
      } else {
        return;
      }
    }
  }

  std::string TakeName() {
    const std::string_view rest = in_.rest();
    size_t length = 0;
    while (length < rest.size() && IsNameChar(static_cast<uint8_t>(rest[length]))) ++length;
    std::string name(rest.substr(0, length));
    in_.Take(name);
    return name;
  }

  // Whether "name ::=" is next: where the rule before it ends.
  bool AtRule() const {
    CodePoints ahead(in_.rest());
    bool named = false;
    for (; !ahead.done() && IsNameChar(ahead.Peek()); ahead.Next()) named = true;
    while (!ahead.done() && (ahead.Peek() == ' ' || ahead.Peek() == '\t')) ahead.Next();
    return named && ahead.Take("::=");
  }

  absl::StatusOr<RuleId> RuleOf(const std::string& name) {
    const auto known = rules_.find(name);
    if (known != rules_.end()) return known->second;
    const RuleId rule = grammar_.AddRule(name);
    PINGTI_RETURN_IF_ERROR(grammar_.status());
    rules_.emplace(name, rule);
    return rule;
  }

  absl::Status ParseRule() {
    if (!AtRule()) return Bad("expected a rule: name ::= ...");
    const std::string name = TakeName();
    SkipSpace();
    in_.Take("::=");
    PINGTI_ASSIGN_OR_RETURN(const RuleId rule, RuleOf(name));
    if (grammar_.rule(rule).body >= 0) return Bad(Concat("rule '", name, "' is defined twice"));
    PINGTI_ASSIGN_OR_RETURN(const ExprId body, ParseAlternatives());
    if (!in_.done() && !AtRule()) return Bad("expected '|', another rule or the end");
    grammar_.SetBody(rule, body);
    return grammar_.status();
  }

  absl::StatusOr<ExprId> ParseAlternatives() {
    std::vector<ExprId> choices;
    do {
      PINGTI_ASSIGN_OR_RETURN(const ExprId sequence, ParseSequence());
      choices.push_back(sequence);
    } while (in_.Take("|"));
    return grammar_.Choice(std::move(choices));
  }

  absl::StatusOr<ExprId> ParseSequence() {
    std::vector<ExprId> parts;
    while (true) {
      SkipSpace();
      const char32_t c = in_.Peek();
      if (in_.done() || c == '|' || c == ')' || AtRule()) break;
      PINGTI_ASSIGN_OR_RETURN(ExprId part, ParseAtom());
      PINGTI_ASSIGN_OR_RETURN(part, ParseQuantifiers(part));
      PINGTI_RETURN_IF_ERROR(grammar_.status());
      parts.push_back(part);
    }
    if (parts.empty()) return grammar_.Literal("");
    return grammar_.Sequence(std::move(parts));
  }

  absl::StatusOr<ExprId> ParseQuantifiers(ExprId part) {
    while (true) {
      if (in_.Take("*")) {
        part = grammar_.Repeat(part, 0, kUnbounded);
      } else if (in_.Take("+")) {
        part = grammar_.Repeat(part, 1, kUnbounded);
      } else if (in_.Take("?")) {
        part = grammar_.Optional(part);
      } else if (in_.Take("{")) {
        const int32_t min = in_.TakeNumber();
        int32_t max = min;
        if (in_.Take(",")) max = in_.Peek() == '}' ? kUnbounded : in_.TakeNumber();
        const bool in_order = min >= 0 && (max == kUnbounded || max >= min);
        if (!in_.Take("}") || !in_order || std::max(min, max) > kMostRepeats) {
          return Bad(Concat("expected {n}, {n,} or {n,m} with n <= m <= ", kMostRepeats));
        }
        part = grammar_.Repeat(part, min, max);
      } else {
        return part;
      }
    }
  }

  absl::StatusOr<ExprId> ParseAtom() {
    if (in_.Take("\"")) return ParseLiteral();
    if (in_.Take("[")) return ParseClass();
    if (in_.Take(".")) return grammar_.Class(CharClass::All());
    if (in_.Take("(")) {
      if (++nesting_ > grammar_.limits().max_nesting) {
        return absl::ResourceExhaustedError(Concat("grammar: groups are nested more than ",
                                                   grammar_.limits().max_nesting, " deep"));
      }
      PINGTI_ASSIGN_OR_RETURN(const ExprId inner, ParseAlternatives());
      if (!in_.Take(")")) return Bad("expected ')'");
      --nesting_;
      return inner;
    }
    if (!IsNameChar(in_.Peek())) return Bad("expected a literal, a class, a group or a name");
    PINGTI_ASSIGN_OR_RETURN(const RuleId rule, RuleOf(TakeName()));
    return grammar_.Call(rule);
  }

  absl::StatusOr<ExprId> ParseLiteral() {
    std::vector<ExprId> parts;
    std::string bytes;
    while (!in_.Take("\"")) {
      if (in_.done() || in_.Peek() == '\n') return Bad("a literal has no closing '\"'");
      const size_t begin = in_.position();
      if (in_.Peek() != '\\') {
        in_.Next();
        bytes += source_.substr(begin, in_.position() - begin);
        continue;
      }
      PINGTI_ASSIGN_OR_RETURN(const char32_t value, ParseChar());
      if (value < 0x80) {
        bytes += static_cast<char>(value);
        continue;
      }
      parts.push_back(grammar_.Literal(bytes));
      parts.push_back(grammar_.Class(CharClass::Of(value)));
      bytes.clear();
    }
    parts.push_back(grammar_.Literal(bytes));
    return grammar_.Sequence(std::move(parts));
  }

  absl::StatusOr<ExprId> ParseClass() {
    std::vector<CodeRange> ranges;
    const bool negated = in_.Take("^");
    while (!in_.Take("]")) {
      if (in_.done() || in_.Peek() == '\n') return Bad("a class has no closing ']'");
      PINGTI_ASSIGN_OR_RETURN(const char32_t first, ParseChar());
      char32_t last = first;
      if (in_.Peek() == '-' && !in_.rest().starts_with("-]")) {
        in_.Take("-");
        if (in_.done()) return Bad("a class has no closing ']'");
        PINGTI_ASSIGN_OR_RETURN(last, ParseChar());
      }
      if (first > last) return Bad("a range has its ends out of order");
      ranges.push_back({first, last});
    }
    const CharClass chars(std::move(ranges));
    return grammar_.Class(negated ? chars.Complement() : chars);
  }

  // One character of a literal or a class, escaped or not.
  absl::StatusOr<char32_t> ParseChar() {
    const char32_t c = in_.Next();
    if (c != '\\') return c;
    if (in_.done()) return Bad("expected a character after '\\'");
    const char32_t escape = in_.Next();
    switch (escape) {
      case 'n':
        return U'\n';
      case 'r':
        return U'\r';
      case 't':
        return U'\t';
      case 'x':
      case 'u':
      case 'U': {
        const int32_t value = in_.TakeHex(escape == 'x' ? 2 : escape == 'u' ? 4 : 8);
        if (value < 0 || value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF)) {
          return Bad("an escape is no Unicode scalar value");
        }
        return static_cast<char32_t>(value);
      }
      case '\\':
      case '"':
      case '[':
      case ']':
      case '-':
      case '^':
        return escape;
      default:
        return Bad("an escape is not known: expected n r t x u U \\ \" [ ] - or ^");
    }
  }

  const std::string_view source_;
  CodePoints in_;
  Grammar& grammar_;
  std::map<std::string, RuleId> rules_;
  int32_t nesting_ = 0;
};

}  // namespace

absl::Status ParseEbnf(std::string_view source, Grammar* grammar) {
  if (!CodePoints::IsUtf8(source)) return absl::InvalidArgumentError("grammar: expected UTF-8");
  return EbnfParser(source, grammar).Run();
}

}  // namespace pingti::grammar
