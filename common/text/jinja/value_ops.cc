// See value_ops.h. Arithmetic is in value_arithmetic.cc, printing in value_print.cc, JSON in
// value_json.cc, % in percent_format.cc.
#include "common/text/jinja/value_ops.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "common/text/jinja/big_integer.h"
#include "common/text/jinja/error.h"
#include "common/text/jinja/markup.h"
#include "common/text/utf8.h"

namespace pingti::text::jinja {
namespace {

// Resolves Python's slice bounds for a sequence of `length` items.
struct Bounds {
  int64_t start, stop, step;
};
Bounds SliceBounds(const Value& start, const Value& stop, const Value& step, int64_t length) {
  const auto number = [](const Value& v, int64_t otherwise) {
    if (v.is_none()) return otherwise;
    if (!v.is_int()) {
      RequireDefined(v);
      Fail("slice indices must be integers or None or have an __index__ method");
    }
    return ClampedInt(v);
  };
  Bounds bounds{};
  bounds.step = number(step, 1);
  if (bounds.step == 0) Fail("slice step cannot be zero");
  const bool down = bounds.step < 0;
  const auto clamp = [&](int64_t index) {
    if (index < 0) index = std::max<int64_t>(index + length, down ? -1 : 0);
    return std::min(index, down ? length - 1 : length);
  };
  bounds.start = start.is_none() ? (down ? length - 1 : 0) : clamp(number(start, 0));
  bounds.stop = stop.is_none() ? (down ? -1 : length) : clamp(number(stop, 0));
  return bounds;
}

template <typename Visit>
void ForSlice(const Bounds& bounds, Visit visit) {
  if (bounds.step > 0) {
    for (int64_t i = bounds.start; i < bounds.stop;) {
      visit(static_cast<size_t>(i));
      if (__builtin_add_overflow(i, bounds.step, &i)) break;
    }
  } else {
    for (int64_t i = bounds.start; i > bounds.stop;) {
      visit(static_cast<size_t>(i));
      if (__builtin_add_overflow(i, bounds.step, &i)) break;
    }
  }
}

bool SameText(const std::string& a, const std::string& b) {
  if (a.size() != b.size()) return false;
  ChargeSteps(a.size() / kBytesPerStep);
  return a == b;
}

bool EqualItem(const Value& a, const Value& b) {
  ChargeSteps(1);
  return Equal(a, b);
}

}  // namespace

std::string_view TypeName(const Value& value) {
  if (value.is_undefined()) return "Undefined";
  if (value.is_none()) return "NoneType";
  if (value.is_bool()) return "bool";
  if (value.is_int()) return "int";
  if (value.is_float()) return "float";
  if (value.is_string()) return value.is_markup() ? "Markup" : "str";
  if (value.is_list()) return value.as_list().is_tuple ? "tuple" : "list";
  if (value.is_dict()) return "dict";
  if (value.is_namespace()) return "Namespace";
  return value.is_iterator() ? "generator" : "object";
}

int64_t ClampedInt(const Value& integer) {
  if (integer.as_big_integer() == nullptr) return integer.as_int();
  return IsNegative(integer) ? std::numeric_limits<int64_t>::min()
                             : std::numeric_limits<int64_t>::max();
}

bool Truth(const Value& value) {
  if (value.is_undefined() || value.is_none()) return false;
  if (value.is_bool()) return value.as_bool();
  if (value.is_int()) return value.as_big_integer() != nullptr || value.as_int() != 0;
  if (value.is_float()) return value.as_double() != 0;
  if (value.is_string()) return !value.as_string().empty();
  if (value.is_list()) return !value.as_list().items.empty();
  if (value.is_dict()) return !value.as_dict().entries().empty();
  return true;
}

bool Equal(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) return CompareNumbers(a, b) == 0;
  if (a.is_string() && b.is_string()) return SameText(a.as_string(), b.as_string());
  if (a.is_none() || b.is_none()) return a.is_none() && b.is_none();
  if (a.is_undefined() || b.is_undefined()) return a.is_undefined() && b.is_undefined();
  if (a.is_list() && b.is_list()) {
    const List &x = a.as_list(), &y = b.as_list();
    return x.is_tuple == y.is_tuple &&
           std::equal(x.items.begin(), x.items.end(), y.items.begin(), y.items.end(), EqualItem);
  }
  if (a.is_dict() && b.is_dict()) {
    const Dict &x = a.as_dict(), &y = b.as_dict();
    if (x.entries().size() != y.entries().size()) return false;
    return std::all_of(x.entries().begin(), x.entries().end(), [&](const Dict::Entry& entry) {
      const Value* other = y.Find(entry.first);
      return other != nullptr && EqualItem(entry.second, *other);
    });
  }
  return a.IsSame(b);
}

