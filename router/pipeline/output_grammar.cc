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
#include "router/pipeline/tool_call_parser.h"

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

bool IsJson(const grammar::GrammarSource& source) {
  return source.kind == Kind::kJsonSchema || source.kind == Kind::kJsonObject;
}

// The document of response_format as one that stands in a call's place.
absl::StatusOr<json::object> DocumentCall(const grammar::GrammarSource& source) {
  json::value schema = json::object{{"type", "object"}};
  if (source.kind == Kind::kJsonSchema) {
    json::error_code error;
    schema = json::parse(source.text, error);
    if (error) return absl::InvalidArgumentError(Concat("not JSON: ", error.message()));
  }
  return json::object{{"begin", ""}, {"end", ""}, {"schema", std::move(schema)}};
}

// Calls in their frames, without a thought or words.
absl::StatusOr<json::object> Calls(const ServedModel& model, const GenerationRequest& request) {
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
  return json::object{{"begin", frames.begin},
                      {"separator", frames.separator},
                      {"end", frames.end},
                      {"many", many},
                      {"calls", std::move(calls)}};
}

// A call or the document. Frames around all calls do not go together with a document: one call is
// written with its own.
absl::StatusOr<json::object> CallOrDocument(const ServedModel& model,
                                            const GenerationRequest& request) {
  json::object source{
      {"begin", ""}, {"separator", ""}, {"end", ""}, {"many", false}, {"calls", json::array()}};
  if (request.parse_tool_calls) {
    const CallFrames frames = ForcedCallFrames(model, request);
    PINGTI_ASSIGN_OR_RETURN(source, Calls(model, request));
    for (json::value& call : source["calls"].as_array()) {
      json::object& one = call.as_object();
      one["begin"] = Concat(frames.begin, std::string_view(one["begin"].as_string()));
      one["end"] = Concat(std::string_view(one["end"].as_string()), frames.end);
    }
    source["begin"] = source["end"] = "";
    source["many"] = false;
  }
  PINGTI_ASSIGN_OR_RETURN(json::object document, DocumentCall(*request.grammar));
  source["calls"].as_array().push_back(std::move(document));
  return source;
}

// Calls that are forced; a call or a document; words, and calls once their mark was written.
absl::StatusOr<json::object> Framed(const ServedModel& model, const GenerationRequest& request) {
  if (request.require_tool_call) return Calls(model, request);
  if (request.grammar.has_value()) return CallOrDocument(model, request);
  PINGTI_ASSIGN_OR_RETURN(json::object source, Calls(model, request));
  source["free"] = json::string(CallMark(model.tool_calls));
  return source;
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

bool ThinksBeforeGrammar(const ServedModel& model, const GenerationRequest& request) {
  const bool is_framed =
      request.require_tool_call || !request.grammar.has_value() || IsJson(*request.grammar);
  return request.kind == GenerationRequest::Kind::kChat && is_framed &&
         model.reasoning != ReasoningFormat::kNone && model.free_text_grammars;
}

absl::StatusOr<std::optional<grammar::GrammarSource>> OutputGrammar(
    const ServedModel& model, const GenerationRequest& request, bool reasoning_open) {
  // Words before a call end at its mark; a call's frame must begin with it.
  const bool holds_calls = request.parse_tool_calls && !request.is_constrained() &&
                           model.grammars && model.free_text_grammars &&
                           model.tool_calls == ForcedCallFormat(model) &&
                           model.tool_calls == ToolCallFormat::kHermes && request.strict_tools;
  if (!request.is_constrained() && !holds_calls) return std::nullopt;
  const std::string_view field =
      request.grammar.has_value() ? std::string_view(request.grammar_field) : "tools";
  const bool thinks = ThinksBeforeGrammar(model, request);
  const bool has_call_or_document =
      request.grammar.has_value() && request.parse_tool_calls && IsJson(*request.grammar);
  if (request.grammar.has_value()) {
    // What is wrong with the document itself is told first, in its own words.
    PINGTI_RETURN_IF_ERROR(Check(*request.grammar, field));
    if (!has_call_or_document && !thinks) return request.grammar;
  }
  PINGTI_ASSIGN_OR_RETURN(json::object source, Framed(model, request));
  if (thinks) {
    const ReasoningMarkers thought = MarkersOf(model.reasoning);
    source["thought"] = json::object{{"begin", json::string(thought.start)},
                                     {"end", json::string(thought.end)},
                                     {"open", reasoning_open}};
  }
  grammar::GrammarSource framed{Kind::kToolCalls, json::serialize(source)};
  PINGTI_RETURN_IF_ERROR(Check(framed, "tools"));
  return framed;
}

}  // namespace pingti::router
