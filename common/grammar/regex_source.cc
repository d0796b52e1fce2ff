// See regex_source.h. A recursive descent over the pattern.
#include "common/grammar/regex_source.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "common/grammar/code_points.h"

namespace pingti::grammar {
namespace {

// Lengths are cut off here, which is as good as without bound.
constexpr int64_t kMostChars = 1 << 30;
constexpr int32_t kMostRegexRepeats = 100'000;

struct Part {
  ExprId expr = 0;
  int64_t min_chars = 0;
  int64_t max_chars = 0;  // kMostChars: no bound
  std::optional<ExprId> repeated_class;
};

CharClass DigitClass() { return CharClass{{'0', '9'}}; }
CharClass WordClass() { return CharClass{{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}}; }
// WhiteSpace and LineTerminator of ECMA-262.
CharClass SpaceClass() {
  return CharClass{{'\t', '\r'},     {' ', ' '},       {0xA0, 0xA0},     {0x1680, 0x1680},
                   {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F},
                   {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
}
CharClass DotClass() {
  return CharClass{{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}}.Complement();
}

class RegexParser {
 public:
  RegexParser(std::string_view pattern, const RegexOptions& options, Grammar* grammar)
      : in_(pattern), options_(options), grammar_(*grammar) {}

  absl::StatusOr<ParsedRegex> Run() {
    PINGTI_ASSIGN_OR_RETURN(const Part part, ParseAlternatives(true));
    if (!in_.done()) return Bad("an unmatched ')'");
    PINGTI_RETURN_IF_ERROR(grammar_.status());
    ParsedRegex result;
    result.expr = part.expr;
    result.min_chars = static_cast<int32_t>(part.min_chars);
    result.max_chars =
        part.max_chars >= kMostChars ? kUnbounded : static_cast<int32_t>(part.max_chars);
    result.repeated_class = part.repeated_class;
    return result;
  }

 private:
  absl::Status Bad(std::string_view what) const {
    return absl::InvalidArgumentError(
        Concat("pattern, at byte ", in_.position(), ": ", what, " is not expected"));
  }
  absl::Status Refused(std::string_view what) const {
    return absl::UnimplementedError(
        Concat("pattern, at byte ", in_.position(), ": ", what, " is not supported"));
  }

  ExprId Spell(const CharClass& chars) {
    return options_.spell ? options_.spell(chars) : grammar_.Class(chars);
  }
  Part OneOf(const CharClass& chars) {
    const ExprId expr = Spell(chars);
    return Part{expr, 1, 1, expr};
  }
  Part Nothing() { return Part{grammar_.Literal(""), 0, 0, std::nullopt}; }
  // Any text at all.
  ExprId Anything() { return grammar_.Repeat(Spell(CharClass::All()), 0, kUnbounded); }

  // REQUIRES of `top`: the outermost level, where anchors may stand.
  absl::StatusOr<Part> ParseAlternatives(bool top) {
    std::vector<ExprId> choices;
    Part whole;
    whole.min_chars = kMostChars;
    do {
      PINGTI_ASSIGN_OR_RETURN(const Part part, top ? ParseAnchored() : ParseSequence());
      choices.push_back(part.expr);
      whole.min_chars = std::min(whole.min_chars, part.min_chars);
      whole.max_chars = std::max(whole.max_chars, part.max_chars);
      whole.repeated_class = part.repeated_class;
    } while (in_.Take("|"));
    if (choices.size() > 1) whole.repeated_class.reset();
    whole.expr = grammar_.Choice(std::move(choices));
    return whole;
  }

  absl::StatusOr<Part> ParseAnchored() {
    const bool at_begin = in_.Take("^");
    PINGTI_ASSIGN_OR_RETURN(Part part, ParseSequence());
    const bool at_end = in_.Take("$");
    if (!options_.anywhere || (at_begin && at_end)) return part;
    std::vector<ExprId> parts;
    if (!at_begin) parts.push_back(Anything());
    parts.push_back(part.expr);
    if (!at_end) parts.push_back(Anything());
    part.expr = grammar_.Sequence(std::move(parts));
    part.max_chars = kMostChars;
    part.repeated_class.reset();
    return part;
  }

  absl::StatusOr<Part> ParseSequence() {
    std::vector<ExprId> parts;
    Part whole;
    while (!in_.done()) {
      const char32_t c = in_.Peek();
      if (c == '|' || c == ')' || c == '$') break;
      PINGTI_ASSIGN_OR_RETURN(Part part, ParseAtom());
      PINGTI_ASSIGN_OR_RETURN(part, ParseQuantifier(part));
      PINGTI_RETURN_IF_ERROR(grammar_.status());
      parts.push_back(part.expr);
      whole.min_chars = std::min(kMostChars, whole.min_chars + part.min_chars);
      whole.max_chars = std::min(kMostChars, whole.max_chars + part.max_chars);
      whole.repeated_class = part.repeated_class;
    }
    if (parts.empty()) return Nothing();
    if (parts.size() > 1) whole.repeated_class.reset();
    whole.expr = grammar_.Sequence(std::move(parts));
    return whole;
  }

  absl::StatusOr<Part> ParseQuantifier(const Part& part) {
    int32_t min = 0;
    int32_t max = kUnbounded;
    if (in_.Take("*")) {
    } else if (in_.Take("+")) {
      min = 1;
    } else if (in_.Take("?")) {
      max = 1;
    } else if (in_.Take("{")) {
      PINGTI_RETURN_IF_ERROR(ParseBounds(&min, &max));
    } else {
      return part;
    }
    in_.Take("?");  // lazy: the same texts
    if (in_.Peek() == '*' || in_.Peek() == '+' || in_.Peek() == '?' || in_.Peek() == '{') {
      return Bad("a second quantifier");
    }
    Part result;
    result.expr = grammar_.Repeat(part.expr, min, max);
    result.min_chars = std::min(kMostChars, part.min_chars * min);
    result.max_chars = max == kUnbounded ? (part.max_chars == 0 ? 0 : kMostChars)
                                         : std::min(kMostChars, part.max_chars * max);
    // Of a repeat of a repeat the bounds alone would not say which lengths there are.
    if (part.min_chars == 1 && part.max_chars == 1) result.repeated_class = part.repeated_class;
    return result;
  }

  absl::Status ParseBounds(int32_t* min, int32_t* max) {
    *min = in_.TakeNumber();
    *max = *min;
    if (*min < 0) return Bad("a '{' without a number of at most 9 digits");
    if (in_.Take(",")) *max = in_.Peek() == '}' ? kUnbounded : in_.TakeNumber();
    if (!in_.Take("}")) return Bad("a repeat other than {n}, {n,} or {n,m}");
    if (*max != kUnbounded && *max < *min) return Bad("a repeat with its bounds out of order");
    if (std::max(*min, *max) > kMostRegexRepeats) {
      return Refused(Concat("a repeat of more than ", kMostRegexRepeats, " times"));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<Part> ParseAtom() {
    if (in_.Take("(")) return ParseGroup();
    if (in_.Take("[")) return ParseClass();
    if (in_.Take(".")) return OneOf(DotClass());
    if (in_.Take("\\")) {
      PINGTI_ASSIGN_OR_RETURN(const CharClass chars, ParseEscape(false));
      return OneOf(chars);
    }
    const char32_t c = in_.Peek();
    if (c == '^') return Refused("'^' anywhere but at the beginning");
    if (c == '*' || c == '+' || c == '?' || c == '{') return Bad("a quantifier of nothing");
    return OneOf(CharClass::Of(in_.Next()));
  }

  absl::StatusOr<Part> ParseGroup() {
    if (++nesting_ > grammar_.limits().max_nesting) {
      return absl::ResourceExhaustedError(Concat("pattern, at byte ", in_.position(),
                                                 ": groups are nested more than ",
                                                 grammar_.limits().max_nesting, " deep"));
    }
    if (in_.Take("?")) {
      if (in_.Take("=") || in_.Take("!")) return Refused("look-ahead");
      if (in_.Take("<=") || in_.Take("<!")) return Refused("look-behind");
      if (in_.Take("<")) {
        while (!in_.done() && in_.Peek() != '>') in_.Next();
        if (!in_.Take(">")) return Bad("a group's name without '>'");
      } else if (!in_.Take(":")) {
        return Refused("this kind of group");
      }
    }
    PINGTI_ASSIGN_OR_RETURN(const Part part, ParseAlternatives(false));
    if (in_.Peek() == '$') return Refused("'$' anywhere but at the end");
    if (!in_.Take(")")) return Bad("the end of the pattern within a group");
    --nesting_;
    return part;
  }

  absl::StatusOr<Part> ParseClass() {
    std::vector<CodeRange> ranges;
    const bool negated = in_.Take("^");
    while (!in_.Take("]")) {
      if (in_.done()) return Bad("the end of the pattern within a class");
      bool single = true;
      PINGTI_ASSIGN_OR_RETURN(const CharClass first, ParseClassAtom(&single));
      const bool is_range = in_.Peek() == '-' && !in_.rest().starts_with("-]") && single;
      if (!is_range) {
        ranges.insert(ranges.end(), first.ranges().begin(), first.ranges().end());
        continue;
      }
      in_.Take("-");
      if (in_.done()) return Bad("the end of the pattern within a class");
      PINGTI_ASSIGN_OR_RETURN(const CharClass last, ParseClassAtom(&single));
      if (!single) return Bad("a range that ends with a class");
      const char32_t low = first.ranges()[0].first;
      const char32_t high = last.ranges()[0].first;
      if (low > high) return Bad("a range with its ends out of order");
      ranges.push_back({low, high});
    }
    const CharClass chars(std::move(ranges));
    return OneOf(negated ? chars.Complement() : chars);
  }

  absl::StatusOr<CharClass> ParseClassAtom(bool* single) {
    if (!in_.Take("\\")) return CharClass::Of(in_.Next());
    const char32_t c = in_.Peek();
    *single = std::u32string_view(U"dDwWsS").find(c) == std::u32string_view::npos;
    return ParseEscape(true);
  }

  absl::StatusOr<CharClass> ParseEscape(bool in_class) {
    if (in_.done()) return Bad("the end of the pattern after '\\'");
    const char32_t c = in_.Next();
    switch (c) {
      case 'd':
        return DigitClass();
      case 'D':
        return DigitClass().Complement();
      case 'w':
        return WordClass();
      case 'W':
        return WordClass().Complement();
      case 's':
        return SpaceClass();
      case 'S':
        return SpaceClass().Complement();
      case 'b':
        if (in_class) return CharClass::Of('\b');
        return Refused("a word boundary (\\b)");
      case 'B':
        return Refused("a word boundary (\\B)");
      case 'p':
      case 'P':
        return Refused("a Unicode property (\\p)");
      case 'k':
        return Refused("a back reference (\\k)");
      default:
        return ParseCharEscape(c);
    }
  }

  absl::StatusOr<CharClass> ParseCharEscape(char32_t c) {
    constexpr std::u32string_view kNames = U"tnvfr";
    constexpr std::u32string_view kValues = U"\t\n\v\f\r";
    if (const size_t i = kNames.find(c); i != std::u32string_view::npos) {
      return CharClass::Of(kValues[i]);
    }
    if (c == '0' && !(in_.Peek() >= '0' && in_.Peek() <= '9')) return CharClass::Of(0);
    if (c >= '0' && c <= '9') return Refused("a back reference");
    if (c == 'x' || c == 'u') {
      const bool braced = c == 'u' && in_.Take("{");
      int32_t value = -1;
      if (braced) {
        for (int digits = 6; digits > 0 && value < 0; --digits) {
          CodePoints ahead(in_.rest());
          if (ahead.TakeHex(digits) >= 0 && ahead.Take("}")) value = in_.TakeHex(digits);
        }
        in_.Take("}");
      } else {
        value = in_.TakeHex(c == 'x' ? 2 : 4);
      }
      if (value < 0 || value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF)) {
        return Bad("an escape that is no Unicode scalar value");
      }
      return CharClass::Of(static_cast<char32_t>(value));
    }
    const bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (is_letter) return Refused("this escape");
    return CharClass::Of(c);
  }

  CodePoints in_;
  const RegexOptions& options_;
  Grammar& grammar_;
  int32_t nesting_ = 0;
};

}  // namespace

absl::StatusOr<ParsedRegex> ParseRegex(std::string_view pattern, const RegexOptions& options,
                                       Grammar* grammar) {
  if (!CodePoints::IsUtf8(pattern)) {
    return absl::InvalidArgumentError("pattern: expected UTF-8");
  }
  return RegexParser(pattern, options, grammar).Run();
}

}  // namespace pingti::grammar
