// UTF-8 decoding and the few character properties that tokenizers and templates need.
// Stateless, thread-safe. Source: Unicode 15.0, section 3.9 (Table 3-7, well-formed sequences).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace pingti::text {

struct DecodedChar {
  char32_t value = 0;  // U+FFFD when !valid
  uint8_t length = 0;  // bytes used: 1..4; for ill-formed input the maximal subpart
  bool valid = false;
  bool truncated = false;  // ill-formed only because the text ends: more bytes may complete it
};

// Decodes the character at the start of `text`, which must not be empty.
DecodedChar DecodeUtf8(std::string_view text);

// Appends a scalar value (not a surrogate, at most U+10FFFF).
void AppendUtf8(char32_t value, std::string* out);

// Length of the longest prefix of `text` that is well-formed UTF-8.
size_t ValidUtf8Prefix(std::string_view text);

// `text` with every maximal ill-formed part replaced by U+FFFD.
std::string ReplaceInvalidUtf8(std::string_view text);

// Unicode White_Space property: what regular expressions and tokenizers call \s.
bool IsWhiteSpace(char32_t value);

// General categories Nd, Nl, No.
bool IsNumeric(char32_t value);

// General category Nd.
bool IsDecimalDigit(char32_t value);

// General categories P*.
bool IsPunctuation(char32_t value);

// A character of a word for "single word" added tokens: alphabetic, mark, decimal digit or
// connector punctuation (Unicode Technical Standard 18, annex C, \w).
bool IsWordChar(char32_t value);

}  // namespace pingti::text
