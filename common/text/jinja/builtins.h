// The filters, tests, methods and global functions of the language, looked up by name once while
// parsing (filters, tests) or when used (methods). Tables are constant; thread-safe.
// Source: Jinja2 3.1, "List of Builtin Filters / Tests"; transformers' chat template globals.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/text/jinja/value.h"

namespace pingti::text::jinja {

class Interpreter;

struct FilterEntry {
  std::string_view name;
  Value (*apply)(Interpreter* interpreter, const Value& input, const Args& args);
};
struct TestEntry {
  std::string_view name;
  bool (*apply)(Interpreter* interpreter, const Value& input, const Args& args);
};
using Method = Value (*)(Interpreter* interpreter, const Value& self, const Args& args);

// nullptr when there is none of that name.
const FilterEntry* FindFilter(std::string_view name);
// What to say of a filter that is not found: jinja2's own ones that are left out have a reason.
std::string FilterRefusal(std::string_view name);
const TestEntry* FindTest(std::string_view name);
Method FindMethod(const Value& self, std::string_view name);
// Methods that would change a list or dict: the sandbox refuses them.
bool IsMutatingMethod(const Value& self, std::string_view name);

// range, namespace, dict, cycler, joiner, raise_exception, strftime_now; lipsum, which fails.
std::optional<Value> FindGlobal(std::string_view name);

// The tables' parts, one per file.
const FilterEntry* FindTextFilter(std::string_view name);
const FilterEntry* FindNumberFilter(std::string_view name);
const FilterEntry* FindMarkupFilter(std::string_view name);
const FilterEntry* FindSequenceFilter(std::string_view name);
Method FindTextMethod(std::string_view name, bool of_markup);
Method FindClassMethod(std::string_view name);

// Arguments by position or name, as a Python function with these parameters takes them.
class BoundArgs {
 public:
  // `function` is for messages. Errors: too many, unknown, given twice.
  BoundArgs(std::string_view function, const Args& args,
            std::initializer_list<std::string_view> parameters);

  bool Has(size_t i) const { return values_[i].has_value(); }
  // Errors: missing.
  const Value& Required(size_t i) const;
  Value Or(size_t i, Value otherwise) const { return values_[i].value_or(std::move(otherwise)); }
  bool Bool(size_t i, bool otherwise) const;
  int64_t Int(size_t i, int64_t otherwise) const;
  const std::string& String(size_t i) const;  // errors: missing, not a string
  std::string StringOr(size_t i, std::string_view otherwise) const;

 private:
  std::string_view function_;
  std::vector<std::string_view> parameters_;
  std::vector<std::optional<Value>> values_;
};

// Text helpers of filters and methods alike.
std::string ToUpper(std::string_view text);
std::string ToLower(std::string_view text);
std::string Capitalize(std::string_view text);
std::string SwapCase(std::string_view text);
// str.title(): upper case for every letter behind something that is no letter.
std::string TitleCase(std::string_view text);
// Strips characters of `chars`, or white space when it is nullopt.
std::string_view Strip(std::string_view text, const std::optional<std::string>& chars, bool left,
                       bool right);
// Lines as str.splitlines() finds them, with or without what ends them.
std::vector<std::string_view> LinesOf(std::string_view text, bool keep_ends);
std::string ReplaceAll(std::string_view text, std::string_view from, std::string_view to,
                       int64_t count);

}  // namespace pingti::text::jinja
