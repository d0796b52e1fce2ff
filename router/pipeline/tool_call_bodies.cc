// See tool_call_bodies.h.
#include "router/pipeline/tool_call_bodies.h"

#include <algorithm>
#include <utility>

#include "boost/json.hpp"
#include "router/pipeline/blank.h"
#include "router/pipeline/json_call_scanner.h"
#include "router/pipeline/tool_call_marks.h"

namespace pingti::router {
namespace json = boost::json;
namespace {

bool TakePrefix(std::string_view prefix, std::string_view* text) {
  if (!text->starts_with(prefix)) return false;
  text->remove_prefix(prefix.size());
  return true;
}

// The text up to `end`, which is taken as well. Nothing where there is no `end`.
std::optional<std::string_view> TakeUntil(std::string_view end, std::string_view* text) {
  const size_t at = text->find(end);
  if (at == std::string_view::npos) return std::nullopt;
  const std::string_view before = text->substr(0, at);
  text->remove_prefix(at + end.size());
  return before;
}

std::optional<json::value> Parse(std::string_view text) {
  json::error_code error;
  json::value value = json::parse(json::string_view(text.data(), text.size()), error);
  if (error) return std::nullopt;
  return value;
}

// Control characters within strings, which JSON does not allow, as escapes.
std::string EscapeInStrings(std::string_view text) {
  std::string out;
  bool in_string = false;
  bool is_escaped = false;
  for (const char c : text) {
    if (in_string && static_cast<unsigned char>(c) < 0x20) {
      const std::string quoted = json::serialize(json::string_view(&c, 1));
      out.append(quoted, 1, quoted.size() - 2);
      continue;
    }
    out.push_back(c);
    if (c == '"' && !is_escaped) in_string = !in_string;
    is_escaped = in_string && c == '\\' && !is_escaped;
  }
  return out;
}

CallBody One(std::string_view name, std::optional<std::string> arguments,
             std::string_view rest = {}) {
  CallBody body;
  if (!arguments.has_value() || name.empty()) return body;
  body.calls.push_back({std::string(name), *std::move(arguments)});
  body.rest = rest;
  return body;
}

const json::value* Find(const json::value* value, std::string_view name) {
  const json::object* object = value == nullptr ? nullptr : value->if_object();
  return object == nullptr ? nullptr
                           : object->if_contains(json::string_view(name.data(), name.size()));
}

// The "type" that the tool's schema gives a parameter; null where it gives none.
const json::value* TypeOf(const json::array* tools, std::string_view tool,
                          std::string_view parameter) {
  if (tools == nullptr) return nullptr;
  for (const json::value& entry : *tools) {
    const json::value* function = Find(&entry, "function");
    const json::value* name = Find(function, "name");
    if (name == nullptr || *name != json::string_view(tool.data(), tool.size())) continue;
    return Find(Find(Find(Find(function, "parameters"), "properties"), parameter), "type");
  }
  return nullptr;
}

// A value that is written without quotes: what the schema calls a string is one, and so is what is
// no JSON.
json::value ReadBareValue(const json::value* type, std::string_view text) {
  const json::string_view plain(text.data(), text.size());
  if (type != nullptr && *type == "string") return json::value(plain);
  std::optional<json::value> parsed = Parse(Trim(text));
  return parsed.has_value() ? *std::move(parsed) : json::value(plain);
}

// One line break at either end only sets a value off.
std::string_view WithoutFrame(std::string_view text) {
  TakePrefix("\n", &text);
  if (text.ends_with('\n')) text.remove_suffix(1);
  return text;
}

bool LooksLikeJson(std::string_view body) { return body.starts_with('{') || body.starts_with('['); }

}  // namespace

std::optional<std::string> ArgumentsObject(std::string_view text) {
  const std::string_view trimmed = Trim(text);
  if (trimmed.empty() || trimmed == "null") return "{}";
  std::string repaired;
  std::optional<json::value> value = Parse(trimmed);
  if (!value.has_value()) value = Parse(repaired = EscapeInStrings(trimmed));
  if (!value.has_value()) return std::nullopt;
  if (value->is_object()) return repaired.empty() ? std::string(trimmed) : repaired;
  if (const json::string* quoted = value->if_string()) {
    const std::string_view inner(quoted->data(), quoted->size());
    // One level only: a string within a string is none.
    if (Trim(inner).starts_with('{') || Trim(inner).empty()) return ArgumentsObject(inner);
  }
  return std::nullopt;
}

std::string CustomInput(const std::string& arguments) {
  const std::optional<json::value> parsed = Parse(arguments);
  const json::value* input = parsed.has_value() ? Find(&*parsed, "input") : nullptr;
  const json::string* text = input == nullptr ? nullptr : input->if_string();
  return text == nullptr ? arguments : std::string(text->data(), text->size());
}

CallBody ReadJsonCalls(std::string_view body, const json::array*) {
  CallBody read;
  std::string_view rest = body;
  const auto skip = [&rest](std::string_view set) {
    rest.remove_prefix(std::min(rest.find_first_not_of(set), rest.size()));
  };
  skip(kBlank);
  const bool is_list = TakePrefix("[", &rest);
  while (true) {
    skip(read.calls.empty() ? kBlank : std::string_view(" \t\r\n,;"));
    if (is_list && TakePrefix("]", &rest)) break;
    if (rest.empty()) {
      read.is_open = is_list || read.calls.empty();
      break;
    }
    JsonCallScanner scanner;
    const size_t taken = scanner.Push(rest);
    if (!scanner.complete()) {
      read.is_open = !scanner.failed();
      break;
    }
    std::optional<std::string> arguments = ArgumentsObject(scanner.arguments());
    if (!arguments.has_value()) break;
    read.calls.push_back({scanner.name(), *std::move(arguments)});
    rest.remove_prefix(taken);
  }
  read.rest = rest;
  return read;
}

CallBody ReadQwenXmlCall(std::string_view body, const json::array* tools) {
  std::string_view rest = Trim(body);
  if (LooksLikeJson(rest)) return ReadJsonCalls(body, tools);
  if (!TakePrefix("<function=", &rest)) return {};
  const std::optional<std::string_view> name = TakeUntil(">", &rest);
  if (!name.has_value()) return {.is_open = true};
  json::object arguments;
  while (true) {
    rest = Trim(rest);
    if (TakePrefix("</function>", &rest)) break;
    if (!TakePrefix("<parameter=", &rest)) return {.is_open = rest.empty()};
    const std::optional<std::string_view> key = TakeUntil(">", &rest);
    const std::optional<std::string_view> value =
        key.has_value() ? TakeUntil("</parameter>", &rest) : std::nullopt;
    if (!value.has_value()) return {.is_open = true};
    arguments[json::string_view(key->data(), key->size())] =
        ReadBareValue(TypeOf(tools, *name, *key), WithoutFrame(*value));
  }
  return One(*name, json::serialize(arguments), rest);
}

CallBody ReadGlmCall(std::string_view body, const json::array* tools) {
  std::string_view rest = Trim(body);
  if (LooksLikeJson(rest)) return ReadJsonCalls(body, tools);
  const size_t name_end = std::min(rest.find_first_of("\n<"), rest.size());
  const std::string_view name = Trim(rest.substr(0, name_end));
  rest.remove_prefix(name_end);
  json::object arguments;
  while (!(rest = Trim(rest)).empty()) {
    if (!TakePrefix("<arg_key>", &rest)) return {};
    const std::optional<std::string_view> key = TakeUntil("</arg_key>", &rest);
    rest = Trim(rest);
    if (!key.has_value() || !TakePrefix("<arg_value>", &rest)) return {.is_open = true};
    const std::optional<std::string_view> value = TakeUntil("</arg_value>", &rest);
    if (!value.has_value()) return {.is_open = true};
    arguments[json::string_view(key->data(), key->size())] =
        ReadBareValue(TypeOf(tools, name, *key), *value);
  }
  if (name.find_first_of(kBlank) != std::string_view::npos) return {};  // words, no name
  return One(name, json::serialize(arguments));
}

CallBody ReadDeepSeekCall(std::string_view body, const json::array*) {
  std::string_view rest = body;
  const std::optional<std::string_view> before = TakeUntil(kDeepSeekSeparator, &rest);
  if (!before.has_value()) return {};
  if (Trim(rest).starts_with('{')) return One(Trim(*before), ArgumentsObject(rest));
  const std::optional<std::string_view> name = TakeUntil(kDeepSeekFence, &rest);
  if (!name.has_value()) return {};
  rest = Trim(rest);
  while (rest.ends_with('`')) rest.remove_suffix(1);
  return One(Trim(*name), ArgumentsObject(rest));
}

CallBody ReadKimiCall(std::string_view body, const json::array*) {
  std::string_view rest = body;
  const std::optional<std::string_view> before = TakeUntil(kKimiArguments, &rest);
  if (!before.has_value()) return {};
  const std::string_view id = Trim(*before);
  std::string_view name = id.substr(0, id.rfind(':'));
  TakePrefix("functions.", &name);
  CallBody read = One(name, ArgumentsObject(rest));
  for (WholeCall& call : read.calls) call.id = id;
  return read;
}

CallBody ReadHarmonyCall(std::string_view body, const json::array*) {
  std::string_view rest = body;
  const std::optional<std::string_view> recipient = TakeUntil(kHarmonyMessage, &rest);
  if (!recipient.has_value()) return {};
  std::string_view name = Trim(*recipient);
  TakePrefix("functions.", &name);
  return One(name, ArgumentsObject(rest));
}

CallBody ReadMistralCalls(std::string_view body, const json::array* tools) {
  std::string_view rest = Trim(body);
  if (LooksLikeJson(rest)) return ReadJsonCalls(body, tools);
  const size_t name_end = rest.find_first_of("[{ \t\r\n");
  if (name_end == std::string_view::npos) return {};
  const std::string_view name = rest.substr(0, name_end);
  rest = Trim(rest.substr(name_end));
  std::string_view id;
  if (TakePrefix(kMistralId, &rest)) {
    id = Trim(rest.substr(0, rest.find_first_of("[{")));
    rest.remove_prefix(std::min(rest.find_first_of("[{"), rest.size()));
  }
  if (TakePrefix(kMistralArguments, &rest)) rest = Trim(rest);
  CallBody read = One(name, rest.empty() ? std::nullopt : ArgumentsObject(rest));
  for (WholeCall& call : read.calls) call.id = id;
  return read;
}

}  // namespace pingti::router
