// See structured_output.h.
#include "router/openai/structured_output.h"

#include <string>
#include <utility>
#include <vector>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "router/api/api_error.h"
#include "router/api/json_fields.h"

namespace pingti::router {
namespace json = boost::json;
namespace {

using Kind = grammar::GrammarSource::Kind;

grammar::GrammarSource SchemaSource(json::value schema) {
  DropNullKeywords(&schema);
  return {Kind::kJsonSchema, json::serialize(schema)};
}

absl::Status ReadJsonSchema(const std::string& path, const json::object& format,
                            GenerationRequest* request) {
  const json::value* value = format.if_contains("json_schema");
  if (value == nullptr) return MissingField(path + ".json_schema");
  const std::string inner = path + ".json_schema";
  PINGTI_ASSIGN_OR_RETURN(const json::object* object, RequireObject(inner, *value));
  const json::object& named = *object;
  PINGTI_RETURN_IF_ERROR(RequireString(inner, named, "name"));
  const json::value* schema = named.if_contains("schema");
  if (schema == nullptr) return MissingField(inner + ".schema");
  if (!schema->is_object() && !schema->is_bool()) {
    return WrongType(inner + ".schema", *schema, "a JSON schema");
  }
  // strict or not: the answer always follows the schema.
  const json::value* strict = named.if_contains("strict");
  if (strict != nullptr && !strict->is_bool()) {
    return WrongType(inner + ".strict", *strict, "a boolean");
  }
  return SetGrammar(path, SchemaSource(*schema), request);
}

// true; the table takes false out.
absl::Status ReadGuidedObject(std::string_view field, const json::value& value,
                              GenerationRequest* request) {
  bool is_object = false;
  PINGTI_RETURN_IF_ERROR(ReadBool(field, value, &is_object));
  return SetGrammar(field, {Kind::kJsonObject, ""}, request);
}

}  // namespace

absl::Status SetGrammar(std::string_view field, grammar::GrammarSource source,
                        GenerationRequest* request) {
  if (request->grammar.has_value()) {
    return FieldError(field, Concat("'", field, "' and '", request->grammar_field,
                                    "' both say what the answer must look like; set one of them"));
  }
  request->grammar = std::move(source);
  request->grammar_field = field;
  return absl::OkStatus();
}

absl::Status ReadResponseFormat(std::string_view field, const json::value& value,
                                GenerationRequest* request) {
  const std::string path(field);
  PINGTI_ASSIGN_OR_RETURN(const json::object* object, RequireObject(field, value));
  const json::object& format = *object;
  PINGTI_RETURN_IF_ERROR(RequireString(path, format, "type"));
  const std::string_view type = TextOf(format, "type");
  if (type == "json_schema") return ReadJsonSchema(path, format, request);
  if (format.contains("json_schema")) {
    return FieldError(path + ".json_schema",
                      Concat("'", path, ".json_schema' needs the type 'json_schema'"));
  }
  if (type == "text") return absl::OkStatus();
  if (type == "json_object") return SetGrammar(path, {Kind::kJsonObject, ""}, request);
  return WrongValue(path + ".type", type, {"text", "json_object", "json_schema"});
}

absl::Status ReadStructuredOutputs(std::string_view field, const json::value& value,
                                   GenerationRequest* request) {
  using Reader = decltype(&ReadGuidedJson);
  constexpr std::pair<const char*, Reader> kReaders[] = {{"json", &ReadGuidedJson},
                                                         {"regex", &ReadGuidedRegex},
                                                         {"choice", &ReadGuidedChoice},
                                                         {"grammar", &ReadGuidedGrammar},
                                                         {"json_object", &ReadGuidedObject}};
  PINGTI_ASSIGN_OR_RETURN(const json::object* form, RequireObject(field, value));
  for (const auto& [name, read] : kReaders) {
    const json::value* member = form->if_contains(name);
    const std::string path = Concat(field, ".", std::string_view(name));
    if (member != nullptr) PINGTI_RETURN_IF_ERROR(read(path, *member, request));
  }
  return absl::OkStatus();
}

absl::Status ReadGuidedJson(std::string_view field, const json::value& value,
                            GenerationRequest* request) {
  if (value.is_string()) {
    return SetGrammar(field, {Kind::kJsonSchema, std::string(View(value.get_string()))}, request);
  }
  if (!value.is_object() && !value.is_bool()) {
    return WrongType(field, value, "a JSON schema or its text");
  }
  return SetGrammar(field, SchemaSource(value), request);
}

absl::Status ReadGuidedRegex(std::string_view field, const json::value& value,
                             GenerationRequest* request) {
  std::string text;
  PINGTI_RETURN_IF_ERROR(ReadString(field, value, &text));
  return SetGrammar(field, {Kind::kRegex, std::move(text)}, request);
}

absl::Status ReadGuidedGrammar(std::string_view field, const json::value& value,
                               GenerationRequest* request) {
  std::string text;
  PINGTI_RETURN_IF_ERROR(ReadString(field, value, &text));
  return SetGrammar(field, {Kind::kEbnf, std::move(text)}, request);
}

absl::Status ReadGuidedChoice(std::string_view field, const json::value& value,
                              GenerationRequest* request) {
  if (!value.is_array() || value.get_array().empty()) {
    return WrongType(field, value, "an array of at least one string");
  }
  std::vector<std::string> texts;
  for (const json::value& item : value.get_array()) {
    PINGTI_RETURN_IF_ERROR(ReadString(field, item, &texts.emplace_back()));
  }
  return SetGrammar(field, grammar::OneOfTexts(texts), request);
}

}  // namespace pingti::router
