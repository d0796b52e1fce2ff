// See json_text.h.
#include "router/api/json_text.h"

#include <array>

#include "common/text/utf8.h"

namespace pingti::router {
namespace {

// 0: copied as it is; 'u': \u00XX; 'x': not ASCII, checked as UTF-8; else the letter after '\'.
constexpr std::array<char, 256> MakeEscapes() {
  std::array<char, 256> table{};
  for (int c = 0; c < 0x20; ++c) table[static_cast<size_t>(c)] = 'u';
  table['\n'] = 'n';
  table['\r'] = 'r';
  table['\t'] = 't';
  table['\b'] = 'b';
  table['\f'] = 'f';
  table['"'] = '"';
  table['\\'] = '\\';
  table[0x7f] = 'u';
  for (int c = 0x80; c < 0x100; ++c) table[static_cast<size_t>(c)] = 'x';
  return table;
}
constexpr std::array<char, 256> kEscapes = MakeEscapes();

}  // namespace

void AppendJsonString(std::string_view text, std::string* out) {
  constexpr char kHex[] = "0123456789abcdef";
  out->push_back('"');
  size_t plain = 0;  // start of what is copied as it is
  for (size_t i = 0; i < text.size();) {
    const auto byte = static_cast<uint8_t>(text[i]);
    const char escape = kEscapes[byte];
    if (escape == 0) {
      ++i;
      continue;
    }
    size_t length = 1;
    if (escape == 'x') {
      const text::DecodedChar decoded = text::DecodeUtf8(text.substr(i));
      length = decoded.length;
      if (decoded.valid) {
        i += length;
        continue;
      }
    }
    out->append(text, plain, i - plain);
    if (escape == 'x') {
      out->append("\xef\xbf\xbd");
    } else {
      out->push_back('\\');
      out->push_back(escape);
      if (escape == 'u') {
        out->append("00");
        out->push_back(kHex[byte >> 4]);
        out->push_back(kHex[byte & 15]);
      }
    }
    i += length;
    plain = i;
  }
  out->append(text, plain, text.size() - plain);
  out->push_back('"');
}

std::string JsonString(std::string_view text) {
  std::string out;
  AppendJsonString(text, &out);
  return out;
}

void BeginTypedEvent(std::string_view type, std::string* out) {
  out->append("event: ").append(type).append("\ndata: {\"type\":\"").append(type).append("\"");
}

}  // namespace pingti::router
