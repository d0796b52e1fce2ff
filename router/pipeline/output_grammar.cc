// See output_grammar.h.
#include "router/pipeline/output_grammar.h"

#include <string>
#include <utility>

#include "boost/json.hpp"
#include "common/base/clock.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "router/api/api_error.h"

namespace pingti::router {
namespace json = boost::json;
namespace {

using Kind = grammar::GrammarSource::Kind;

// The worker's limit as well: what compiles here in time compiles there.
constexpr std::chrono::milliseconds kCompileTimeout{1'000};

json::object CallsFrame(std::string_view format, bool many) {
  json::object frame{{"begin", ""}, {"separator", "\n"}, {"end", ""}, {"many", many}};
  if (format == "llama3_json") frame["separator"] = "; ";
  if (format == "deepseek") {
    frame["begin"] = "<｜tool▁calls▁begin｜>";
    frame["end"] = "<｜tool▁calls▁end｜>";
  }
  return frame;
}

// The text around one call's arguments; the syntaxes' sources are in tool_call_formats.h.
json::object CallFrame(std::string_view format, std::string_view name) {
  if (format == "deepseek") {
    return {{"begin", Concat("<｜tool▁call▁begin｜>function<｜tool▁sep｜>", name, "\n```json\n")},
            {"end", "\n```<｜tool▁call▁end｜>"}};
  }
  const std::string quoted = json::serialize(json::string_view(name.data(), name.size()));
  if (format == "llama3_json") {
    return {{"begin", Concat("{\"name\": ", quoted, ", \"parameters\": ")}, {"end", "}"}};
  }
  return {{"begin", Concat("<tool_call>\n{\"name\": ", quoted, ", \"arguments\": ")},
          {"end", "}\n</tool_call>"}};
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
  const std::string_view format = ForcedCallFormat(model);
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

std::string_view ForcedCallFormat(const ServedModel& model) {
  return model.tool_call_format.empty() ? std::string_view("hermes") : model.tool_call_format;
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
