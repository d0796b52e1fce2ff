// See pretty_print.h. Source: Python's library reference, "pprint".
#include "common/text/jinja/pretty_print.h"

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

#include "common/text/jinja/builtins.h"
#include "common/text/jinja/value_ops.h"
#include "common/text/utf8.h"

namespace pingti::text::jinja {
namespace {

constexpr int64_t kLineWidth = 80;

int64_t WidthOf(const std::string& text) { return Length(Value(text)); }

// Keys of types that do not compare go by the names of their types.
bool KeyLess(const Value& a, const Value& b) {
  if ((a.is_number() && b.is_number()) || TypeName(a) == TypeName(b)) return Less(a, b);
  return TypeName(a) < TypeName(b);
}

// The value with the keys of all its dicts in order.
Value Sorted(const Value& value) {
  ChargeSteps(1);
  if (value.is_dict()) {
    std::vector<Dict::Entry> entries = value.as_dict().entries();
    std::stable_sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) {
      ChargeSteps(1);
      return KeyLess(a.first, b.first);
    });
    auto dict = std::make_shared<Dict>();
    for (Dict::Entry& entry : entries) dict->Set(std::move(entry.first), Sorted(entry.second));
    return Value(std::shared_ptr<const Dict>(std::move(dict)));
  }
  if (!value.is_list()) return value;
  std::vector<Value> items = Iterate(value);
  for (Value& item : items) item = Sorted(item);
  return value.as_list().is_tuple ? Value::MakeTuple(std::move(items))
                                  : Value::MakeList(std::move(items));
}

// Runs of other characters, each with the white space behind it.
std::vector<std::string> WordsWithSpace(std::string_view text) {
  std::vector<std::string> words;
  bool after_space = true;
  while (!text.empty()) {
    const std::string_view c = text.substr(0, DecodeUtf8(text).length);
    const bool is_space = Strip(c, std::nullopt, true, false).empty();
    if (after_space && (!is_space || words.empty())) words.emplace_back();
    words.back() += c;
    after_space = is_space;
    text.remove_prefix(c.size());
  }
  return words;
}

class PrettyPrinter {
 public:
  explicit PrettyPrinter(TextBuilder* out) : out_(out) {}

  // `indent`: the column where the value begins; `allowance`: what must fit behind its last line.
  void Print(const Value& value, int64_t indent, int64_t allowance, bool is_whole) {
    const std::string repr = Repr(value);
    if (WidthOf(repr) <= kLineWidth - indent - allowance) {
      *out_ += repr;
    } else if (value.is_dict()) {
      PrintDict(value.as_dict(), indent, allowance + 1);
    } else if (value.is_list()) {
      PrintList(value.as_list(), indent, allowance);
    } else if (value.is_string() && !value.is_markup()) {
      PrintString(value, indent, allowance, is_whole);
    } else {
      *out_ += repr;
    }
  }

 private:
  void NewLine(int64_t indent) {
    *out_ += '\n';
    out_->Append(static_cast<size_t>(indent), ' ');
  }

  void PrintDict(const Dict& dict, int64_t indent, int64_t allowance) {
    *out_ += '{';
    const auto& entries = dict.entries();
    for (size_t i = 0; i < entries.size(); ++i) {
      const bool is_last = i + 1 == entries.size();
      const std::string key = Repr(entries[i].first);
      *out_ += key;
      *out_ += ": ";
      Print(entries[i].second, indent + 1 + WidthOf(key) + 2, is_last ? allowance : 1, false);
      if (is_last) break;
      *out_ += ',';
      NewLine(indent + 1);
    }
    *out_ += '}';
  }

  void PrintList(const List& list, int64_t indent, int64_t allowance) {
    const bool is_single = list.is_tuple && list.items.size() == 1;
    const std::string_view end = is_single ? ",)" : list.is_tuple ? ")" : "]";
    *out_ += list.is_tuple ? '(' : '[';
    for (size_t i = 0; i < list.items.size(); ++i) {
      const bool is_last = i + 1 == list.items.size();
      const int64_t behind = is_last ? allowance + static_cast<int64_t>(end.size()) : 1;
      Print(list.items[i], indent + 1, behind, false);
      if (is_last) break;
      *out_ += ',';
      NewLine(indent + 1);
    }
    *out_ += end;
  }

  // A literal per line of the text or, of a line that does not fit, per words that do.
  void PrintString(const Value& value, int64_t indent, int64_t allowance, bool is_whole) {
    if (is_whole) {
      ++indent;
      ++allowance;
    }
    const int64_t width = kLineWidth - indent;
    std::vector<std::string> literals;
    const std::vector<std::string_view> lines = LinesOf(value.as_string(), true);
    for (size_t i = 0; i < lines.size(); ++i) {
      const int64_t behind = i + 1 == lines.size() ? allowance : 0;
      std::string repr = Repr(Value(lines[i]));
      if (WidthOf(repr) <= width - behind) {
        literals.push_back(std::move(repr));
      } else {
        AppendWords(WordsWithSpace(lines[i]), width, behind, &literals);
      }
    }
    if (literals.empty()) literals.push_back(Repr(value));  // of no text
    const bool in_brackets = is_whole && literals.size() > 1;
    if (in_brackets) *out_ += '(';
    for (size_t i = 0; i < literals.size(); ++i) {
      if (i > 0) NewLine(indent);
      *out_ += literals[i];
    }
    if (in_brackets) *out_ += ')';
  }

  static void AppendWords(const std::vector<std::string>& words, int64_t width, int64_t behind,
                          std::vector<std::string>* literals) {
    std::string current;
    for (size_t i = 0; i < words.size(); ++i) {
      if (i + 1 == words.size()) width -= behind;
      if (!current.empty() && WidthOf(Repr(Value(current + words[i]))) > width) {
        literals->push_back(Repr(Value(std::exchange(current, {}))));
      }
      current += words[i];
    }
    if (!current.empty()) literals->push_back(Repr(Value(current)));
  }

  TextBuilder* out_;
};

}  // namespace

std::string PrettyPrint(const Value& value) {
  TextBuilder out;
  PrettyPrinter(&out).Print(Sorted(value), 0, 0, true);
  return out.Take();
}

}  // namespace pingti::text::jinja