bool Less(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) return CompareNumbers(a, b) < 0;
  if (a.is_string() && b.is_string()) {
    ChargeSteps(std::min(a.as_string().size(), b.as_string().size()) / kBytesPerStep);
    return a.as_string() < b.as_string();  // UTF-8 keeps order
  }
  if (a.is_list() && b.is_list() && a.as_list().is_tuple == b.as_list().is_tuple) {
    const auto &x = a.as_list().items, &y = b.as_list().items;
    for (size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
      if (!EqualItem(x[i], y[i])) return Less(x[i], y[i]);
    }
    return x.size() < y.size();
  }
  RequireDefined(a);
  RequireDefined(b);
  Fail("'<' not supported between instances of '" + std::string(TypeName(a)) + "' and '" +
       std::string(TypeName(b)) + "'");
}

bool LessEqual(const Value& a, const Value& b) {
  // NaN is neither less nor equal, which `!(b < a)` would miss.
  if (a.is_number() && b.is_number()) return CompareNumbers(a, b) <= 0;
  return !Less(b, a);
}

bool Contains(const Value& container, const Value& item) {
  if (container.is_string()) {
    if (!item.is_string()) {
      RequireDefined(item);
      Fail("'in <string>' requires string as left operand, not " + std::string(TypeName(item)));
    }
    return FindText(container.as_string(), item.as_string()) != std::string_view::npos;
  }
  if (container.is_dict()) {
    RequireHashable(item);
    return container.as_dict().Find(item) != nullptr;
  }
  if (container.is_list()) {
    const auto& items = container.as_list().items;
    return std::any_of(items.begin(), items.end(),
                       [&](const Value& candidate) { return EqualItem(candidate, item); });
  }
  if (container.is_undefined()) return false;
  if (container.is_iterator()) {
    while (const std::optional<Value> candidate = container.as_object().Next()) {
      if (EqualItem(*candidate, item)) return true;
    }
    return false;
  }
  Fail("argument of type '" + std::string(TypeName(container)) + "' is not iterable");
}

void RequireDefined(const Value& value) {
  if (value.is_undefined()) Fail(value.as_undefined().message->text);
}

bool IsHashable(const Value& value) {
  ChargeSteps(1);
  if (value.is_list()) {
    const List& list = value.as_list();
    return list.is_tuple && std::all_of(list.items.begin(), list.items.end(), IsHashable);
  }
  return !value.is_dict() && !value.is_namespace();
}

void RequireHashable(const Value& value) {
  if (!IsHashable(value)) {
    Fail("unhashable type: '" + std::string(TypeName(value)) + "'");
  }
}

int64_t Length(const Value& value) {
  if (value.is_string()) {
    const std::string& text = value.as_string();
    ChargeSteps(text.size() / kBytesPerStep);
    return std::count_if(text.begin(), text.end(),
                         [](char c) { return (static_cast<uint8_t>(c) & 0xC0) != 0x80; });
  }
  if (value.is_list()) return static_cast<int64_t>(value.as_list().items.size());
  if (value.is_dict()) return static_cast<int64_t>(value.as_dict().entries().size());
  if (value.is_undefined()) return 0;
  Fail("object of type '" + std::string(TypeName(value)) + "' has no len()");
}

