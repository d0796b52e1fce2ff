// See thinking.h.
#include "router/openai/thinking.h"

#include <optional>
#include <string>
#include <string_view>

#include "boost/json.hpp"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "router/api/json_fields.h"

namespace pingti::router {
namespace json = boost::json;
namespace {

struct Thinking {
  std::optional<bool> enabled;
  std::string effort;
  std::optional<uint32_t> budget;  // tokens
};

absl::Status ReadBudget(std::string_view field, const json::value& value, Thinking* out) {
  int64_t tokens = 0;
  PINGTI_RETURN_IF_ERROR(ReadInteger(field, value, 0, INT32_MAX, &tokens));
  out->budget = static_cast<uint32_t>(tokens);
  return absl::OkStatus();
}

absl::Status ReadEnabled(std::string_view field, const json::value& value, Thinking* out) {
  return ReadBool(field, value, &out->enabled.emplace());
}

// Efforts are words of the model's own template; those that mean none at all are known.
absl::Status ReadEffort(std::string_view field, const json::value& value, Thinking* out) {
  PINGTI_RETURN_IF_ERROR(ReadString(field, value, &out->effort));
  out->enabled = out->effort != "none" && out->effort != "minimal";
  return absl::OkStatus();
}

// {"type": "enabled" | "adaptive" | "disabled", "budget_tokens": 1024}
absl::Status ReadSwitch(std::string_view field, const json::value& value, Thinking* out) {
  const std::string path(field);
  PINGTI_ASSIGN_OR_RETURN(const json::object* thinking, RequireObject(path, value));
  PINGTI_RETURN_IF_ERROR(RequireString(path, *thinking, "type"));
  const std::string_view type = TextOf(*thinking, "type");
  if (type != "enabled" && type != "adaptive" && type != "disabled") {
    return WrongValue(path + ".type", type, {"enabled", "adaptive", "disabled"});
  }
  out->enabled = type != "disabled";
  const json::value* budget = thinking->if_contains("budget_tokens");
  return budget == nullptr ? absl::OkStatus() : ReadBudget(path + ".budget_tokens", *budget, out);
}

using ReadMember = absl::Status (*)(std::string_view field, const json::value& value,
                                    Thinking* out);
struct ThinkingField {
  const char* name;
  ReadMember read;
};

absl::Status ReadMembers(std::string_view path, const json::object& object,
                         std::span<const ThinkingField> rows, Thinking* out) {
  for (const ThinkingField& row : rows) {
    const json::value* value = object.if_contains(row.name);
    const std::string field =
        path.empty() ? row.name : Concat(path, ".", std::string_view(row.name));
    if (value != nullptr) PINGTI_RETURN_IF_ERROR(row.read(field, *value, out));
  }
  return absl::OkStatus();
}

absl::Status ReadReasoning(std::string_view field, const json::value& value, Thinking* out) {
  static constexpr ThinkingField kRows[] = {
      {"effort", &ReadEffort}, {"enabled", &ReadEnabled}, {"max_tokens", &ReadBudget}};
  PINGTI_ASSIGN_OR_RETURN(const json::object* reasoning, RequireObject(field, value));
  return ReadMembers(field, *reasoning, kRows, out);
}

}  // namespace

absl::Status ReadThinking(const json::object& body, json::object* context,
                          GenerationRequest* request) {
  // The more exactly a field says it, the later it is read.
  static constexpr ThinkingField kRows[] = {{"reasoning_effort", &ReadEffort},
                                            {"reasoning", &ReadReasoning},
                                            {"thinking", &ReadSwitch},
                                            {"enable_thinking", &ReadEnabled},
                                            {"thinking_budget", &ReadBudget}};
  Thinking thinking;
  PINGTI_RETURN_IF_ERROR(ReadMembers("", body, kRows, &thinking));
  if (thinking.enabled.has_value()) {
    context->emplace("enable_thinking", *thinking.enabled);
    context->emplace("thinking", *thinking.enabled);
  }
  if (!thinking.effort.empty()) context->emplace("reasoning_effort", thinking.effort);
  request->thinking_budget = thinking.budget;
  return absl::OkStatus();
}

}  // namespace pingti::router
