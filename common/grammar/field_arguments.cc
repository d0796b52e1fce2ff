// See field_arguments.h.
#include "common/grammar/field_arguments.h"

#include <algorithm>
#include <boost/json.hpp>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "common/grammar/json_view.h"
#include "common/grammar/schema_compiler.h"
#include "common/grammar/schema_merge.h"

namespace pingti::grammar {
namespace {

namespace json = boost::json;

// A name that every syntax of fields can have.
bool IsFieldName(std::string_view name) {
  const auto is_plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  };
  return !name.empty() && std::all_of(name.begin(), name.end(), is_plain);
}

// What ends a bare text: a frame without the white space around it.
std::string_view MarkOf(const FieldFrames& frames) {
  std::string_view mark = frames.value_end;
  mark.remove_prefix(std::min(mark.find_first_not_of(" \n"), mark.size()));
  return mark.substr(0, mark.find_last_not_of(" \n") + 1);
}

bool IsBare(const json::value& schema, const FieldFrames& frames) {
  const json::object* object = schema.if_object();
  const json::value* type = object == nullptr ? nullptr : object->if_contains("type");
  return frames.bare_strings && type != nullptr && *type == "string";
}

// The texts that a bare string is one of; empty: any.
std::vector<json::value> ChoicesOf(const json::object& schema) {
  if (const json::value* one = schema.if_contains("const")) return {*one};
  const json::value* several = schema.if_contains("enum");
  if (several == nullptr || !several->is_array()) return {};
  return {several->get_array().begin(), several->get_array().end()};
}

bool FitsBare(const json::object& schema, const FieldFrames& frames) {
  for (const auto& member : schema) {
    const std::string_view keyword = View(member.key());
    const bool is_known =
        keyword == "type" || keyword == "enum" || keyword == "const" || IsAnnotation(keyword);
    if (!is_known) return false;
  }
  if (schema.contains("enum") && (schema.contains("const") || ChoicesOf(schema).empty())) {
    return false;
  }
  for (const json::value& choice : ChoicesOf(schema)) {
    const json::string* text = choice.if_string();
    if (text == nullptr || View(*text).find(MarkOf(frames)) != std::string_view::npos) return false;
  }
  return true;
}

bool IsRequired(const json::object& schema, std::string_view name) {
  const json::value* required = schema.if_contains("required");
  if (required == nullptr) return false;
  const json::array& names = required->get_array();
  return std::any_of(names.begin(), names.end(),
                     [&](const json::value& one) { return View(one.get_string()) == name; });
}

// What stands behind a bare text's mark.
absl::StatusOr<ExprId> BareValue(const json::object& schema, const FieldFrames& frames,
                                 const MakeTextUpTo& text_up_to, Grammar* grammar) {
  const std::vector<json::value> choices = ChoicesOf(schema);
  if (choices.empty()) {
    const std::string_view mark = MarkOf(frames);
    const size_t behind = frames.value_end.find(mark) + mark.size();
    PINGTI_ASSIGN_OR_RETURN(const ExprId text, text_up_to(mark));
    return grammar->Sequence({text, grammar->Literal(frames.value_end.substr(behind))});
  }
  std::vector<ExprId> texts;
  for (const json::value& choice : choices) {
    texts.push_back(grammar->Literal(View(choice.get_string())));
  }
  return grammar->Sequence({grammar->Choice(std::move(texts)), grammar->Literal(frames.value_end)});
}

}  // namespace

bool FitsFields(const json::object& schema, const FieldFrames& frames) {
  constexpr std::string_view kKnown[] = {"type", "properties", "required", "additionalProperties"};
  for (const auto& member : schema) {
    const std::string_view keyword = View(member.key());
    const bool is_known =
        std::find(std::begin(kKnown), std::end(kKnown), keyword) != std::end(kKnown);
    if (!is_known && !IsAnnotation(keyword)) return false;
  }
  const json::value* type = schema.if_contains("type");
  if (type != nullptr && *type != "object") return false;
  static const json::value no_properties = json::object{};
  const json::value* properties = schema.if_contains("properties");
  if (properties == nullptr) properties = &no_properties;
  if (!properties->is_object()) return false;
  for (const auto& property : properties->get_object()) {
    if (!IsFieldName(View(property.key()))) return false;
    const bool is_bare = IsBare(property.value(), frames);
    if (is_bare && !FitsBare(property.value().get_object(), frames)) return false;
  }
  const json::value* required = schema.if_contains("required");
  if (required == nullptr) return true;
  if (!required->is_array()) return false;
  const json::array& names = required->get_array();
  return std::all_of(names.begin(), names.end(), [&](const json::value& name) {
    return name.is_string() && properties->get_object().contains(name.get_string());
  });
}

absl::StatusOr<ExprId> FieldArguments(const json::value& schema, const FieldFrames& frames,
                                      const MakeTextUpTo& text_up_to, Grammar* grammar) {
  SchemaCompiler compiler(&schema, grammar);
  const json::object& object = schema.get_object();
  const json::value* properties = object.if_contains("properties");
  std::vector<Grammar::ListElement> fields;
  if (properties != nullptr) {
    for (const auto& property : properties->get_object()) {
      const std::string_view name = View(property.key());
      ExprId value = 0;
      if (IsBare(property.value(), frames)) {
        PINGTI_ASSIGN_OR_RETURN(
            value, BareValue(property.value().get_object(), frames, text_up_to, grammar));
      } else {
        PINGTI_ASSIGN_OR_RETURN(const RuleId rule, compiler.Compile(Concat("#/properties/", name)));
        value = grammar->Sequence({grammar->Call(rule), grammar->Literal(frames.value_end)});
      }
      const ExprId begin = grammar->Literal(Concat(frames.name_begin, name, frames.name_end));
      fields.push_back({grammar->Sequence({begin, value}), IsRequired(object, name)});
    }
  }
  if (!frames.separator.empty()) {
    return grammar->List(std::move(fields), grammar->Literal(frames.separator));
  }
  std::vector<ExprId> parts;
  for (const Grammar::ListElement& field : fields) {
    parts.push_back(field.required ? field.expr : grammar->Optional(field.expr));
  }
  return grammar->Sequence(std::move(parts));
}

}  // namespace pingti::grammar
