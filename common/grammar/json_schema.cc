// See json_schema.h and schema_compiler.h: references, combinations, types. schema_types.cc has the
// types' own keywords.
#include "common/grammar/json_schema.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "common/grammar/json_view.h"
#include "common/grammar/schema_compiler.h"
#include "common/grammar/schema_merge.h"

namespace pingti::grammar {
namespace {

namespace json = boost::json;

constexpr int32_t kMostMerges = 2'000;
constexpr int32_t kMostReferences = 32;  // in a row, while merging

bool HasType(const json::value& value, std::string_view type) {
  if (type == "null") return value.is_null();
  if (type == "boolean") return value.is_bool();
  if (type == "string") return value.is_string();
  if (type == "array") return value.is_array();
  if (type == "object") return value.is_object();
  if (type == "number") return value.is_number();
  if (type != "integer") return false;
  return value.is_int64() || value.is_uint64() ||
         (value.is_double() && value.get_double() == std::trunc(value.get_double()));
}

std::string NumberText(const json::value& value) {
  if (value.is_int64()) return Concat(value.get_int64());
  if (value.is_uint64()) return Concat(value.get_uint64());
  return Concat(value.get_double());
}

// The inverse of PointerPart.
std::string UnescapePart(std::string_view part) {
  std::string name;
  for (size_t i = 0; i < part.size(); ++i) {
    if (part[i] == '~' && i + 1 < part.size() && (part[i + 1] == '0' || part[i + 1] == '1')) {
      name += part[++i] == '0' ? '~' : '/';
    } else {
      name += part[i];
    }
  }
  return name;
}

}  // namespace

SchemaCompiler::At SchemaCompiler::At::Below(std::string_view part) const {
  return At{Concat(pointer, "/", part), nesting + 1};
}

absl::Status SchemaCompiler::Run() {
  PINGTI_ASSIGN_OR_RETURN(const RuleId root, Compile("#"));
  grammar_.SetRoot(root);
  return absl::OkStatus();
}

absl::StatusOr<RuleId> SchemaCompiler::Compile(std::string_view reference) {
  PINGTI_ASSIGN_OR_RETURN(const RuleId compiled, RuleOf(reference, At{std::string(reference)}));
  // References add to the list while it is worked off.
  for (; compiled_ < open_.size(); ++compiled_) {
    const auto [rule, pointer] = open_[compiled_];
    PINGTI_ASSIGN_OR_RETURN(const Value* schema, Resolve(pointer, At{pointer}));
    PINGTI_ASSIGN_OR_RETURN(const ExprId body, Build(*schema, At{pointer}));
    grammar_.SetBody(rule, body);
    PINGTI_RETURN_IF_ERROR(grammar_.status());
  }
  PINGTI_RETURN_IF_ERROR(grammar_.status());
  return compiled;
}

absl::StatusOr<RuleId> SchemaCompiler::RuleOf(std::string_view reference, const At& at) {
  PINGTI_RETURN_IF_ERROR(Resolve(reference, at).status());
  const auto [it, is_new] = rule_of_.try_emplace(std::string(reference), -1);
  if (is_new) {
    it->second = grammar_.AddRule(Concat("json_schema ", reference));
    PINGTI_RETURN_IF_ERROR(grammar_.status());
    open_.push_back({it->second, it->first});
  }
  return it->second;
}

absl::StatusOr<const json::value*> SchemaCompiler::Resolve(std::string_view reference,
                                                           const At& at) const {
  const auto not_found = [&](std::string_view why) {
    return absl::InvalidArgumentError(AtSchema(at.pointer, Concat("$ref '", reference, "' ", why)));
  };
  if (reference != "#" && !reference.starts_with("#/")) {
    return not_found("is not supported: expected a pointer within the schema, '#/...'");
  }
  const Value* value = &root_;
  for (std::string_view rest = reference.substr(1); !rest.empty();) {
    rest.remove_prefix(1);
    const size_t length = std::min(rest.find('/'), rest.size());
    const std::string name = UnescapePart(rest.substr(0, length));
    rest.remove_prefix(length);
    const Value* next = nullptr;
    if (value->is_object()) {
      next = value->get_object().if_contains(name);
    } else if (value->is_array()) {
      const bool is_index = !name.empty() && name.size() < 7 &&
                            name.find_first_not_of("0123456789") == std::string::npos;
      if (is_index) next = value->get_array().if_contains(std::stoul(name));
    }
    if (next == nullptr) return not_found("leads nowhere: expected an existing schema");
    value = next;
  }
  return value;
}

absl::Status SchemaCompiler::CheckKeywords(const Object& schema, const At& at) const {
  for (const auto& member : schema) {
    const std::string_view keyword = View(member.key());
    if (IsAnnotation(keyword) || IsConstraint(keyword)) continue;
    return absl::UnimplementedError(
        AtSchema(at.pointer, Concat("keyword '", keyword, "' is not supported")));
  }
  return absl::OkStatus();
}

absl::StatusOr<ExprId> SchemaCompiler::Build(const Value& schema, const At& at) {
  PINGTI_RETURN_IF_ERROR(grammar_.status());
  if (at.nesting > grammar_.limits().max_nesting) {
    return absl::ResourceExhaustedError(
        AtSchema(at.pointer, Concat("nested more than ", grammar_.limits().max_nesting, " deep")));
  }
  if (schema.is_bool()) return schema.get_bool() ? rules_.Any() : grammar_.Choice({});
  if (!schema.is_object()) {
    return absl::InvalidArgumentError(
        AtSchema(at.pointer, "expected a schema: an object, true or false"));
  }
  return BuildObjectSchema(schema.get_object(), at);
}

absl::StatusOr<ExprId> SchemaCompiler::BuildObjectSchema(const Object& schema, const At& at) {
  PINGTI_RETURN_IF_ERROR(CheckKeywords(schema, at));
  if (const Value* reference = schema.if_contains("$ref")) {
    if (!reference->is_string()) {
      return absl::InvalidArgumentError(AtSchema(at.pointer, "$ref: expected a string"));
    }
    Object others = schema;
    others.erase("$ref");
    if (!HasConstraints(others)) {
      PINGTI_ASSIGN_OR_RETURN(const RuleId rule, RuleOf(View(reference->get_string()), at));
      return grammar_.Call(rule);
    }
  }
  if (const Value* all = schema.if_contains("allOf"); all != nullptr && all->is_array()) {
    Object others = schema;
    others.erase("allOf");
    if (all->get_array().size() == 1 && !HasConstraints(others)) {
      return Build(all->get_array()[0], at.Below("allOf/0"));
    }
  }
  if (schema.contains("$ref") || schema.contains("allOf")) {
    PINGTI_ASSIGN_OR_RETURN(const std::optional<Object> merged, Flatten(schema, at, 0));
    if (!merged) return grammar_.Choice({});
    return BuildObjectSchema(*merged, At{at.pointer, at.nesting + 1});
  }
  if (schema.contains("anyOf") && schema.contains("oneOf")) {
    return absl::UnimplementedError(
        AtSchema(at.pointer, "'anyOf' and 'oneOf' in one schema are not supported"));
  }
  for (const char* keyword : {"anyOf", "oneOf"}) {
    if (schema.contains(keyword)) return BuildAlternatives(schema, keyword, at);
  }
  if (schema.contains("enum") || schema.contains("const")) return BuildEnum(schema, at);
  return BuildTypes(schema, at);
}

absl::StatusOr<std::optional<json::object>> SchemaCompiler::Flatten(const Value& schema,
                                                                    const At& at, int32_t depth) {
  if (depth > kMostReferences || ++merges_ > kMostMerges) {
    return absl::ResourceExhaustedError(
        AtSchema(at.pointer, "too many schemas are combined by allOf and $ref"));
  }
  if (schema.is_bool()) {
    if (!schema.get_bool()) return std::optional<Object>();
    return std::optional<Object>(Object());
  }
  if (!schema.is_object()) {
    return absl::InvalidArgumentError(
        AtSchema(at.pointer, "expected a schema: an object, true or false"));
  }
  Object result = schema.get_object();
  PINGTI_RETURN_IF_ERROR(CheckKeywords(result, at));
  std::vector<Value> parts;
  if (const Value* reference = result.if_contains("$ref")) {
    if (!reference->is_string()) {
      return absl::InvalidArgumentError(AtSchema(at.pointer, "$ref: expected a string"));
    }
    PINGTI_ASSIGN_OR_RETURN(const Value* target, Resolve(View(reference->get_string()), at));
    parts.push_back(*target);
    result.erase("$ref");
  }
  if (const Value* all = result.if_contains("allOf")) {
    if (!all->is_array()) {
      return absl::InvalidArgumentError(AtSchema(at.pointer, "allOf: expected an array"));
    }
    for (const Value& part : all->get_array()) parts.push_back(part);
    result.erase("allOf");
  }
  for (const Value& part : parts) {
    PINGTI_ASSIGN_OR_RETURN(const std::optional<Object> flat, Flatten(part, at, depth + 1));
    if (!flat) return std::optional<Object>();
    PINGTI_ASSIGN_OR_RETURN(result, MergeSchemas(std::move(result), *flat, at.pointer));
  }
  return std::optional<Object>(std::move(result));
}

absl::StatusOr<ExprId> SchemaCompiler::BuildAlternatives(const Object& schema,
                                                         std::string_view keyword, const At& at) {
  const Value& options = schema.at(json::string_view(keyword.data(), keyword.size()));
  if (!options.is_array() || options.get_array().empty()) {
    return absl::InvalidArgumentError(
        AtSchema(at.pointer, Concat(keyword, ": expected a non-empty array")));
  }
  Object base = schema;
  base.erase(json::string_view(keyword.data(), keyword.size()));
  const bool has_base = HasConstraints(base);
  std::vector<ExprId> choices;
  for (size_t i = 0; i < options.get_array().size(); ++i) {
    const At below = at.Below(Concat(keyword, "/", i));
    const Value* option = &options.get_array()[i];
    Value merged;
    if (has_base) {
      PINGTI_ASSIGN_OR_RETURN(std::optional<Object> flat, Flatten(*option, below, 0));
      if (!flat) continue;
      PINGTI_ASSIGN_OR_RETURN(merged, MergeSchemas(base, *flat, below.pointer));
      option = &merged;
    }
    PINGTI_ASSIGN_OR_RETURN(const ExprId choice, Build(*option, below));
    choices.push_back(choice);
  }
  return grammar_.Choice(std::move(choices));
}

absl::StatusOr<ExprId> SchemaCompiler::BuildEnum(const Object& schema, const At& at) {
  for (const auto& member : schema) {
    const std::string_view keyword = View(member.key());
    if (keyword == "enum" || keyword == "const" || keyword == "type" || IsAnnotation(keyword)) {
      continue;
    }
    return absl::UnimplementedError(AtSchema(at.pointer, Concat("keyword '", keyword,
                                                                "' beside 'enum' or 'const' is not "
                                                                "supported")));
  }
  json::array values;
  const Value* constant = schema.if_contains("const");
  if (const Value* listed = schema.if_contains("enum")) {
    if (!listed->is_array() || listed->get_array().empty()) {
      return absl::InvalidArgumentError(AtSchema(at.pointer, "enum: expected a non-empty array"));
    }
    for (const Value& value : listed->get_array()) {
      if (constant == nullptr || *constant == value) values.push_back(value);
    }
  } else {
    values.push_back(*constant);
  }
  std::vector<ExprId> choices;
  const Value* types = schema.if_contains("type");
  for (const Value& value : values) {
    const auto has = [&](const Value& type) {
      return type.is_string() && HasType(value, View(type.get_string()));
    };
    const bool fits =
        types == nullptr ||
        (types->is_array() ? std::any_of(types->get_array().begin(), types->get_array().end(), has)
                           : has(*types));
    if (fits) choices.push_back(BuildConstant(value));
  }
  if (choices.empty()) {
    return absl::InvalidArgumentError(
        AtSchema(at.pointer, "enum and const: expected a value of the schema's type"));
  }
  return grammar_.Choice(std::move(choices));
}

ExprId SchemaCompiler::BuildConstant(const Value& value) {
  if (value.is_null()) return rules_.Null();
  if (value.is_bool()) return grammar_.Literal(value.get_bool() ? "true" : "false");
  if (value.is_string()) return grammar_.Literal(QuoteJson(View(value.get_string())));
  if (value.is_array()) {
    std::vector<ExprId> elements;
    for (const Value& element : value.get_array()) elements.push_back(BuildConstant(element));
    return rules_.Array(elements, static_cast<int32_t>(elements.size()), 0, 0, 0);
  }
  if (value.is_object()) {
    std::vector<Grammar::ListElement> members;
    for (const auto& member : value.get_object()) {
      const ExprId constant = BuildConstant(member.value());
      members.push_back({rules_.Member(View(member.key()), constant), true});
    }
    return rules_.Object(std::move(members));
  }
  return grammar_.Literal(NumberText(value));
}

absl::StatusOr<ExprId> SchemaCompiler::BuildTypes(const Object& schema, const At& at) {
  std::vector<std::string> types;
  if (const Value* type = schema.if_contains("type")) {
    const json::array listed = type->is_array() ? type->get_array() : json::array{*type};
    for (const Value& name : listed) {
      if (!name.is_string()) {
        return absl::InvalidArgumentError(
            AtSchema(at.pointer, "type: expected a name or a list of names"));
      }
      types.emplace_back(View(name.get_string()));
    }
    // A number may be written as an integer already.
    if (std::find(types.begin(), types.end(), "number") != types.end()) {
      std::erase(types, "integer");
    }
  } else {
    for (const auto& member : schema) {
      const std::string type_of(TypeOfKeyword(View(member.key())));
      if (type_of.empty()) continue;
      if (std::find(types.begin(), types.end(), type_of) == types.end()) types.push_back(type_of);
    }
    if (types.empty()) return rules_.Any();
  }
  std::vector<ExprId> choices;
  for (const std::string& type : types) {
    PINGTI_ASSIGN_OR_RETURN(const ExprId choice, BuildType(type, schema, at));
    choices.push_back(choice);
  }
  return grammar_.Choice(std::move(choices));
}

absl::StatusOr<ExprId> SchemaCompiler::BuildType(std::string_view type, const Object& schema,
                                                 const At& at) {
  if (type == "object") return BuildObject(schema, at);
  if (type == "array") return BuildArray(schema, at);
  if (type == "string") return BuildString(schema, at);
  if (type == "number" || type == "integer") return BuildNumber(schema, type == "integer", at);
  if (type == "boolean") return rules_.Boolean();
  if (type == "null") return rules_.Null();
  return absl::InvalidArgumentError(
      AtSchema(at.pointer, Concat("type '", type,
                                  "' is not known: expected object, array, string, number, "
                                  "integer, boolean or null")));
}

absl::Status ParseJsonSchema(std::string_view source, Grammar* grammar) {
  json::parse_options options;
  // A level of schemas takes at most three of JSON.
  options.max_depth = static_cast<size_t>(grammar->limits().max_nesting) * 3;
  boost::system::error_code error;
  const json::value root =
      json::parse(json::string_view(source.data(), source.size()), error, {}, options);
  if (error) {
    return absl::InvalidArgumentError(Concat("json_schema: expected JSON at most ",
                                             options.max_depth, " levels deep: ", error.message()));
  }
  return SchemaCompiler(&root, grammar).Run();
}

}  // namespace pingti::grammar
