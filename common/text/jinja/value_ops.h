// Python's operators, conversions and printing for template values. Stateless.
// Errors are thrown (error.h) with Python's wording where templates show it. Every item and every
// 64 bytes that an operation looks at is a step of the budget.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/text/jinja/value.h"

namespace pingti::text::jinja {

// "str", "int", "dict", ... as Python's type(v).__name__.
std::string_view TypeName(const Value& value);

bool Truth(const Value& value);
bool Equal(const Value& a, const Value& b);
// a < b. Errors: types that Python does not order.
bool Less(const Value& a, const Value& b);
bool LessEqual(const Value& a, const Value& b);
bool Contains(const Value& container, const Value& item);

// Fails with the look-up's message when `value` is undefined.
void RequireDefined(const Value& value);

// Whether Python can use it as a key.
bool IsHashable(const Value& value);
void RequireHashable(const Value& value);

// str() and repr().
std::string ToString(const Value& value);
std::string Repr(const Value& value);
// ascii(): repr() with escapes for what is not ASCII.
std::string AsciiRepr(const Value& value);
std::string FloatRepr(double value);
// A decimal number, inf or nan; nullopt for other text. What is beyond double is infinite or zero.
std::optional<double> FloatFromText(std::string_view text);

// len(). Errors: no length.
int64_t Length(const Value& value);
// An integer as bounds of slices take it: what is beyond 64 bits is the nearest within.
int64_t ClampedInt(const Value& integer);
// The items that iterating gives: list items, dict keys, characters of a string.
std::vector<Value> Iterate(const Value& value);

enum class BinaryOp { kAdd, kSubtract, kMultiply, kDivide, kFloorDivide, kModulo, kPower };
Value Arithmetic(BinaryOp op, const Value& a, const Value& b);
Value Negate(const Value& value);

// value[key]; nullopt where Python raises KeyError, IndexError or TypeError.
std::optional<Value> Item(const Value& value, const Value& key);
// value[start:stop:step].
Value Slice(const Value& value, const Value& start, const Value& stop, const Value& step);

// str.isprintable() of one character.
bool IsPrintable(char32_t value);

// Characters of a string as code points. `text` is well-formed UTF-8.
std::vector<char32_t> ToChars(std::string_view text);
std::string FromChars(const std::vector<char32_t>& chars, size_t begin, size_t end);

// Positions in bytes, npos when there is none; time in proportion to the text, whatever is sought.
size_t FindText(std::string_view text, std::string_view wanted, size_t from = 0);
size_t FindLastText(std::string_view text, std::string_view wanted);

// json.dumps.
struct JsonStyle {
  bool ensure_ascii = false;
  std::optional<std::string> indent;  // one level
  std::string item_separator = ", ";
  std::string key_separator = ": ";
  bool sort_keys = false;
};
std::string DumpJson(const Value& value, const JsonStyle& style);

// "%s %05.2f" % args: markup when `format` is.
Value PercentFormat(const Value& format, const Value& args);

}  // namespace pingti::text::jinja
