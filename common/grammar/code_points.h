// A cursor over UTF-8 source text, for the parsers of patterns and grammars. Confined to its
// parser.
#pragma once

#include <cstdint>
#include <string_view>

namespace pingti::grammar {

class CodePoints {
 public:
  explicit CodePoints(std::string_view text) : text_(text) {}

  // The whole text is UTF-8; otherwise nothing else may be called.
  static bool IsUtf8(std::string_view text);

  bool done() const { return at_ == text_.size(); }
  size_t position() const { return at_; }
  std::string_view rest() const { return text_.substr(at_); }
  // 0 at the end.
  char32_t Peek() const;
  // REQUIRES: !done().
  char32_t Next();
  // Skips `expected` if it is next.
  bool Take(std::string_view expected);
  // A decimal number of at most 9 digits; -1 when none is next.
  int32_t TakeNumber();
  // `digits` hexadecimal digits, at most 8; -1 when they are not there or mean 2^31 or more.
  int32_t TakeHex(int digits);

 private:
  char32_t Decode(size_t* length) const;

  const std::string_view text_;
  size_t at_ = 0;
};

}  // namespace pingti::grammar
