// See output_grammar.h.
#include "router/pipeline/output_grammar.h"

#include <string>
#include <utility>

#include "boost/json.hpp"
#include "common/base/clock.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "router/api/api_error.h"
#include "router/pipeline/tool_call_formats.h"

namespace pingti::router {
namespace json = boost::json;
namespace {

using Kind = grammar::GrammarSource::Kind;

// The worker's limit as well: what compiles here in time compiles there.
constexpr std::chrono::milliseconds kCompileTimeout{1'000};

json::object CallsFrame(ToolCallFormat format, bool many) {
  json::object frame{{"begin", ""}, {"separator", "\n"}, {"end", ""}, {"many", many}};
  if (format == ToolCallFormat::kLlama3Json) frame["separator"] = "; ";
  if (format == ToolCallFormat::kDeepSeek) {
    frame["begin"] = json::string(kDeepSeekCallsBegin);
    frame["end"] = json::string(kDeepSeekCallsEnd);
  }
  return frame;
}

// The text around one call's arguments.
json::object CallFrame(ToolCallFormat format, std::string_view name) {
  if (format == ToolCallFormat::kDeepSeek) {
    return {{"begin", Concat(kDeepSeekCallBegin, "function", kDeepSeekSeparator, name, "\n",
                             kDeepSeekFence)},
            {"end", Concat("\n```", kDeepSeekCallEnd)}};
  }
  const std::string quoted = json::serialize(json::string_view(name.data(), name.size()));
  if (format == ToolCallFormat::kLlama3Json) {
    return {{"begin", Concat("{\"name\": ", quoted, ", \"parameters\": ")}, {"end", "}"}};
  }
  return {{"begin", Concat(kHermesBegin, "\n{\"name\": ", quoted, ", \"arguments\": ")},
          {"end", Concat("}\n", kHermesEnd)}};
}

// Arguments are an object, also where the tool's author did not say so.
json::value ArgumentsSchema(const json::object& function) {
  const json::value* parameters = function.if_contains("parameters");
  if (parameters == nullptr || !parameters->is_object()) {
    return json::object{{"type", "object"}, {"additionalProperties", false}};
  }
  json::object schema = parameters->get_object();
  for (const char* decides : {"type", "$ref", "anyOf", "oneOf", "allOf", "enum", "const"}) {
    if (schema.contains(decides)) return schema;
  }
  schema["type"] = "object";
  return schema;
}

absl::StatusOr<grammar::GrammarSource> ForcedCalls(const ServedModel& model,
                                                   const GenerationRequest& request) {
  const ToolCallFormat format = ForcedCallFormat(model);
  // One tool by name is one call.
  json::object frame =
      CallsFrame(format, request.parallel_tool_calls && request.named_tool.empty());
  json::array calls;
  for (const json::value& tool : request.template_context->at("tools").as_array()) {
    const json::object& function = tool.as_object().at("function").as_object();
    const json::string& name = function.at("name").as_string();
    const std::string_view view(name.data(), name.size());
    if (!request.named_tool.empty() && request.named_tool != view) continue;
    json::object call = CallFrame(format, view);
    call["schema"] = ArgumentsSchema(function);
    calls.push_back(std::move(call));
  }
  if (calls.empty()) {
    return FieldError("tool_choice", Concat("'tool_choice' names '", request.named_tool,
                                            "', which is none of the 'tools'"));
  }
  frame["calls"] = std::move(calls);
  return grammar::GrammarSource{Kind::kToolCalls, json::serialize(frame)};
}

absl::Status Check(const grammar::GrammarSource& source, std::string_view field) {
  grammar::GrammarLimits limits;
  limits.deadline = limits.clock->Now() + kCompileTimeout;
  const absl::Status status = grammar::CompileGrammar(source, limits).status();
  if (status.ok()) return status;
  const bool schema = source.kind == Kind::kJsonSchema || source.kind == Kind::kToolCalls;
  return ApiError(absl::StatusCode::kInvalidArgument,
                  Concat("Invalid ", schema ? "schema" : "grammar", " for '", field,
                         "': ", std::string(status.message())),
                  field, schema ? "invalid_json_schema" : "invalid_grammar");
}

}  // namespace

ToolCallFormat ForcedCallFormat(const ServedModel& model) {
  return model.tool_calls == ToolCallFormat::kNone ? ToolCallFormat::kHermes : model.tool_calls;
}

absl::StatusOr<std::optional<grammar::GrammarSource>> OutputGrammar(
    const ServedModel& model, const GenerationRequest& request) {
  if (!request.is_constrained()) return std::nullopt;
  if (!request.require_tool_call) {
    PINGTI_RETURN_IF_ERROR(Check(*request.grammar, request.grammar_field));
    return request.grammar;
  }
  PINGTI_ASSIGN_OR_RETURN(grammar::GrammarSource source, ForcedCalls(model, request));
  PINGTI_RETURN_IF_ERROR(Check(source, "tools"));
  return source;
}

}  // namespace pingti::router
