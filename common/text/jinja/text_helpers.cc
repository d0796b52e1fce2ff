// Text operations that filters and methods share. See builtins.h.
#include <utf8proc.h>

#include <algorithm>

#include "common/text/jinja/builtins.h"
#include "common/text/jinja/error.h"
#include "common/text/jinja/value_ops.h"
#include "common/text/utf8.h"

namespace pingti::text::jinja {
namespace {

bool IsPythonSpace(char32_t c) { return IsWhiteSpace(c) || (c >= 0x1C && c <= 0x1F); }

char32_t Upper(char32_t c) {
  return static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c)));
}
char32_t Lower(char32_t c) {
  return static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c)));
}

bool IsLineEnd(char32_t c) {
  return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 ||
         c == 0x2029;
}

template <typename Visit>
void VisitLines(std::string_view text, bool keep_ends, Visit visit) {
  ChargeSteps(text.size() / kBytesPerStep);
  size_t begin = 0;
  for (size_t pos = 0; pos < text.size();) {
    const DecodedChar c = DecodeUtf8(text.substr(pos));
    size_t end = pos + c.length;
    if (IsLineEnd(c.value)) {
      if (c.value == '\r' && end < text.size() && text[end] == '\n') ++end;
      visit(text.substr(begin, (keep_ends ? end : pos) - begin));
      begin = end;
    }
    pos = end;
  }
  if (begin < text.size()) visit(text.substr(begin));
}

// A word's first character.
std::string ToTitle(char32_t c) {
  if (c == 0xDF) return "Ss";  // sharp s has no single title-case character in Python
  std::string title;
  AppendUtf8(static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(c))), &title);
  return title;
}

}  // namespace

std::string ToUpper(std::string_view text) {
  std::string out;
  for (const char32_t c : ToChars(text)) {
    if (c == 0xDF) {
      out += "SS";  // sharp s has no single upper-case character in Python
    } else {
      AppendUtf8(Upper(c), &out);
    }
  }
  return out;
}

std::string ToLower(std::string_view text) {
  std::string out;
  for (const char32_t c : ToChars(text)) {
    if (c == 0x130) {
      out += "i\xCC\x87";
    } else {
      AppendUtf8(Lower(c), &out);
    }
  }
  return out;
}

std::string Capitalize(std::string_view text) {
  if (text.empty()) return {};
  const DecodedChar first = DecodeUtf8(text);
  return ToTitle(first.value) + ToLower(text.substr(first.length));
}

std::string SwapCase(std::string_view text) {
  std::string out;
  for (const char32_t c : ToChars(text)) {
    std::string one;
    AppendUtf8(c, &one);
    const bool is_upper =
        utf8proc_category(static_cast<utf8proc_int32_t>(c)) == UTF8PROC_CATEGORY_LU;
    out += is_upper ? ToLower(one) : ToUpper(one);
  }
  return out;
}

std::string TitleCase(std::string_view text) {
  std::string out;
  bool in_word = false;
  for (const char32_t c : ToChars(text)) {
    std::string one;
    AppendUtf8(c, &one);
    out += in_word ? ToLower(one) : ToTitle(c);
    const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
    in_word = category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
  }
  return out;
}

std::string_view Strip(std::string_view text, const std::optional<std::string>& chars, bool left,
                       bool right) {
  const std::vector<char32_t> set = chars ? ToChars(*chars) : std::vector<char32_t>();
  const auto strips = [&](char32_t c) {
    ChargeSteps(set.size() / 16);
    return chars ? std::find(set.begin(), set.end(), c) != set.end() : IsPythonSpace(c);
  };
  const size_t size = text.size();
  while (left && !text.empty()) {
    const DecodedChar c = DecodeUtf8(text);
    if (!strips(c.value)) break;
    text.remove_prefix(c.length);
  }
  while (right && !text.empty()) {
    size_t last = text.size() - 1;
    while (last > 0 && (static_cast<uint8_t>(text[last]) & 0xC0) == 0x80) --last;
    if (!strips(DecodeUtf8(text.substr(last)).value)) break;
    text = text.substr(0, last);
  }
  ChargeSteps((size - text.size()) / kBytesPerStep);
  return text;
}

std::vector<std::string_view> LinesOf(std::string_view text, bool keep_ends) {
  size_t count = 0;
  VisitLines(text, keep_ends, [&](std::string_view) { ++count; });
  ChargeSize(count * sizeof(std::string_view));
  std::vector<std::string_view> lines;
  lines.reserve(count);
  VisitLines(text, keep_ends, [&](std::string_view line) { lines.push_back(line); });
  return lines;
}

std::string ReplaceAll(std::string_view text, std::string_view from, std::string_view to,
                       int64_t count) {
  TextBuilder out;
  int64_t done = 0;
  if (from.empty()) {  // between all characters, as in Python
    while (true) {
      if (count < 0 || done < count) {
        out += to;
        ++done;
      }
      if (text.empty()) return out.Take();
      const size_t length = DecodeUtf8(text).length;
      out += text.substr(0, length);
      text.remove_prefix(length);
    }
  }
  size_t pos = 0;
  while (count < 0 || done < count) {
    const size_t hit = FindText(text, from, pos);
    if (hit == std::string_view::npos) break;
    out += text.substr(pos, hit - pos);
    out += to;
    pos = hit + from.size();
    ++done;
  }
  out += text.substr(pos);
  return out.Take();
}

}  // namespace pingti::text::jinja
