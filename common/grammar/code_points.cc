// See code_points.h.
#include "common/grammar/code_points.h"

#include <cstdint>

#include "common/base/check.h"

namespace pingti::grammar {
namespace {

// Length of the well-formed character at the start of `text`, 0 if there is none, and its value.
// Source: Unicode 15.0, table 3-7.
size_t DecodeAt(std::string_view text, char32_t* value) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  if (text.empty()) return 0;
  const uint8_t lead = byte(0);
  if (lead < 0x80) {
    *value = lead;
    return 1;
  }
  const size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < length) return 0;
  char32_t code = lead & (0xFF >> (length + 1));
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
    code = code << 6 | (byte(i) & 0x3F);
  }
  const bool overlong = (length == 3 && code < 0x800) || (length == 4 && code < 0x10000);
  if (overlong || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) return 0;
  *value = code;
  return length;
}

int HexValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

bool CodePoints::IsUtf8(std::string_view text) {
  char32_t value = 0;
  while (!text.empty()) {
    const size_t length = DecodeAt(text, &value);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

char32_t CodePoints::Decode(size_t* length) const {
  char32_t value = 0;
  *length = DecodeAt(rest(), &value);
  return value;
}

char32_t CodePoints::Peek() const {
  size_t length = 0;
  return Decode(&length);
}

char32_t CodePoints::Next() {
  size_t length = 0;
  const char32_t value = Decode(&length);
  PINGTI_CHECK(length > 0);
  at_ += length;
  return value;
}

bool CodePoints::Take(std::string_view expected) {
  if (!rest().starts_with(expected)) return false;
  at_ += expected.size();
  return true;
}

int32_t CodePoints::TakeNumber() {
  constexpr size_t kMostDigits = 9;
  const std::string_view text = rest();
  int32_t value = 0;
  size_t digits = 0;
  while (digits < text.size() && text[digits] >= '0' && text[digits] <= '9') {
    if (digits == kMostDigits) return -1;
    value = value * 10 + (text[digits++] - '0');
  }
  at_ += digits;
  return digits == 0 ? -1 : value;
}

int32_t CodePoints::TakeHex(int digits) {
  const std::string_view text = rest();
  if (text.size() < static_cast<size_t>(digits)) return -1;
  uint32_t value = 0;
  for (int i = 0; i < digits; ++i) {
    const int digit = HexValue(text[i]);
    if (digit < 0) return -1;
    value = value * 16 + static_cast<uint32_t>(digit);
  }
  if (value > 0x7FFFFFFF) return -1;
  at_ += digits;
  return static_cast<int32_t>(value);
}

}  // namespace pingti::grammar
