// See lexer.h.
#include "common/text/jinja/lexer.h"

#include <algorithm>
#include <optional>

#include "common/text/jinja/big_integer.h"
#include "common/text/jinja/error.h"
#include "common/text/jinja/string_literal.h"
#include "common/text/utf8.h"

namespace pingti::text::jinja {
namespace {

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// Python's \s on text; newline included.
bool IsSpaceAt(std::string_view text, size_t* length) {
  const DecodedChar c = DecodeUtf8(text);
  *length = c.length;
  return IsWhiteSpace(c.value) || (c.value >= 0x1C && c.value <= 0x1F);
}

std::string NormalizeNewlines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      out += source[i];
    }
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

void TrimRight(std::string* text) {
  size_t keep = 0, length = 0;
  for (size_t pos = 0; pos < text->size(); pos += length) {
    if (!IsSpaceAt(std::string_view(*text).substr(pos), &length)) keep = pos + length;
  }
  text->resize(keep);
}

bool IsAllSpace(std::string_view text) {
  size_t length = 0;
  for (; !text.empty(); text.remove_prefix(length)) {
    if (!IsSpaceAt(text, &length)) return false;
  }
  return true;
}

class Lexer {
 public:
  explicit Lexer(std::string source) : source_(std::move(source)) {}

  std::vector<Token> Run() {
    while (pos_ < source_.size()) LexData();
    Push(TokenKind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  std::string_view Rest() const { return std::string_view(source_).substr(pos_); }

  void Push(TokenKind kind, std::string text) {
    Token token;
    token.kind = kind;
    token.text = std::move(text);
    token.line = line_;
    tokens_.push_back(std::move(token));
  }

  void Advance(size_t count) {
    const auto begin = source_.begin() + static_cast<std::ptrdiff_t>(pos_);
    line_ += static_cast<int>(std::count(begin, begin + static_cast<std::ptrdiff_t>(count), '\n'));
    if (count > 0) line_starting_ = source_[pos_ + count - 1] == '\n';
    pos_ += count;
  }

  void PushData(std::string text) {
    if (!text.empty()) Push(TokenKind::kData, std::move(text));
  }

  // The text before a tag, with what the tag's sign and lstrip_blocks take from its end.
  std::string StripBefore(std::string text, char sign, bool is_variable) const {
    if (sign == '-') {
      TrimRight(&text);
    } else if (sign != '+' && !is_variable) {
      const size_t newline = text.rfind('\n');
      const size_t line_begin = newline == std::string::npos ? 0 : newline + 1;
      if ((line_begin > 0 || line_starting_) &&
          IsAllSpace(std::string_view(text).substr(line_begin))) {
        text.resize(line_begin);
      }
    }
    return text;
  }

  // Text up to the next tag, then the tag's inside.
  void LexData() {
    size_t begin = pos_;
    while (true) {
      begin = source_.find('{', begin);
      if (begin == std::string::npos || begin + 1 >= source_.size()) {
        PushData(std::string(Rest()));
        Advance(source_.size() - pos_);
        return;
      }
      const char kind = source_[begin + 1];
      if (kind == '{' || kind == '%' || kind == '#') break;
      ++begin;
    }
    const char kind = source_[begin + 1];
    const char next = begin + 2 < source_.size() ? source_[begin + 2] : '\0';
    const char sign = next == '-' || next == '+' ? next : '\0';
    PushData(StripBefore(source_.substr(pos_, begin - pos_), sign, kind == '{'));
    Advance(begin - pos_);
    const size_t open = sign == '\0' ? 2 : 3;
    if (kind == '#') {
      Advance(open);
      LexComment();
    } else if (kind == '%' && IsRawTag(open)) {
      LexRaw();
    } else {
      Push(kind == '{' ? TokenKind::kVariableBegin : TokenKind::kBlockBegin, "");
      Advance(open);
      LexInside(kind == '{' ? TokenKind::kVariableEnd : TokenKind::kBlockEnd);
    }
  }

  void SkipSpaces() {
    size_t length = 0;
    while (pos_ < source_.size() && IsSpaceAt(Rest(), &length)) Advance(length);
  }

  // Behind a tag: `-` eats white space, a plain block or comment end eats one newline.
  void AfterTag(char sign, bool trims_newline) {
    if (sign == '-') {
      SkipSpaces();
    } else if (sign != '+' && trims_newline && Rest().starts_with('\n')) {
      Advance(1);
    }
  }

  void LexComment() {
    const size_t end = source_.find("#}", pos_);
    if (end == std::string::npos) FailAt(line_, "Missing end of comment tag");
    const char before = end > pos_ ? source_[end - 1] : '\0';
    Advance(end + 2 - pos_);
    AfterTag(before, true);
  }

  // Length of `{% name %}` at offset `at`, 0 if something else stands there; and its two signs.
  size_t TagLength(size_t at, std::string_view name, char* begin_sign, char* end_sign) const {
    *begin_sign = *end_sign = '\0';
    size_t i = at;
    const auto skip = [&] {
      while (i < source_.size() &&
             (source_[i] == ' ' || (source_[i] >= '\t' && source_[i] <= '\r')))
        ++i;
    };
    if (source_.compare(i, 2, "{%") != 0) return 0;
    i += 2;
    if (i < source_.size() && (source_[i] == '-' || source_[i] == '+')) *begin_sign = source_[i++];
    skip();
    if (source_.compare(i, name.size(), name) != 0) return 0;
    i += name.size();
    skip();
    if (i < source_.size() && (source_[i] == '-' || source_[i] == '+')) *end_sign = source_[i++];
    return source_.compare(i, 2, "%}") == 0 ? i + 2 - at : 0;
  }

  bool IsRawTag(size_t open) const {
    char begin_sign, end_sign;
    return TagLength(pos_, "raw", &begin_sign, &end_sign) > 0 && end_sign != '+';
  }

  void LexRaw() {
    char begin_sign, end_sign;
    const int start_line = line_;
    Advance(TagLength(pos_, "raw", &begin_sign, &end_sign));
    AfterTag(end_sign, /*trims_newline=*/false);
    for (size_t at = pos_; (at = source_.find("{%", at)) != std::string::npos; ++at) {
      const size_t length = TagLength(at, "endraw", &begin_sign, &end_sign);
      if (length == 0) continue;
      PushData(StripBefore(source_.substr(pos_, at - pos_), begin_sign, /*is_variable=*/false));
      Advance(at + length - pos_);
      AfterTag(end_sign, true);
      return;
    }
    FailAt(start_line, "Missing end of raw directive");
  }

  void LexInside(TokenKind end_kind) {
    std::string brackets;  // open ones, so that }} may close two dicts
    const std::string_view closing = end_kind == TokenKind::kVariableEnd ? "}}" : "%}";
    const int start_line = line_;
    while (pos_ < source_.size()) {
      const std::string_view rest = Rest();
      const bool signed_end = (rest[0] == '-' || (rest[0] == '+' && closing == "%}")) &&
                              rest.substr(1).starts_with(closing);
      if (brackets.empty() && (signed_end || rest.starts_with(closing))) {
        Push(end_kind, "");
        Advance(signed_end ? 3 : 2);
        AfterTag(signed_end ? rest[0] : '\0', end_kind == TokenKind::kBlockEnd);
        return;
      }
      LexToken(&brackets);
    }
    FailAt(start_line, "unexpected end of template inside a tag");
  }

  void LexToken(std::string* brackets) {
    const std::string_view rest = Rest();
    size_t length = 0;
    if (IsSpaceAt(rest, &length)) {
      Advance(length);
    } else if (IsDigit(rest[0])) {
      LexNumber();
    } else if (rest[0] == '"' || rest[0] == '\'') {
      LexString();
    } else if (const DecodedChar c = DecodeUtf8(rest); IsWordChar(c.value)) {
      size_t end = 0;
      while (end < rest.size()) {
        const DecodedChar next = DecodeUtf8(rest.substr(end));
        if (!IsWordChar(next.value)) break;
        end += next.length;
      }
      Push(TokenKind::kName, std::string(rest.substr(0, end)));
      Advance(end);
    } else {
      LexOperator(brackets);
    }
  }

  void LexOperator(std::string* brackets) {
    const std::string_view rest = Rest();
    for (const std::string_view op : {"//", "**", "==", "!=", ">=", "<="}) {
      if (!rest.starts_with(op)) continue;
      Push(TokenKind::kOperator, std::string(op));
      Advance(2);
      return;
    }
    const char c = rest[0];
    if (std::string_view("+-/*%~[](){}><=.:|,;").find(c) == std::string_view::npos) {
      FailAt(line_,
             "unexpected char '" + std::string(rest.substr(0, DecodeUtf8(rest).length)) + "'");
    }
    constexpr std::string_view kOpen = "([{", kClose = ")]}";
    if (kOpen.find(c) != std::string_view::npos) brackets->push_back(c);
    if (const size_t which = kClose.find(c); which != std::string_view::npos) {
      if (brackets->empty()) FailAt(line_, std::string("unexpected '") + c + "'");
      if (brackets->back() != kOpen[which]) {
        FailAt(line_, std::string("unexpected '") + c + "', expected the end of '" +
                          brackets->back() + "'");
      }
      brackets->pop_back();
    }
    Push(TokenKind::kOperator, std::string(1, c));
    Advance(1);
  }

  void LexString() {
    const char quote = source_[pos_];
    size_t end = pos_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) FailAt(line_, "unexpected char '" + std::string(1, quote) + "'");
    const std::string_view body = std::string_view(source_).substr(pos_ + 1, end - pos_ - 1);
    Push(TokenKind::kString, Unescape(body, line_));
    Advance(end + 1 - pos_);
  }

  // Digits with single underscores between them, from offset `i`; returns the offset behind.
  template <typename IsMember>
  size_t ReadDigits(size_t i, IsMember is_member, std::string* digits) const {
    while (i < source_.size()) {
      if (is_member(source_[i])) {
        *digits += source_[i++];
      } else if (source_[i] == '_' && !digits->empty() && i + 1 < source_.size() &&
                 is_member(source_[i + 1])) {
        ++i;
      } else {
        break;
      }
    }
    return i;
  }

  void LexNumber() {
    if (source_[pos_] == '0' && pos_ + 1 < source_.size()) {
      const char letter = static_cast<char>(source_[pos_ + 1] | 0x20);
      const int base = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 0;
      if (base != 0) {
        std::string digits;
        const bool is_apart = pos_ + 2 < source_.size() && source_[pos_ + 2] == '_';  // 0x_1F
        const size_t end = ReadDigits(
            pos_ + (is_apart ? 3 : 2),
            [base](char c) {
              const size_t value =
                  std::string_view("0123456789abcdef").find(static_cast<char>(c | 0x20));
              return c != '_' && value < static_cast<size_t>(base);
            },
            &digits);
        PushInteger(digits, base, end);
        return;
      }
    }
    std::string digits;
    size_t end = ReadDigits(pos_, IsDigit, &digits);
    bool is_float = false;
    const bool after_dot = pos_ > 0 && source_[pos_ - 1] == '.';
    if (!after_dot && end + 1 < source_.size() && source_[end] == '.' &&
        IsDigit(source_[end + 1])) {
      digits += '.';
      end = ReadDigits(end + 1, IsDigit, &digits);
      is_float = true;
    }
    if (!after_dot && end < source_.size() && (source_[end] | 0x20) == 'e') {
      size_t i = end + 1;
      if (i < source_.size() && (source_[i] == '+' || source_[i] == '-')) ++i;
      if (i < source_.size() && IsDigit(source_[i])) {
        digits += source_.substr(end, i - end);
        end = ReadDigits(i, IsDigit, &digits);
        is_float = true;
      }
    }
    if (!is_float) {
      PushInteger(digits, 10, end);
      return;
    }
    const std::optional<double> value = FloatFromText(digits);
    if (!value) FailAt(line_, "'" + digits + "' is not a number");
    Push(TokenKind::kFloat, digits);
    tokens_.back().number = Value(*value);
    Advance(end - pos_);
  }

  void PushInteger(const std::string& digits, int base, size_t end) {
    if (base == 10 && digits.size() > kMaxDecimalDigits) {
      FailAt(line_, "an integer of more than " + std::to_string(kMaxDecimalDigits) + " digits");
    }
    const std::optional<Value> value = ParseInteger(digits, base);
    if (!value) FailAt(line_, "'" + digits + "' is not an integer");
    if (base == 10 && digits.size() > 1 && digits[0] == '0' && Truth(*value)) {
      FailAt(line_, "integer '" + digits + "' starts with zero");
    }
    Push(TokenKind::kInteger, digits);
    tokens_.back().number = *value;
    Advance(end - pos_);
  }

  std::string source_;
  size_t pos_ = 0;
  int line_ = 1;
  bool line_starting_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

std::string Describe(const Token& token) {
  switch (token.kind) {
    case TokenKind::kData:
      return "template data";
    case TokenKind::kVariableBegin:
      return "'{{'";
    case TokenKind::kVariableEnd:
      return "end of print statement";
    case TokenKind::kBlockBegin:
      return "'{%'";
    case TokenKind::kBlockEnd:
      return "end of statement block";
    case TokenKind::kEnd:
      return "end of template";
    default:
      return "'" + token.text + "'";
  }
}

std::vector<Token> Tokenize(std::string_view source) {
  return Lexer(NormalizeNewlines(ReplaceInvalidUtf8(source))).Run();
}

}  // namespace pingti::text::jinja
