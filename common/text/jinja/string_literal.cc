// See string_literal.h.
#include "common/text/jinja/string_literal.h"

#include <algorithm>
#include <charconv>
#include <cstdint>

#include "common/text/jinja/error.h"
#include "common/text/utf8.h"

namespace pingti::text::jinja {
namespace {

// Value of an escape sequence's digits; advances *pos past them.
char32_t ReadCode(std::string_view body, size_t* pos, size_t digits, int base, int line) {
  uint32_t code = 0;
  const size_t end = std::min(*pos + digits, body.size());
  const auto [stop, error] = std::from_chars(body.data() + *pos, body.data() + end, code, base);
  const auto used = static_cast<size_t>(stop - (body.data() + *pos));
  if (error != std::errc() || (base == 16 && used != digits) || code > 0x10FFFF ||
      (code >= 0xD800 && code <= 0xDFFF)) {
    FailAt(line, "string has a malformed escape sequence");
  }
  *pos += used;
  return code;
}

}  // namespace

std::string Unescape(std::string_view body, int line) {
  std::string out;
  for (size_t pos = 0; pos < body.size();) {
    if (body[pos] != '\\' || pos + 1 == body.size()) {
      out += body[pos++];
      continue;
    }
    const char c = body[pos + 1];
    pos += 2;
    constexpr std::string_view kSimple = "\\\\''\"\"n\nr\rt\tb\bf\fa\av\v";
    size_t known = std::string_view::npos;
    for (size_t i = 0; i < kSimple.size(); i += 2) {
      if (kSimple[i] == c) known = i;
    }
    if (known != std::string_view::npos) {
      out += kSimple[known + 1];
    } else if (c == '\n') {
      continue;
    } else if (c >= '0' && c <= '7') {
      --pos;
      AppendUtf8(ReadCode(body, &pos, 3, 8, line), &out);
    } else if (c == 'x') {
      AppendUtf8(ReadCode(body, &pos, 2, 16, line), &out);
    } else if (c == 'u') {
      AppendUtf8(ReadCode(body, &pos, 4, 16, line), &out);
    } else if (c == 'U') {
      AppendUtf8(ReadCode(body, &pos, 8, 16, line), &out);
    } else if (c == 'N') {
      FailUnsupported(line, "\\N{...} in a string is not supported");
    } else {
      out += '\\';
      out += c;
    }
  }
  return out;
}

}  // namespace pingti::text::jinja
