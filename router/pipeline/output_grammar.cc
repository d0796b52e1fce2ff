// See output_grammar.h.
#include "router/pipeline/output_grammar.h"

#include <string>
#include <utility>

#include "boost/json.hpp"
#include "common/base/clock.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "router/api/api_error.h"
#include "router/pipeline/tool_call_marks.h"

namespace pingti::router {
namespace json = boost::json;
namespace {

using Kind = grammar::GrammarSource::Kind;

// The worker's limit as well: what compiles here in time compiles there.
constexpr std::chrono::milliseconds kCompileTimeout{1'000};

// The text around one call's arguments.
CallFrames::Call CallFrame(ToolCallFormat format, std::string_view name) {
  const std::string quoted = json::serialize(json::string_view(name.data(), name.size()));
  std::string begin = Concat("{\"name\": ", quoted, ", \"arguments\": ");
  std::string end = "}";
  switch (format) {
    case ToolCallFormat::kLlama3Json:
      begin = Concat("{\"name\": ", quoted, ", \"parameters\": ");
      break;
    case ToolCallFormat::kDeepSeek:
      begin =
          Concat(kDeepSeekCallBegin, "function", kDeepSeekSeparator, name, "\n", kDeepSeekFence);
      end = Concat("\n```", kDeepSeekCallEnd);
      break;
    case ToolCallFormat::kMistral:
      break;
    default:
      begin = Concat(kHermesBegin, "\n", begin);
      end = Concat("}\n", kHermesEnd);
  }
  return {std::string(name), std::move(begin), std::move(end)};
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

const json::object& FunctionOf(const json::value& tool) {
  return tool.as_object().at("function").as_object();
}

bool IsChosen(const GenerationRequest& request, const json::object& function) {
  const json::string& name = function.at("name").as_string();
  return request.named_tool.empty() ||
         request.named_tool == std::string_view(name.data(), name.size());
}

const json::array& ToolsOf(const GenerationRequest& request) {
  return request.template_context->at("tools").as_array();
}

absl::StatusOr<grammar::GrammarSource> ForcedCalls(const ServedModel& model,
                                                   const GenerationRequest& request) {
  const CallFrames frames = ForcedCallFrames(model, request);
  if (frames.calls.empty()) {
    return FieldError("tool_choice", Concat("'tool_choice' names '", request.named_tool,
                                            "', which is none of the 'tools'"));
  }
  json::array calls;
  for (const json::value& tool : ToolsOf(request)) {
    if (!IsChosen(request, FunctionOf(tool))) continue;
    const CallFrames::Call& frame = frames.calls[calls.size()];
    calls.push_back(json::object{
        {"begin", frame.begin}, {"end", frame.end}, {"schema", ArgumentsSchema(FunctionOf(tool))}});
  }
  // One tool by name is one call.
  const bool many = request.parallel_tool_calls && request.named_tool.empty();
  return grammar::GrammarSource{Kind::kToolCalls,
                                json::serialize(json::object{{"begin", frames.begin},
                                                             {"separator", frames.separator},
                                                             {"end", frames.end},
                                                             {"many", many},
                                                             {"calls", std::move(calls)}})};
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
  switch (model.tool_calls) {
    case ToolCallFormat::kLlama3Json:
    case ToolCallFormat::kDeepSeek:
    case ToolCallFormat::kMistral:
      return model.tool_calls;
    default:
      return ToolCallFormat::kHermes;
  }
}

CallFrames ForcedCallFrames(const ServedModel& model, const GenerationRequest& request) {
  const ToolCallFormat format = ForcedCallFormat(model);
  CallFrames frames{.begin = "", .separator = "\n", .end = "", .calls = {}};
  if (format == ToolCallFormat::kLlama3Json) frames.separator = "; ";
  if (format == ToolCallFormat::kDeepSeek) {
    frames.begin = kDeepSeekCallsBegin;
    frames.end = kDeepSeekCallsEnd;
  }
  if (format == ToolCallFormat::kMistral) {
    frames = {.begin = Concat(kMistralBegin, "["), .separator = ", ", .end = "]", .calls = {}};
  }
  for (const json::value& tool : ToolsOf(request)) {
    if (!IsChosen(request, FunctionOf(tool))) continue;
    const json::string& name = FunctionOf(tool).at("name").as_string();
    frames.calls.push_back(CallFrame(format, std::string_view(name.data(), name.size())));
  }
  return frames;
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
