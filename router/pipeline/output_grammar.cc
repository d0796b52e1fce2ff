// See output_grammar.h.
#include "router/pipeline/output_grammar.h"

#include <string>
#include <utility>

#include "boost/json.hpp"
#include "common/base/clock.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "router/api/api_error.h"
#include "router/pipeline/call_syntax.h"
#include "router/pipeline/harmony_calls.h"
#include "router/pipeline/tool_call_marks.h"
#include "router/pipeline/tool_call_parser.h"

namespace pingti::router {
namespace json = boost::json;
namespace {

using Kind = grammar::GrammarSource::Kind;

// The worker's limit as well: what compiles here in time compiles there.
constexpr std::chrono::milliseconds kCompileTimeout{1'000};

// The form that the answer was asked to have, as one that stands in a call's place.
absl::StatusOr<json::object> Document(const grammar::GrammarSource& source) {
  json::object document{{"begin", ""}, {"end", ""}};
  switch (source.kind) {
    case Kind::kRegex:
      document["regex"] = source.text;
      break;
    case Kind::kEbnf:
      document["ebnf"] = source.text;
      break;
    case Kind::kJsonSchema: {
      json::error_code error;
      document["schema"] = json::parse(source.text, error);
      if (error) return absl::InvalidArgumentError(Concat("not JSON: ", error.message()));
      break;
    }
    default:
      document["schema"] = json::object{{"type", "object"}};
  }
  return json::object{{"begin", ""},
                      {"separator", ""},
                      {"end", ""},
                      {"many", false},
                      {"calls", json::array{std::move(document)}}};
}

// The document, or calls where the model can make any.
absl::StatusOr<json::object> DocumentOrCalls(const ServedModel& model,
                                             const GenerationRequest& request) {
  PINGTI_ASSIGN_OR_RETURN(json::object source, Document(*request.grammar));
  if (HoldsMessages(model)) IntoHarmonyMessage(&source);
  if (!request.parse_tool_calls) return source;
  std::optional<json::object> calls = UnforcedCalls(model, request, HeldArguments::kOfAllTools);
  if (!calls.has_value()) return source;
  json::array& others = source["others"].emplace_array();
  if (json::value* more = calls->if_contains("others")) others = std::move(more->as_array());
  calls->erase("others");
  others.push_back(*std::move(calls));
  return source;
}

// What the workers hold the answer to, without a thought. Nothing: words.
absl::StatusOr<std::optional<json::object>> Held(const ServedModel& model,
                                                 const GenerationRequest& request) {
  if (request.require_tool_call) return ForcedCalls(model, request);
  if (request.grammar.has_value()) return DocumentOrCalls(model, request);
  const bool holds_calls =
      request.parse_tool_calls && request.strict_tools && model.framed_grammars;
  if (!holds_calls) return std::nullopt;
  std::optional<json::object> calls = UnforcedCalls(model, request, HeldArguments::kOfStrictTools);
  if (!calls.has_value()) return std::nullopt;
  if (model.tool_calls == ToolCallFormat::kHarmony) {
    (*calls)["messages"] = HarmonyMessages();
    return calls;
  }
  const CallStart start = StartOf(model.tool_calls);
  (*calls)[json::string_view(start.member.data(), start.member.size())] = json::string(start.text);
  return calls;
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

std::vector<std::string_view> SpecialMarks(const ServedModel& model, ToolCallFormat calls) {
  std::vector<std::string_view> special;
  if (model.tokenizer == nullptr) return special;
  const ReasoningMarkers thought = MarkersOf(model.reasoning);
  std::vector<std::string_view> marks = MarksOf(calls);
  marks.insert(marks.end(), {thought.start, thought.end});
  if (model.reasoning == ReasoningFormat::kHarmony) {
    const std::vector<std::string_view> more = HarmonyMarks();
    marks.insert(marks.end(), more.begin(), more.end());
  }
  for (const std::string_view mark : marks) {
    const std::optional<text::TokenId> id = model.tokenizer->FindToken(mark);
    if (id.has_value() && model.tokenizer->IsSpecial(*id)) special.push_back(mark);
  }
  return special;
}

bool ThinksBeforeGrammar(const ServedModel& model, const GenerationRequest& request) {
  if (request.kind != GenerationRequest::Kind::kChat) return false;
  if (model.reasoning == ReasoningFormat::kHarmony) return HoldsMessages(model);
  return model.reasoning != ReasoningFormat::kNone && model.framed_grammars;
}

std::string_view ThoughtEnd(const ServedModel& model, const GenerationRequest& request) {
  // A call has a header of its own.
  if (request.require_tool_call && HoldsMessages(model)) return kHarmonyNext;
  return MarkersOf(model.reasoning).end;
}

absl::StatusOr<std::optional<grammar::GrammarSource>> OutputGrammar(
    const ServedModel& model, const GenerationRequest& request, bool reasoning_open) {
  const std::string_view field =
      request.grammar.has_value() ? std::string_view(request.grammar_field) : "tools";
  const bool thinks = ThinksBeforeGrammar(model, request);
  if (request.grammar.has_value()) {
    // What is wrong with the document itself is told first, in its own words.
    PINGTI_RETURN_IF_ERROR(Check(*request.grammar, field));
    if (!model.framed_grammars || (!request.parse_tool_calls && !thinks)) return request.grammar;
  }
  PINGTI_ASSIGN_OR_RETURN(std::optional<json::object> source, Held(model, request));
  if (!source.has_value()) return std::nullopt;
  // Among messages a thought is one of them.
  if (thinks && (reasoning_open || !source->contains("messages"))) {
    const ReasoningMarkers thought = MarkersOf(model.reasoning);
    const std::string_view end = HoldsMessages(model) ? kHarmonyNext : thought.end;
    (*source)["thought"] = json::object{{"begin", json::string(thought.start)},
                                        {"end", json::string(end)},
                                        {"open", reasoning_open}};
  }
  if (model.framed_grammars) {
    json::array& special = (*source)["special"].emplace_array();
    for (const std::string_view mark : SpecialMarks(model, model.tool_calls)) {
      special.push_back(json::string(mark));
    }
  }
  grammar::GrammarSource framed{Kind::kToolCalls, json::serialize(*source)};
  PINGTI_RETURN_IF_ERROR(Check(framed, request.parse_tool_calls ? "tools" : field));
  return framed;
}

}  // namespace pingti::router
