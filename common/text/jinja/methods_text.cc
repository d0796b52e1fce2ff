// Methods of text, as Python's str has them. See builtins.h; those that ask for classes of
// characters are in methods_classes.cc.
#include <algorithm>
#include <utility>

#include "common/text/jinja/builtins.h"
#include "common/text/jinja/error.h"
#include "common/text/jinja/interpreter.h"
#include "common/text/jinja/markup.h"
#include "common/text/jinja/str_format.h"
#include "common/text/jinja/value_ops.h"
#include "common/text/utf8.h"

namespace pingti::text::jinja {
namespace {

std::optional<std::string> Chars(const BoundArgs& bound) {
  if (!bound.Has(0) || bound.Required(0).is_none()) return std::nullopt;
  return bound.String(0);
}

template <bool left, bool right>
Value StripMethod(Interpreter*, const Value& self, const Args& args) {
  return Value(Strip(self.as_string(), Chars(BoundArgs("strip", args, {"chars"})), left, right));
}

// Words between runs of white space, at most `limit` cuts, from the left or the right.
std::vector<Value> SplitSpace(std::string_view text, int64_t limit, bool from_right) {
  std::vector<Value> parts;
  while (true) {
    text = Strip(text, std::nullopt, !from_right, from_right);
    if (text.empty()) break;
    if (limit >= 0 && static_cast<int64_t>(parts.size()) == limit) {
      parts.emplace_back(text);
      break;
    }
    size_t pos = from_right ? text.size() : 0;
    const auto is_space = [](std::string_view at) {
      return Strip(at, std::nullopt, true, false).size() != at.size();
    };
    if (!from_right) {
      while (pos < text.size() &&
             !is_space(text.substr(pos, DecodeUtf8(text.substr(pos)).length))) {
        pos += DecodeUtf8(text.substr(pos)).length;
      }
      parts.emplace_back(text.substr(0, pos));
      text.remove_prefix(pos);
    } else {
      while (pos > 0) {
        size_t previous = pos - 1;
        while (previous > 0 && (static_cast<uint8_t>(text[previous]) & 0xC0) == 0x80) --previous;
        if (is_space(text.substr(previous, pos - previous))) break;
        pos = previous;
      }
      parts.emplace_back(text.substr(pos));
      text = text.substr(0, pos);
    }
  }
  if (from_right) std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<Value> SplitBy(std::string_view text, std::string_view separator, int64_t limit,
                           bool from_right) {
  if (separator.empty()) Fail("empty separator");
  std::vector<Value> parts;
  while (limit < 0 || static_cast<int64_t>(parts.size()) < limit) {
    const size_t hit = from_right ? FindLastText(text, separator) : FindText(text, separator);
    if (hit == std::string_view::npos) break;
    if (from_right) {
      parts.emplace_back(text.substr(hit + separator.size()));
      text = text.substr(0, hit);
    } else {
      parts.emplace_back(text.substr(0, hit));
      text.remove_prefix(hit + separator.size());
    }
  }
  parts.emplace_back(text);
  if (from_right) std::reverse(parts.begin(), parts.end());
  return parts;
}

template <bool from_right>
Value Split(Interpreter* interpreter, const Value& self, const Args& args) {
  const BoundArgs bound("split", args, {"sep", "maxsplit"});
  const int64_t limit = bound.Int(1, -1);
  ChargeSteps(self.as_string().size() / 16);
  const bool by_space = !bound.Has(0) || bound.Required(0).is_none();
  return Value::MakeList(by_space ? SplitSpace(self.as_string(), limit, from_right)
                                  : SplitBy(self.as_string(), bound.String(0), limit, from_right));
}

Value Splitlines(Interpreter* interpreter, const Value& self, const Args& args) {
  const bool keep = BoundArgs("splitlines", args, {"keepends"}).Bool(0, false);
  std::vector<Value> lines;
  for (const std::string_view line : LinesOf(self.as_string(), keep)) lines.emplace_back(line);
  return Value::MakeList(std::move(lines));
}

// self[start:end] of methods that take bounds in characters. Positions come back in characters.
struct Window {
  std::string text;
  int64_t start = 0;
  // The start is not behind the end: else nothing is found in it, not even the empty text.
  bool exists = true;
};
Window Bounded(const Value& self, const BoundArgs& bound) {
  Value start, end;
  if (bound.Has(1)) start = bound.Required(1);
  if (bound.Has(2)) end = bound.Required(2);
  const int64_t length = Length(self);
  const auto from_front = [length](const Value& position, int64_t otherwise) {
    const int64_t given = position.is_int() ? ClampedInt(position) : otherwise;
    return given < 0 ? std::max<int64_t>(0, given + length) : given;
  };
  const int64_t first = from_front(start, 0);
  const int64_t last = std::min(length, from_front(end, length));
  return {Slice(self, start, end, Value()).as_string(), first, first <= last};
}

template <bool at_end>
Value Affix(Interpreter*, const Value& self, const Args& args) {
  const BoundArgs bound(at_end ? "endswith" : "startswith", args, {"prefix", "start", "end"});
  const bool whole = !bound.Has(1) && !bound.Has(2);
  const Window window = whole ? Window() : Bounded(self, bound);
  const std::string_view text = whole ? self.as_string() : window.text;
  const Value& affix = bound.Required(0);
  const std::vector<Value> candidates =
      affix.is_list() && affix.as_list().is_tuple ? Iterate(affix) : std::vector{affix};
  for (const Value& candidate : candidates) {
    if (!candidate.is_string()) {
      RequireDefined(candidate);
      Fail("startswith first arg must be str or a tuple of str, not " +
           std::string(TypeName(candidate)));
    }
    const std::string& wanted = candidate.as_string();
    ChargeSteps(wanted.size() / kBytesPerStep);
    if (!window.exists) continue;
    if (at_end ? text.ends_with(wanted) : text.starts_with(wanted)) return Value(true);
  }
  return Value(false);
}

template <bool from_right, bool must_exist>
Value Find(Interpreter*, const Value& self, const Args& args) {
  const BoundArgs bound("find", args, {"sub", "start", "end"});
  const std::string& wanted = bound.String(0);
  const Window window = Bounded(self, bound);
  const size_t hit = from_right ? FindLastText(window.text, wanted) : FindText(window.text, wanted);
  if (hit == std::string::npos || !window.exists) {
    if (must_exist) Fail("substring not found");
    return Value(int64_t{-1});
  }
  return Value(window.start + Length(Value(window.text.substr(0, hit))));
}

Value Count(Interpreter*, const Value& self, const Args& args) {
  const BoundArgs bound("count", args, {"sub", "start", "end"});
  const std::string& wanted = bound.String(0);
  const Window window = Bounded(self, bound);
  if (!window.exists) return Value(int64_t{0});
  if (wanted.empty()) return Value(Length(Value(window.text)) + 1);
  int64_t count = 0;
  for (size_t pos = 0; (pos = FindText(window.text, wanted, pos)) != std::string::npos;
       pos += wanted.size()) {
    ++count;
  }
  return Value(count);
}

Value ReplaceMethod(Interpreter* interpreter, const Value& self, const Args& args) {
  const BoundArgs bound("replace", args, {"old", "new", "count"});
  std::string out =
      ReplaceAll(self.as_string(), bound.String(0), bound.String(1), bound.Int(2, -1));
  return Value(std::move(out));
}

Value JoinMethod(Interpreter* interpreter, const Value& self, const Args& args) {
  const BoundArgs bound("join", args, {"iterable"});
  TextBuilder out;
  size_t i = 0;
  for (const Value& item : Iterate(bound.Required(0))) {
    if (!item.is_string()) {
      RequireDefined(item);
      Fail("sequence item " + std::to_string(i) + ": expected str instance, " +
           std::string(TypeName(item)) + " found");
    }
    if (i++ > 0) out += self.as_string();
    out += item.as_string();
  }
  return Value(out.Take());
}

enum class Side { kLeft, kRight, kBoth };
template <Side side>
Value Justify(Interpreter* interpreter, const Value& self, const Args& args) {
  const BoundArgs bound("justify", args, {"width", "fillchar"});
  bound.Required(0);
  const std::string fill = bound.StringOr(1, " ");
  if (Length(Value(fill)) != 1) Fail("The fill character must be exactly one character long");
  const int64_t width = bound.Int(0, 0);
  const int64_t padding = std::max<int64_t>(0, width - Length(self));
  ChargeSize(std::min<size_t>(static_cast<size_t>(padding), SIZE_MAX / 4) * fill.size());
  int64_t left = side == Side::kLeft ? 0 : padding;
  if (side == Side::kBoth) left = padding / 2 + (padding & width & 1);
  std::string out;
  for (int64_t i = 0; i < left; ++i) out += fill;
  out += self.as_string();
  for (int64_t i = left; i < padding; ++i) out += fill;
  return Value(std::move(out));
}

Value Zfill(Interpreter* interpreter, const Value& self, const Args& args) {
  const int64_t width = BoundArgs("zfill", args, {"width"}).Int(0, 0);
  const auto padding = static_cast<size_t>(std::max<int64_t>(0, width - Length(self)));
  ChargeSize(padding);
  std::string out = self.as_string();
  const bool sign = out.starts_with('-') || out.starts_with('+');
  return Value(out.insert(sign ? 1 : 0, padding, '0'));
}

template <bool at_end>
Value RemoveAffix(Interpreter*, const Value& self, const Args& args) {
  const BoundArgs bound("removeprefix", args, {"affix"});
  const std::string& affix = bound.String(0);
  ChargeSteps(affix.size() / kBytesPerStep);
  const std::string& text = self.as_string();
  if (at_end) {
    return text.ends_with(affix) ? Value(text.substr(0, text.size() - affix.size())) : self;
  }
  return text.starts_with(affix) ? Value(text.substr(affix.size())) : self;
}

template <bool from_right>
Value Partition(Interpreter*, const Value& self, const Args& args) {
  const BoundArgs bound("partition", args, {"sep"});
  const std::string& separator = bound.String(0);
  if (separator.empty()) Fail("empty separator");
  const std::string& text = self.as_string();
  const size_t hit = from_right ? FindLastText(text, separator) : FindText(text, separator);
  if (hit == std::string::npos) {
    return from_right ? Value::MakeTuple({Value(""), Value(""), self})
                      : Value::MakeTuple({self, Value(""), Value("")});
  }
  return Value::MakeTuple(
      {Value(text.substr(0, hit)), Value(separator), Value(text.substr(hit + separator.size()))});
}

template <std::string (*convert)(std::string_view)>
Value ConvertSelf(Interpreter*, const Value& self, const Args& args) {
  const BoundArgs bound("method", args, {});
  return Value(convert(self.as_string()));
}

Value ExpandTabs(Interpreter*, const Value& self, const Args& args) {
  const int64_t size = BoundArgs("expandtabs", args, {"tabsize"}).Int(0, 8);
  TextBuilder out;
  int64_t column = 0;
  std::string_view rest = self.as_string();
  while (!rest.empty()) {
    const size_t length = DecodeUtf8(rest).length;
    const std::string_view c = rest.substr(0, length);
    rest.remove_prefix(length);
    if (c == "\t") {
      const int64_t spaces = size > 0 ? size - column % size : 0;
      ChargeText(static_cast<size_t>(spaces));
      out.Append(static_cast<size_t>(spaces), ' ');
      column += spaces;
      continue;
    }
    out += c;
    column = c == "\n" || c == "\r" ? 0 : column + 1;
  }
  return Value(out.Take());
}

// Of markup, what a method makes is markup, and the argument at a position that it puts into the
// text is escaped.
constexpr size_t kNoArgument = SIZE_MAX;
template <Method method, size_t inserted = kNoArgument>
Value OfMarkup(Interpreter* interpreter, const Value& self, const Args& args) {
  if (inserted >= args.positional.size()) return Alike(self, method(interpreter, self, args));
  Args escaped = args;
  escaped.positional[inserted] = Value(EscapedText(args.positional[inserted]));
  return Alike(self, method(interpreter, self, escaped));
}

Value JoinOfMarkup(Interpreter*, const Value& self, const Args& args) {
  TextBuilder out;
  bool first = true;
  for (const Value& item : Iterate(BoundArgs("join", args, {"iterable"}).Required(0))) {
    if (!std::exchange(first, false)) out += self.as_string();
    out += EscapedText(item);
  }
  return Value::MakeMarkup(out.Take());
}

Value FormatMap(Interpreter* interpreter, const Value& self, const Args& args) {
  const Value mapping = BoundArgs("format_map", args, {"mapping"}).Required(0);
  if (!mapping.is_dict()) Fail("format_map needs a mapping, not " + std::string(TypeName(mapping)));
  Args named;
  for (const auto& [key, value] : mapping.as_dict().entries()) {
    if (key.is_string()) named.keyword.emplace_back(key.as_string(), value);
  }
  return FormatMethod(interpreter, self, named);
}

// The table that `translate` takes: of a dict, or of characters and as many others, and those
// that are left out.
Value MakeTrans(Interpreter*, const Value& self, const Args& args) {
  const BoundArgs bound("maketrans", args, {"x", "y", "z"});
  const Value& given = bound.Required(0);
  const auto code = [](char32_t c) { return Value(static_cast<int64_t>(c)); };
  Dict table;
  if (!bound.Has(1)) {
    if (!given.is_dict()) Fail("if you give only one argument to maketrans it must be a dict");
    for (const auto& [key, value] : given.as_dict().entries()) {
      if (key.is_string() && Length(key) != 1) {
        Fail("string keys in translate table must be of length 1");
      }
      if (!key.is_string() && !key.is_int()) {
        Fail("keys in translate table must be strings or integers");
      }
      table.Set(key.is_string() ? code(DecodeUtf8(key.as_string()).value) : key, value);
    }
    return Value(std::make_shared<const Dict>(std::move(table)));
  }
  const std::vector<char32_t> from = ToChars(bound.String(0)), to = ToChars(bound.String(1));
  if (from.size() != to.size()) {
    Fail("the first two maketrans arguments must have equal length");
  }
  for (size_t i = 0; i < from.size(); ++i) table.Set(code(from[i]), code(to[i]));
  for (const char32_t c : ToChars(bound.StringOr(2, ""))) table.Set(code(c), Value());
  return Value(std::make_shared<const Dict>(std::move(table)));
}

Value Translate(Interpreter*, const Value& self, const Args& args) {
  const Value table = BoundArgs("translate", args, {"table"}).Required(0);
  TextBuilder out;
  for (const char32_t c : ToChars(self.as_string())) {
    const std::optional<Value> to = Item(table, Value(static_cast<int64_t>(c)));
    std::string text;
    if (!to) {
      AppendUtf8(c, &text);
    } else if (to->is_string()) {
      text = to->as_string();
    } else if (to->is_int()) {
      const int64_t code = ClampedInt(*to);
      if (code < 0 || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) {
        Fail("character mapping must be in range(0x110000)");
      }
      AppendUtf8(static_cast<char32_t>(code), &text);
    } else if (!to->is_none()) {
      Fail("character mapping must return integer, None or str");
    }
    out += text;
  }
  return Value(out.Take());
}

Value Encode(Interpreter*, const Value& self, const Args& args) {
  Fail("The method 'encode' is not supported: it makes bytes, which a prompt has none of.");
}

struct TextMethodEntry {
  std::string_view name;
  Method method;
  Method of_markup = method;
};
constexpr TextMethodEntry kMethods[] = {
    {"capitalize", ConvertSelf<Capitalize>, OfMarkup<ConvertSelf<Capitalize>>},
    {"casefold", ConvertSelf<ToLower>, OfMarkup<ConvertSelf<ToLower>>},
    {"center", Justify<Side::kBoth>, OfMarkup<Justify<Side::kBoth>, 1>},
    {"count", Count},
    {"encode", Encode},
    {"endswith", Affix<true>},
    {"expandtabs", ExpandTabs, OfMarkup<ExpandTabs>},
    {"find", Find<false, false>},
    {"format", FormatMethod},
    {"format_map", FormatMap},
    {"index", Find<false, true>},
    {"join", JoinMethod, JoinOfMarkup},
    {"ljust", Justify<Side::kLeft>, OfMarkup<Justify<Side::kLeft>, 1>},
    {"lower", ConvertSelf<ToLower>, OfMarkup<ConvertSelf<ToLower>>},
    {"lstrip", StripMethod<true, false>, OfMarkup<StripMethod<true, false>>},
    {"maketrans", MakeTrans},
    {"partition", Partition<false>, OfMarkup<Partition<false>>},
    {"removeprefix", RemoveAffix<false>, OfMarkup<RemoveAffix<false>>},
    {"removesuffix", RemoveAffix<true>, OfMarkup<RemoveAffix<true>>},
    {"replace", ReplaceMethod, OfMarkup<ReplaceMethod, 1>},
    {"rfind", Find<true, false>},
    {"rindex", Find<true, true>},
    {"rjust", Justify<Side::kRight>, OfMarkup<Justify<Side::kRight>, 1>},
    {"rpartition", Partition<true>, OfMarkup<Partition<true>>},
    {"rsplit", Split<true>, OfMarkup<Split<true>>},
    {"rstrip", StripMethod<false, true>, OfMarkup<StripMethod<false, true>>},
    {"split", Split<false>, OfMarkup<Split<false>>},
    {"splitlines", Splitlines, OfMarkup<Splitlines>},
    {"startswith", Affix<false>},
    {"strip", StripMethod<true, true>, OfMarkup<StripMethod<true, true>>},
    {"swapcase", ConvertSelf<SwapCase>, OfMarkup<ConvertSelf<SwapCase>>},
    {"title", ConvertSelf<TitleCase>, OfMarkup<ConvertSelf<TitleCase>>},
    {"translate", Translate, OfMarkup<Translate>},
    {"upper", ConvertSelf<ToUpper>, OfMarkup<ConvertSelf<ToUpper>>},
    {"zfill", Zfill, OfMarkup<Zfill>},
};

}  // namespace

Method FindTextMethod(std::string_view name, bool of_markup) {
  for (const TextMethodEntry& entry : kMethods) {
    if (entry.name == name) return of_markup ? entry.of_markup : entry.method;
  }
  return FindClassMethod(name);
}

}  // namespace pingti::text::jinja
