// Methods of text that ask what characters it is of, as Python's str has them. See builtins.h.
#include <utf8proc.h>

#include <algorithm>

#include "common/text/jinja/builtins.h"
#include "common/text/jinja/value_ops.h"
#include "common/text/utf8.h"

namespace pingti::text::jinja {
namespace {

// True when the text has characters and all are of the class.
template <bool (*is_member)(char32_t)>
Value AllChars(Interpreter*, const Value& self, const Args& args) {
  const BoundArgs bound("method", args, {});
  const std::vector<char32_t> chars = ToChars(self.as_string());
  return Value(!chars.empty() && std::all_of(chars.begin(), chars.end(), is_member));
}

utf8proc_category_t Category(char32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}
bool IsAlpha(char32_t c) {
  return Category(c) >= UTF8PROC_CATEGORY_LU && Category(c) <= UTF8PROC_CATEGORY_LO;
}
// Superscripts and circled digits too.
bool IsDigit(char32_t c) {
  return IsDecimalDigit(c) || c == 0xB2 || c == 0xB3 || c == 0xB9 || c == 0x2070 ||
         (c >= 0x2074 && c <= 0x2079) || (c >= 0x2080 && c <= 0x2089) ||
         (c >= 0x2460 && c <= 0x2468);
}
bool IsAlnum(char32_t c) { return IsAlpha(c) || IsNumeric(c); }
bool IsSpace(char32_t c) { return IsWhiteSpace(c) || (c >= 0x1C && c <= 0x1F); }
bool IsAscii(char32_t c) { return c < 0x80; }

template <bool upper>
Value IsCase(Interpreter*, const Value& self, const Args& args) {
  const BoundArgs bound("method", args, {});
  bool found = false;
  for (const char32_t c : ToChars(self.as_string())) {
    const utf8proc_category_t category = Category(c);
    const bool is_upper = category == UTF8PROC_CATEGORY_LU,
               is_lower = category == UTF8PROC_CATEGORY_LL;
    if (category == UTF8PROC_CATEGORY_LT || (upper ? is_lower : is_upper)) return Value(false);
    found = found || (upper ? is_upper : is_lower);
  }
  return Value(found);
}

// True when every run of letters begins with a capital and goes on without one.
Value IsTitle(Interpreter*, const Value& self, const Args& args) {
  const BoundArgs bound("istitle", args, {});
  bool found = false, in_word = false;
  for (const char32_t c : ToChars(self.as_string())) {
    const utf8proc_category_t category = Category(c);
    const bool capital = category == UTF8PROC_CATEGORY_LU || category == UTF8PROC_CATEGORY_LT;
    const bool small = category == UTF8PROC_CATEGORY_LL;
    if ((capital && in_word) || (small && !in_word)) return Value(false);
    in_word = capital || small;
    found = found || in_word;
  }
  return Value(found);
}

// Also the empty text is.
Value IsAsciiText(Interpreter*, const Value& self, const Args& args) {
  const BoundArgs bound("isascii", args, {});
  const std::vector<char32_t> chars = ToChars(self.as_string());
  return Value(std::all_of(chars.begin(), chars.end(), IsAscii));
}

Value IsPrintableText(Interpreter*, const Value& self, const Args& args) {
  const BoundArgs bound("isprintable", args, {});
  const std::vector<char32_t> chars = ToChars(self.as_string());
  return Value(std::all_of(chars.begin(), chars.end(), IsPrintable));
}

// A name of Python: a letter or _, then letters, marks, digits and connectors.
Value IsIdentifier(Interpreter*, const Value& self, const Args& args) {
  const BoundArgs bound("isidentifier", args, {});
  const std::vector<char32_t> chars = ToChars(self.as_string());
  const auto starts = [](char32_t c) {
    return c == '_' || IsAlpha(c) || Category(c) == UTF8PROC_CATEGORY_NL;
  };
  const auto goes_on = [&](char32_t c) {
    const utf8proc_category_t category = Category(c);
    return starts(c) || category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_MC ||
           category == UTF8PROC_CATEGORY_ND || category == UTF8PROC_CATEGORY_PC;
  };
  return Value(!chars.empty() && starts(chars[0]) &&
               std::all_of(chars.begin(), chars.end(), goes_on));
}

struct ClassMethodEntry {
  std::string_view name;
  Method method;
};
constexpr ClassMethodEntry kClassMethods[] = {
    {"isalnum", AllChars<IsAlnum>},
    {"isalpha", AllChars<IsAlpha>},
    {"isascii", IsAsciiText},
    {"isdecimal", AllChars<IsDecimalDigit>},
    {"isdigit", AllChars<IsDigit>},
    {"isidentifier", IsIdentifier},
    {"islower", IsCase<false>},
    {"isnumeric", AllChars<IsNumeric>},
    {"isprintable", IsPrintableText},
    {"isspace", AllChars<IsSpace>},
    {"istitle", IsTitle},
    {"isupper", IsCase<true>},
};

}  // namespace

Method FindClassMethod(std::string_view name) {
  for (const ClassMethodEntry& entry : kClassMethods) {
    if (entry.name == name) return entry.method;
  }
  return nullptr;
}

}  // namespace pingti::text::jinja
