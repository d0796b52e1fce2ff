// See chat_tools.h.
#include "router/openai/chat_tools.h"

#include <algorithm>
#include <initializer_list>
#include <utility>

#include "boost/json.hpp"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "router/api/api_error.h"
#include "router/api/json_fields.h"
#include "router/openai/chat_body.h"

namespace pingti::router {
namespace json = boost::json;
namespace {

absl::Status CheckFunction(const std::string& path, const json::object& tool) {
  const json::value* function = tool.if_contains("function");
  if (function == nullptr) return MissingField(path);
  PINGTI_ASSIGN_OR_RETURN(const json::object* members, RequireObject(path, *function));
  PINGTI_RETURN_IF_ERROR(RequireString(path, *members, "name"));
  const json::value* parameters = members->if_contains("parameters");
  if (parameters != nullptr && !parameters->is_object()) {
    return WrongType(path + ".parameters", *parameters, "an object");
  }
  const json::value* description = members->if_contains("description");
  if (description != nullptr && !description->is_string()) {
    return WrongType(path + ".description", *description, "a string");
  }
  const json::value* strict = members->if_contains("strict");
  if (strict != nullptr && !strict->is_bool()) {
    return WrongType(path + ".strict", *strict, "a boolean");
  }
  return absl::OkStatus();
}

// What a custom tool's text must look like. `description` and `input`, the text's schema, are added
// to.
absl::Status ReadFormat(const std::string& path, const json::value& value, std::string* description,
                        json::object* input, IgnoredFields* ignored) {
  PINGTI_ASSIGN_OR_RETURN(const json::object* format, RequireObject(path, value));
  PINGTI_RETURN_IF_ERROR(RequireString(path, *format, "type"));
  if (TextOf(*format, "type") == "text") return absl::OkStatus();
  if (TextOf(*format, "type") != "grammar") {
    return WrongValue(path + ".type", TextOf(*format, "type"), {"text", "grammar"});
  }
  const json::value* inner = format->if_contains("grammar");
  const std::string place = inner == nullptr ? path : path + ".grammar";
  if (inner != nullptr) {
    PINGTI_ASSIGN_OR_RETURN(format, RequireObject(place, *inner));
  }
  PINGTI_RETURN_IF_ERROR(RequireString(place, *format, "syntax"));
  PINGTI_RETURN_IF_ERROR(RequireString(place, *format, "definition"));
  const std::string_view syntax = TextOf(*format, "syntax");
  const std::string_view definition = TextOf(*format, "definition");
  if (syntax == "regex") {
    *description += Concat("\n\nThe input matches this regular expression: ", definition);
    (*input)["pattern"] = json::string(Concat("^(?:", definition, ")$"));
    return absl::OkStatus();
  }
  if (syntax != "lark") return WrongValue(place + ".syntax", syntax, {"regex", "lark"});
  // The model reads it, and nothing holds the text to it.
  *description += Concat("\n\nThe input follows this Lark grammar:\n", definition);
  ignored->Add("tools[custom].format");
  return absl::OkStatus();
}

absl::StatusOr<json::object> CustomTool(const std::string& path, const json::object& tool,
                                        IgnoredFields* ignored) {
  const std::string inner = path + ".custom";
  const json::value* custom = tool.if_contains("custom");
  if (custom == nullptr) return MissingField(inner);
  PINGTI_ASSIGN_OR_RETURN(const json::object* members, RequireObject(inner, *custom));
  PINGTI_RETURN_IF_ERROR(RequireString(inner, *members, "name"));
  std::string description;
  if (const json::value* given = members->if_contains("description")) {
    PINGTI_RETURN_IF_ERROR(ReadString(inner + ".description", *given, &description));
  }
  json::object input{{"type", "string"}};
  if (const json::value* format = members->if_contains("format")) {
    PINGTI_RETURN_IF_ERROR(ReadFormat(inner + ".format", *format, &description, &input, ignored));
  }
  json::object function{{"name", members->at("name")}};
  if (!description.empty()) function["description"] = json::string(description);
  if (input.contains("pattern")) function["strict"] = true;
  function["parameters"] = json::object{{"type", "object"},
                                        {"properties", json::object{{"input", std::move(input)}}},
                                        {"required", json::array{"input"}},
                                        {"additionalProperties", false}};
  return FunctionTool(std::move(function));
}

// The name in {"type": "function" | "custom", TYPE: {"name": ...}}.
absl::StatusOr<std::string> NameOfChoice(const std::string& path, const json::object& choice) {
  PINGTI_RETURN_IF_ERROR(RequireString(path, choice, "type"));
  const std::string type(TextOf(choice, "type"));
  if (type != "function" && type != "custom") {
    return UnsupportedField(path + ".type",
                            Concat("'", type, "'; expected 'function' or 'custom'"));
  }
  const std::string inner = Concat(path, ".", type);
  const json::value* tool = choice.if_contains(type);
  if (tool == nullptr) return MissingField(inner);
  PINGTI_ASSIGN_OR_RETURN(const json::object* members, RequireObject(inner, *tool));
  PINGTI_RETURN_IF_ERROR(RequireString(inner, *members, "name"));
  return std::string(TextOf(*members, "name"));
}

absl::StatusOr<ToolChoice> ChoiceByMode(std::string_view field, std::string_view mode,
                                        std::initializer_list<std::string_view> modes) {
  if (std::find(modes.begin(), modes.end(), mode) == modes.end()) {
    return WrongValue(field, mode, modes);
  }
  return ToolChoice{.use_tools = mode != "none", .forced = mode == "required"};
}

// {"mode": "auto" | "required", "tools": [...]}
absl::StatusOr<ToolChoice> ParseAllowedTools(const json::object& choice) {
  const std::string path = "tool_choice.allowed_tools";
  const json::value* value = choice.if_contains("allowed_tools");
  if (value == nullptr) return MissingField(path);
  PINGTI_ASSIGN_OR_RETURN(const json::object* allowed, RequireObject(path, *value));
  PINGTI_RETURN_IF_ERROR(RequireString(path, *allowed, "mode"));
  PINGTI_ASSIGN_OR_RETURN(ToolChoice parsed, ChoiceByMode(path + ".mode", TextOf(*allowed, "mode"),
                                                          {"auto", "required"}));
  const json::value* tools = allowed->if_contains("tools");
  if (tools == nullptr) return MissingField(path + ".tools");
  if (!tools->is_array()) return WrongType(path + ".tools", *tools, "an array");
  parsed.allowed.emplace();
  for (size_t i = 0; i < tools->get_array().size(); ++i) {
    const std::string place = Concat(path, ".tools[", i, "]");
    PINGTI_ASSIGN_OR_RETURN(const json::object* tool, RequireObject(place, tools->get_array()[i]));
    PINGTI_ASSIGN_OR_RETURN(parsed.allowed->emplace_back(), NameOfChoice(place, *tool));
  }
  return parsed;
}

std::string_view NameOf(const json::value& tool) {
  return TextOf(tool.at("function").get_object(), "name");
}

}  // namespace

void IgnoreTool(std::string_view type, IgnoredFields* ignored) {
  ignored->Add(IsPlainName(type) ? Concat("tools[", type, "]") : "tools[*]");
}

absl::Status NormalizeTools(json::value* tools, std::vector<std::string>* custom_tools,
                            IgnoredFields* ignored) {
  if (!tools->is_array()) return WrongType("tools", *tools, "an array");
  json::array& list = tools->get_array();
  size_t num_kept = 0;
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string path = Concat("tools[", i, "]");
    PINGTI_ASSIGN_OR_RETURN(const json::object* tool, RequireObject(path, list[i]));
    PINGTI_RETURN_IF_ERROR(RequireString(path, *tool, "type"));
    const std::string_view type = TextOf(*tool, "type");
    if (type == "custom") {
      PINGTI_ASSIGN_OR_RETURN(list[num_kept], CustomTool(path, *tool, ignored));
      custom_tools->emplace_back(NameOf(list[num_kept++]));
    } else if (type == "function") {
      PINGTI_RETURN_IF_ERROR(CheckFunction(path + ".function", *tool));
      if (num_kept < i) list[num_kept] = std::move(list[i]);
      json::object& function = list[num_kept++].at("function").get_object();
      json::value* parameters = function.if_contains("parameters");
      if (parameters != nullptr) DropNullKeywords(parameters);
    } else {
      IgnoreTool(type, ignored);
    }
  }
  list.resize(num_kept);
  return absl::OkStatus();
}

