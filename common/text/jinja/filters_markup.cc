// Filters that make or take away markup, and sizes for people. See builtins.h.
#include <cmath>
#include <cstdio>
#include <utility>

#include "common/text/jinja/big_integer.h"
#include "common/text/jinja/builtins.h"
#include "common/text/jinja/error.h"
#include "common/text/jinja/markup.h"
#include "common/text/jinja/value_ops.h"
#include "common/text/utf8.h"

namespace pingti::text::jinja {
namespace {

// `text` without what lies between `open` and the next `close`.
std::string Without(std::string_view text, std::string_view open, std::string_view close) {
  TextBuilder out;
  size_t pos = 0;
  while (true) {
    const size_t begin = FindText(text, open, pos);
    const size_t end = begin == std::string_view::npos
                           ? begin
                           : FindText(text, close, begin + (open.size() > 1 ? 0 : 1));
    if (end == std::string_view::npos) break;
    out += text.substr(pos, begin - pos);
    pos = end + close.size();
  }
  out += text.substr(pos);
  return out.Take();
}

// White space as single spaces, none around.
std::string Collapsed(std::string_view text) {
  TextBuilder out;
  bool pending = false;
  while (!text.empty()) {
    const size_t length = DecodeUtf8(text).length;
    const std::string_view c = text.substr(0, length);
    text.remove_prefix(length);
    if (Strip(c, std::nullopt, true, false).empty()) {
      pending = !out.empty();
      continue;
    }
    if (std::exchange(pending, false)) out += ' ';
    out += c;
  }
  return out.Take();
}

// The character that "&name;" stands for, without & and ;; nullopt for a name that is not known.
std::optional<char32_t> Entity(std::string_view name) {
  constexpr std::pair<std::string_view, char32_t> kNames[] = {
      {"amp", '&'}, {"lt", '<'}, {"gt", '>'}, {"quot", '"'}, {"apos", '\''}, {"nbsp", 0xA0}};
  for (const auto& [known, character] : kNames) {
    if (known == name) return character;
  }
  if (!name.starts_with('#') || name.size() < 2 || name.size() > 9) return std::nullopt;
  const bool hexadecimal = name[1] == 'x' || name[1] == 'X';
  const std::string digits(name.substr(hexadecimal ? 2 : 1));
  const char* allowed = hexadecimal ? "0123456789abcdefABCDEF" : "0123456789";
  if (digits.empty() || digits.find_first_not_of(allowed) != std::string::npos) return std::nullopt;
  const unsigned long value = std::stoul(digits, nullptr, hexadecimal ? 16 : 10);
  if (value == 0 || value > 0x10FFFF || (value >= 0xD800 && value < 0xE000)) return 0xFFFD;
  return static_cast<char32_t>(value);
}

std::string Unescaped(std::string_view text) {
  TextBuilder out;
  while (!text.empty()) {
    const size_t semicolon = text[0] == '&' ? text.substr(0, 12).find(';') : std::string_view::npos;
    const std::optional<char32_t> character =
        semicolon == std::string_view::npos ? std::nullopt : Entity(text.substr(1, semicolon - 1));
    if (character) {
      std::string one;
      AppendUtf8(*character, &one);
      out += one;
      text.remove_prefix(semicolon + 1);
    } else {
      out += text[0];
      text.remove_prefix(1);
    }
  }
  return out.Take();
}

Value Escape(Interpreter*, const Value& input, const Args& args) {
  const BoundArgs bound("escape", args, {});
  return Value::MakeMarkup(EscapedText(input));
}

Value ForceEscape(Interpreter*, const Value& input, const Args& args) {
  const BoundArgs bound("forceescape", args, {});
  return Value::MakeMarkup(EscapeHtml(ToString(input)));
}

Value Safe(Interpreter*, const Value& input, const Args& args) {
  const BoundArgs bound("safe", args, {});
  return Value::MakeMarkup(ToString(input));
}

Value StripTags(Interpreter*, const Value& input, const Args& args) {
  const BoundArgs bound("striptags", args, {});
  const std::string without = Without(Without(ToString(input), "<!--", "-->"), "<", ">");
  return Value(Unescaped(Collapsed(without)));
}

Value XmlAttr(Interpreter*, const Value& input, const Args& args) {
  const BoundArgs bound("xmlattr", args, {"autospace"});
  if (!input.is_dict()) Fail("xmlattr needs a mapping, not " + std::string(TypeName(input)));
  TextBuilder out;
  for (const auto& [key, value] : input.as_dict().entries()) {
    if (value.is_none() || value.is_undefined()) continue;
    const std::string name = ToString(key);
    if (!key.is_string()) Fail("expected string or bytes-like object");
    if (name.find_first_of(" \t\n\r\f\v/>=") != std::string::npos) {
      Fail("Invalid character in attribute name: " + Repr(key));
    }
    if (!out.empty() || bound.Bool(0, true)) out += ' ';
    out += EscapedText(key);
    out += "=\"";
    out += EscapedText(value);
    out += '"';
  }
  return Value(out.Take());
}

Value FileSizeFormat(Interpreter*, const Value& input, const Args& args) {
  const bool binary = BoundArgs("filesizeformat", args, {"binary"}).Bool(0, false);
  const Value number = FindNumberFilter("float")->apply(nullptr, input, {});
  const double bytes = number.as_double();
  const double base = binary ? 1024 : 1000;
  if (bytes == 1) return Value("1 Byte");
  if (bytes < base) return Value(IntegerText(IntegerFromDouble(bytes)) + " Bytes");
  constexpr const char* kPrefixes[] = {"k", "M", "G", "T", "P", "E", "Z", "Y"};
  // The least number that the next prefix is for; exact, as 10^24 is no double.
  const auto unit = [&](size_t prefix) {
    return Arithmetic(BinaryOp::kPower, Value(static_cast<int64_t>(base)),
                      Value(static_cast<int64_t>(prefix) + 2));
  };
  size_t i = 0;
  while (i + 1 < std::size(kPrefixes) && !Less(Value(bytes), unit(i))) ++i;
  char text[400];
  const std::string prefix =
      binary ? std::string(1, kPrefixes[i][0] == 'k' ? 'K' : kPrefixes[i][0]) + "i"
             : std::string(kPrefixes[i]);
  std::snprintf(text, sizeof(text), "%.1f %sB", base * bytes / unit(i).as_double(), prefix.c_str());
  return Value(std::string(text));
}

constexpr FilterEntry kMarkupFilters[] = {
    {"e", Escape},
    {"escape", Escape},
    {"filesizeformat", FileSizeFormat},
    {"forceescape", ForceEscape},
    {"safe", Safe},
    {"striptags", StripTags},
    {"xmlattr", XmlAttr},
};

}  // namespace

const FilterEntry* FindMarkupFilter(std::string_view name) {
  for (const FilterEntry& entry : kMarkupFilters) {
    if (entry.name == name) return &entry;
  }
  return nullptr;
}

}  // namespace pingti::text::jinja
