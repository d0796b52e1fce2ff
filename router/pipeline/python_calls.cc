// See python_calls.h.
#include "router/pipeline/python_calls.h"

#include <algorithm>
#include <cctype>
#include <optional>
#include <string>
#include <utility>

#include "boost/json.hpp"

namespace pingti::router {
namespace json = boost::json;
namespace {

// Source: The Python Language Reference, 2.4 "Literals" and 6.2.5 to 6.2.7; numbers are those that
// JSON has too.
class PythonReader {
 public:
  explicit PythonReader(std::string_view text) : text_(text) {}

  // Nothing when the text is no list of calls.
  std::optional<std::vector<WholeCall>> List() {
    std::vector<WholeCall> calls;
    if (!Take('[')) return std::nullopt;
    while (!Take(']')) {
      std::optional<WholeCall> call = Call();
      if (!call.has_value()) return std::nullopt;
      calls.push_back(*std::move(call));
      if (!Take(',') && Peek() != ']') return std::nullopt;
    }
    SkipBlank();
    if (!text_.empty()) return std::nullopt;
    return calls;
  }

 private:
  static constexpr int kMostDepth = 64;

  void SkipBlank() {
    while (!text_.empty() && std::isspace(static_cast<unsigned char>(text_.front())) != 0) {
      text_.remove_prefix(1);
    }
  }
  char Peek() {
    SkipBlank();
    return text_.empty() ? '\0' : text_.front();
  }
  bool Take(char c) {
    if (Peek() != c) return false;
    text_.remove_prefix(1);
    return true;
  }
  // Letters, digits, '_' and '.'.
  std::string_view Word() {
    SkipBlank();
    size_t n = 0;
    while (n < text_.size() && (std::isalnum(static_cast<unsigned char>(text_[n])) != 0 ||
                                text_[n] == '_' || text_[n] == '.' || text_[n] == '-')) {
      ++n;
    }
    const std::string_view word = text_.substr(0, n);
    text_.remove_prefix(n);
    return word;
  }

  std::optional<WholeCall> Call() {
    WholeCall call;
    call.name = Word();
    json::object arguments;
    if (call.name.empty() || !Take('(')) return std::nullopt;
    while (!Take(')')) {
      const std::string_view key = Word();
      if (key.empty() || !Take('=')) return std::nullopt;
      std::optional<json::value> value = Value(0);
      if (!value.has_value()) return std::nullopt;
      arguments[json::string_view(key.data(), key.size())] = *std::move(value);
      if (!Take(',') && Peek() != ')') return std::nullopt;
    }
    call.arguments = json::serialize(arguments);
    return call;
  }

  std::optional<json::value> Value(int depth) {
    if (depth > kMostDepth) return std::nullopt;
    const char first = Peek();
    if (first == '\'' || first == '"') return String();
    if (first == '[' || first == '(') return Sequence(first == '[' ? ']' : ')', depth);
    if (first == '{') return Dictionary(depth);
    if (Take('+') || first == '-') return Number(first == '-' && Take('-') ? "-" : "");
    return Number("");
  }

  // A number, or one of the three names that are values; JSON's own spelling of them as well.
  std::optional<json::value> Number(std::string sign) {
    const std::string word = sign + std::string(Word());
    if (word == "True" || word == "true") return json::value(true);
    if (word == "False" || word == "false") return json::value(false);
    if (word == "None" || word == "null") return json::value(nullptr);
    json::error_code error;
    json::value value = json::parse(word, error);  // null after an error
    if (!value.is_number()) return std::nullopt;
    return value;
  }

  std::optional<json::value> Sequence(char end, int depth) {
    text_.remove_prefix(1);
    json::array list;
    while (!Take(end)) {
      std::optional<json::value> value = Value(depth + 1);
      if (!value.has_value()) return std::nullopt;
      list.push_back(*std::move(value));
      if (!Take(',') && Peek() != end) return std::nullopt;
    }
    return json::value(std::move(list));
  }

  std::optional<json::value> Dictionary(int depth) {
    text_.remove_prefix(1);
    json::object object;
    while (!Take('}')) {
      std::optional<json::value> key = Value(depth + 1);
      if (!key.has_value() || !key->is_string() || !Take(':')) return std::nullopt;
      std::optional<json::value> value = Value(depth + 1);
      if (!value.has_value()) return std::nullopt;
      object[key->get_string()] = *std::move(value);
      if (!Take(',') && Peek() != '}') return std::nullopt;
    }
    return json::value(std::move(object));
  }

  std::optional<json::value> String() {
    const char quote = text_.front();
    text_.remove_prefix(1);
    std::string value;
    while (!text_.empty() && text_.front() != quote) {
      char c = text_.front();
      text_.remove_prefix(1);
      if (c == '\\') {
        if (text_.empty()) return std::nullopt;
        c = text_.front();
        text_.remove_prefix(1);
        if (!Escape(c, &value)) return std::nullopt;
      } else {
        value.push_back(c);
      }
    }
    if (text_.empty()) return std::nullopt;
    text_.remove_prefix(1);
    return json::value(json::string(value));
  }

  // Escapes that JSON has are read by it; of the others, a backslash stays, as in Python.
  bool Escape(char c, std::string* value) {
    if (c == '\'' || c == '"' || c == '\\' || c == '\n') {
      if (c != '\n') value->push_back(c);
      return true;
    }
    std::string quoted = {'"', '\\', c};
    if (c == 'u') {
      TakeHex(&quoted);
      // Half of a surrogate pair, as JSON writes what is beyond 16 bits.
      if (text_.starts_with("\\u") && IsHighSurrogate(quoted)) {
        text_.remove_prefix(2);
        TakeHex(&quoted.append("\\u"));
      }
    } else if (std::string_view("nrtbf").find(c) == std::string_view::npos) {
      value->append({'\\', c});
      return true;
    }
    json::error_code error;
    const json::value parsed = json::parse(quoted + "\"", error);
    if (error) return false;
    value->append(parsed.as_string().data(), parsed.as_string().size());
    return true;
  }

  void TakeHex(std::string* quoted) {
    quoted->append(text_.substr(0, 4));
    text_.remove_prefix(std::min<size_t>(4, text_.size()));
  }
  // "\uD800 to "\uDBFF.
  static bool IsHighSurrogate(std::string_view quoted) {
    return quoted.size() == 7 && (quoted[3] == 'D' || quoted[3] == 'd') &&
           std::string_view("89ABab").find(quoted[4]) != std::string_view::npos;
  }

  std::string_view text_;
};

}  // namespace

size_t PythonBrackets::Push(std::string_view text) {
  size_t taken = 0;
  while (taken < text.size() && !closed_) {
    const char c = text[taken++];
    if (quote_ != 0) {
      if (escaped_) {
        escaped_ = false;
      } else if (c == '\\') {
        escaped_ = true;
      } else if (c == quote_) {
        quote_ = 0;
      }
    } else if (c == '\'' || c == '"') {
      quote_ = c;
    } else if (c == '[' || c == '(' || c == '{') {
      ++depth_;
    } else if (c == ']' || c == ')' || c == '}') {
      closed_ = --depth_ == 0;
    }
  }
  return taken;
}

std::vector<WholeCall> ReadPythonCalls(std::string_view text) {
  return PythonReader(text).List().value_or(std::vector<WholeCall>());
}

}  // namespace pingti::router