absl::StatusOr<ToolChoice> ParseToolChoice(const json::value& choice) {
  if (choice.is_string()) {
    return ChoiceByMode("tool_choice", View(choice.get_string()), {"none", "auto", "required"});
  }
  if (!choice.is_object()) return WrongType("tool_choice", choice, "a string or an object");
  const json::object& object = choice.get_object();
  const json::value* type = object.if_contains("type");
  if (type != nullptr && *type == "allowed_tools") return ParseAllowedTools(object);
  ToolChoice parsed{.forced = true};
  PINGTI_ASSIGN_OR_RETURN(parsed.name, NameOfChoice("tool_choice", object));
  return parsed;
}

absl::Status KeepAllowedTools(const ToolChoice& choice, json::array* tools) {
  if (!choice.allowed.has_value()) return absl::OkStatus();
  const std::vector<std::string>& allowed = *choice.allowed;
  for (const std::string& name : allowed) {
    const bool is_known = std::any_of(tools->begin(), tools->end(), [&](const json::value& tool) {
      return NameOf(tool) == name;
    });
    if (is_known) continue;
    return FieldError("tool_choice.allowed_tools.tools",
                      Concat("'tool_choice' allows '", name, "', which is none of the 'tools'"));
  }
  const auto is_other = [&](const json::value& tool) {
    return std::find(allowed.begin(), allowed.end(), NameOf(tool)) == allowed.end();
  };
  tools->erase(std::remove_if(tools->begin(), tools->end(), is_other), tools->end());
  return absl::OkStatus();
}

}  // namespace pingti::router
