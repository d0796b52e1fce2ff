// See tool_calls_source.h.
#include "common/grammar/tool_calls_source.h"

#include <boost/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "common/grammar/schema_compiler.h"
#include "common/grammar/text_without.h"

namespace pingti::grammar {
namespace {

namespace json = boost::json;

absl::Status Malformed(std::string_view field, std::string_view expected) {
  return absl::InvalidArgumentError(Concat("tool calls: '", field, "': expected ", expected));
}

absl::StatusOr<ExprId> ReadText(const json::object& from, std::string_view field,
                                Grammar* grammar) {
  const json::value* value = from.if_contains(json::string_view(field.data(), field.size()));
  if (value == nullptr || !value->is_string()) return Malformed(field, "a string");
  const json::string& text = value->get_string();
  return grammar->Literal(std::string_view(text.data(), text.size()));
}

absl::StatusOr<ExprId> ReadCall(const json::value& value, size_t index, Grammar* grammar) {
  const std::string name = Concat("calls[", index, "]");
  if (!value.is_object()) return Malformed(name, "an object");
  const json::object& call = value.get_object();
  PINGTI_ASSIGN_OR_RETURN(const ExprId begin, ReadText(call, "begin", grammar));
  PINGTI_ASSIGN_OR_RETURN(const ExprId end, ReadText(call, "end", grammar));
  const json::value* schema = call.if_contains("schema");
  if (schema == nullptr) return Malformed(name + ".schema", "a JSON schema");
  const absl::Status status = SchemaCompiler(schema, grammar).Run();
  if (!status.ok()) {
    return absl::Status(status.code(), Concat(name, ": ", std::string(status.message())));
  }
  return grammar->Sequence({begin, grammar->Call(grammar->root()), end});
}

std::string TextOf(const json::object& from, std::string_view field) {
  const json::value* value = from.if_contains(json::string_view(field.data(), field.size()));
  return value == nullptr || !value->is_string()
             ? std::string()
             : std::string(value->get_string().data(), value->get_string().size());
}

// Up to the line breaks behind it.
absl::StatusOr<ExprId> ReadThought(const json::value& value, Grammar* grammar) {
  constexpr int32_t kMostBreaks = 4;
  if (!value.is_object()) return Malformed("thought", "an object");
  const json::object& thought = value.get_object();
  const json::value* open = thought.if_contains("open");
  if (open == nullptr || !open->is_bool()) return Malformed("thought.open", "a boolean");
  PINGTI_ASSIGN_OR_RETURN(const ExprId begin, ReadText(thought, "begin", grammar));
  PINGTI_ASSIGN_OR_RETURN(const ExprId text, TextUpTo(TextOf(thought, "end"), grammar));
  const ExprId breaks = grammar->Repeat(grammar->Literal("\n"), 0, kMostBreaks);
  if (open->get_bool()) return grammar->Sequence({text, breaks});
  return grammar->Optional(grammar->Sequence({begin, text, breaks}));
}

}  // namespace

absl::Status ParseToolCalls(std::string_view source, Grammar* grammar) {
  json::error_code error;
  json::parse_options options;
  options.max_depth = static_cast<size_t>(grammar->limits().max_nesting) * 4;
  const json::value parsed =
      json::parse(json::string_view(source.data(), source.size()), error, {}, options);
  if (error || !parsed.is_object()) return Malformed("", "a JSON object");
  const json::object& object = parsed.get_object();
  const json::value* calls = object.if_contains("calls");
  if (calls == nullptr || !calls->is_array() || calls->get_array().empty()) {
    return Malformed("calls", "an array of at least one call");
  }
  const json::value* many = object.if_contains("many");
  if (many == nullptr || !many->is_bool()) return Malformed("many", "a boolean");
  PINGTI_ASSIGN_OR_RETURN(const ExprId begin, ReadText(object, "begin", grammar));
  PINGTI_ASSIGN_OR_RETURN(const ExprId separator, ReadText(object, "separator", grammar));
  PINGTI_ASSIGN_OR_RETURN(const ExprId end, ReadText(object, "end", grammar));
  std::vector<ExprId> alternatives;
  for (size_t i = 0; i < calls->get_array().size(); ++i) {
    PINGTI_ASSIGN_OR_RETURN(alternatives.emplace_back(),
                            ReadCall(calls->get_array()[i], i, grammar));
  }
  const RuleId one = grammar->AddRule("tool call");
  grammar->SetBody(one, grammar->Choice(std::move(alternatives)));
  std::vector<ExprId> parts{begin, grammar->Call(one)};
  if (many->get_bool()) {
    parts.push_back(
        grammar->Repeat(grammar->Sequence({separator, grammar->Call(one)}), 0, kUnbounded));
  }
  parts.push_back(end);
  ExprId answer = grammar->Sequence(std::move(parts));
  if (object.contains("free")) {
    PINGTI_ASSIGN_OR_RETURN(const ExprId words, TextWithout(TextOf(object, "free"), grammar));
    answer = grammar->Sequence({words, grammar->Optional(answer)});
  }
  if (const json::value* thought = object.if_contains("thought")) {
    PINGTI_ASSIGN_OR_RETURN(const ExprId before, ReadThought(*thought, grammar));
    answer = grammar->Sequence({before, answer});
  }
  const RuleId root = grammar->AddRule("tool calls");
  grammar->SetBody(root, answer);
  grammar->SetRoot(root);
  return grammar->status();
}

}  // namespace pingti::grammar