std::vector<Value> Iterate(const Value& value) {
  if (value.is_list()) {
    ChargeSize(value.as_list().items.size() * sizeof(Value));
    return value.as_list().items;
  }
  std::vector<Value> items;
  if (value.is_dict()) {
    ChargeSize(value.as_dict().entries().size() * sizeof(Value));
    for (const Dict::Entry& entry : value.as_dict().entries()) items.push_back(entry.first);
  } else if (value.is_string()) {
    std::string_view rest = value.as_string();
    while (!rest.empty()) {
      const size_t length = DecodeUtf8(rest).length;
      items.emplace_back(rest.substr(0, length));
      rest.remove_prefix(length);
    }
  } else if (value.is_iterator()) {
    while (std::optional<Value> item = value.as_object().Next()) items.push_back(*std::move(item));
  } else if (!value.is_undefined()) {
    Fail("'" + std::string(TypeName(value)) + "' object is not iterable");
  }
  return items;
}

std::optional<Value> Item(const Value& value, const Value& key) {
  RequireDefined(value);
  if (value.is_dict()) {
    const Value* found = value.as_dict().Find(key);
    return found == nullptr ? std::nullopt : std::optional<Value>(*found);
  }
  if (!key.is_int() || key.as_big_integer() != nullptr) return std::nullopt;
  int64_t index = key.as_int();
  if (value.is_list()) {
    const auto& items = value.as_list().items;
    if (index < 0) index += static_cast<int64_t>(items.size());
    if (index < 0 || index >= static_cast<int64_t>(items.size())) return std::nullopt;
    return items[static_cast<size_t>(index)];
  }
  if (value.is_string()) {
    const int64_t length = Length(value);
    ChargeSteps(value.as_string().size() / kBytesPerStep);
    if (index < 0) index += length;
    if (index < 0 || index >= length) return std::nullopt;
    std::string_view rest = value.as_string();
    for (; index > 0; --index) rest.remove_prefix(DecodeUtf8(rest).length);
    return Alike(value, Value(rest.substr(0, DecodeUtf8(rest).length)));
  }
  return std::nullopt;
}

Value Slice(const Value& value, const Value& start, const Value& stop, const Value& step) {
  RequireDefined(value);
  if (value.is_string()) {
    const std::vector<char32_t> chars = ToChars(value.as_string());
    std::string out;
    ForSlice(SliceBounds(start, stop, step, static_cast<int64_t>(chars.size())),
             [&](size_t i) { AppendUtf8(chars[i], &out); });
    return Alike(value, Value(std::move(out)));
  }
  if (!value.is_list()) {
    Fail("'" + std::string(TypeName(value)) + "' object is not subscriptable by a slice");
  }
  const List& list = value.as_list();
  std::vector<Value> items;
  ForSlice(SliceBounds(start, stop, step, static_cast<int64_t>(list.items.size())),
           [&](size_t i) { items.push_back(list.items[i]); });
  return list.is_tuple ? Value::MakeTuple(std::move(items)) : Value::MakeList(std::move(items));
}

std::vector<char32_t> ToChars(std::string_view text) {
  ChargeSize(text.size() * sizeof(char32_t));
  std::vector<char32_t> chars;
  chars.reserve(text.size());
  while (!text.empty()) {
    const DecodedChar c = DecodeUtf8(text);
    chars.push_back(c.value);
    text.remove_prefix(c.length);
  }
  return chars;
}

std::string FromChars(const std::vector<char32_t>& chars, size_t begin, size_t end) {
  std::string out;
  for (size_t i = begin; i < end; ++i) AppendUtf8(chars[i], &out);
  return out;
}

size_t FindText(std::string_view text, std::string_view wanted, size_t from) {
  if (from > text.size()) return std::string_view::npos;
  if (wanted.empty()) return from;
  const void* hit = memmem(text.data() + from, text.size() - from, wanted.data(), wanted.size());
  const size_t pos = hit == nullptr
                         ? std::string_view::npos
                         : static_cast<size_t>(static_cast<const char*>(hit) - text.data());
  ChargeSteps((std::min(pos, text.size()) - from + wanted.size()) / kBytesPerStep);
  return pos;
}

size_t FindLastText(std::string_view text, std::string_view wanted) {
  if (wanted.size() <= 1) {
    ChargeSteps(text.size() / kBytesPerStep);
    return text.rfind(wanted);
  }
  ChargeSize(text.size() + wanted.size());
  const std::string backward(text.rbegin(), text.rend());
  const size_t hit = FindText(backward, std::string(wanted.rbegin(), wanted.rend()));
  return hit == std::string_view::npos ? hit : text.size() - hit - wanted.size();
}

}  // namespace pingti::text::jinja
