// See schema_merge.h.
#include "common/grammar/schema_merge.h"

#include <algorithm>
#include <array>
#include <utility>

#include "common/base/status_macros.h"
#include "common/base/strings.h"

namespace pingti::grammar {
namespace {

namespace json = boost::json;

constexpr std::array<std::string_view, 13> kAnnotations = {
    "$comment",    "$defs",   "$id",      "$schema",  "default", "definitions", "deprecated",
    "description", "example", "examples", "readOnly", "title",   "writeOnly"};

struct Keyword {
  std::string_view name;
  std::string_view type;
};
constexpr Keyword kConstraints[] = {{"$ref", ""},
                                    {"allOf", ""},
                                    {"anyOf", ""},
                                    {"oneOf", ""},
                                    {"const", ""},
                                    {"enum", ""},
                                    {"type", ""},
                                    {"properties", "object"},
                                    {"required", "object"},
                                    {"additionalProperties", "object"},
                                    {"items", "array"},
                                    {"prefixItems", "array"},
                                    {"minItems", "array"},
                                    {"maxItems", "array"},
                                    {"uniqueItems", "array"},
                                    {"pattern", "string"},
                                    {"format", "string"},
                                    {"minLength", "string"},
                                    {"maxLength", "string"},
                                    {"minimum", "number"},
                                    {"maximum", "number"},
                                    {"exclusiveMinimum", "number"},
                                    {"exclusiveMaximum", "number"}};

const Keyword* FindConstraint(std::string_view name) {
  for (const Keyword& keyword : kConstraints) {
    if (keyword.name == name) return &keyword;
  }
  return nullptr;
}

bool Contains(const json::array& array, const json::value& value) {
  return std::find(array.begin(), array.end(), value) != array.end();
}

json::array AsArray(const json::value& value) {
  return value.is_array() ? value.get_array() : json::array{value};
}

// Types that both lists admit; every integer is a number.
json::value IntersectTypes(const json::value& a, const json::value& b) {
  const json::array left = AsArray(a);
  const json::array right = AsArray(b);
  json::array both;
  const auto add = [&](const json::array& from, const json::array& with) {
    for (const json::value& type : from) {
      const bool narrower = type == "integer" && Contains(with, "number");
      if ((Contains(with, type) || narrower) && !Contains(both, type)) both.push_back(type);
    }
  };
  add(left, right);
  add(right, left);
  return both;
}

double NumberOr(const json::value& value, double otherwise) {
  boost::system::error_code error;
  const double number = value.is_number() ? value.to_number<double>(error) : otherwise;
  return error ? otherwise : number;
}

json::value Both(const json::value& a, const json::value& b) {
  if (a == b) return a;
  return json::object{{"allOf", json::array{a, b}}};
}

json::value MergeProperties(const json::value& a, const json::value& b) {
  if (!a.is_object() || !b.is_object()) return b;
  json::object merged = a.get_object();
  for (const auto& [name, schema] : b.get_object()) {
    const auto [it, is_new] = merged.insert(json::key_value_pair(name, schema));
    if (!is_new) it->value() = Both(it->value(), schema);
  }
  return merged;
}

json::value MergeRequired(const json::value& a, const json::value& b) {
  json::array merged = AsArray(a);
  for (const json::value& name : AsArray(b)) {
    if (!Contains(merged, name)) merged.push_back(name);
  }
  return merged;
}

json::value IntersectValues(const json::value& a, const json::value& b) {
  json::array both;
  const json::array right = AsArray(b);
  for (const json::value& value : AsArray(a)) {
    if (Contains(right, value)) both.push_back(value);
  }
  return both;
}

// The value that both values of `keyword` amount to; nothing when that cannot be said.
bool MergeKeyword(std::string_view keyword, const json::value& a, const json::value& b,
                  json::value* merged) {
  if (a == b || IsAnnotation(keyword)) {
    *merged = a;
  } else if (keyword == "type") {
    *merged = IntersectTypes(a, b);
  } else if (keyword == "properties") {
    *merged = MergeProperties(a, b);
  } else if (keyword == "required") {
    *merged = MergeRequired(a, b);
  } else if (keyword == "enum") {
    *merged = IntersectValues(a, b);
  } else if (keyword == "items") {
    *merged = Both(a, b);
  } else if (keyword.starts_with("min") || keyword == "exclusiveMinimum") {
    *merged = NumberOr(a, 0) >= NumberOr(b, 0) ? a : b;
  } else if (keyword.starts_with("max") || keyword == "exclusiveMaximum") {
    *merged = NumberOr(a, 0) <= NumberOr(b, 0) ? a : b;
  } else {
    return false;
  }
  return true;
}

// A side that closes its properties closes them for the other side's as well, which one list of
// properties can only say when the other has no others.
bool ClosesOthers(const json::object& closed, const json::object& other) {
  const json::value* additional = closed.if_contains("additionalProperties");
  if (additional == nullptr || *additional == json::value(true)) return false;
  const json::value* properties = other.if_contains("properties");
  if (properties == nullptr || !properties->is_object()) return false;
  const json::value* own = closed.if_contains("properties");
  for (const auto& [name, schema] : properties->get_object()) {
    if (own == nullptr || !own->is_object() || !own->get_object().contains(name)) return true;
  }
  return false;
}

// A side's 'items' also constrain the elements that only the other side's 'prefixItems' describe.
bool ReachesPrefix(const json::object& with_items, const json::object& with_prefix) {
  const json::value* items = with_items.if_contains("items");
  return items != nullptr && *items != json::value(true) && !with_items.contains("prefixItems") &&
         with_prefix.contains("prefixItems");
}

}  // namespace

bool IsAnnotation(std::string_view keyword) {
  return std::find(kAnnotations.begin(), kAnnotations.end(), keyword) != kAnnotations.end();
}

bool IsConstraint(std::string_view keyword) { return FindConstraint(keyword) != nullptr; }

std::string_view TypeOfKeyword(std::string_view keyword) {
  const Keyword* known = FindConstraint(keyword);
  return known == nullptr ? "" : known->type;
}

bool HasConstraints(const json::object& schema) {
  return std::any_of(schema.begin(), schema.end(), [](const auto& member) {
    return !IsAnnotation(std::string_view(member.key().data(), member.key().size()));
  });
}

std::string AtSchema(std::string_view pointer, std::string_view what) {
  return Concat("json_schema at '", pointer, "': ", what);
}

std::string PointerPart(std::string_view name) {
  std::string part;
  for (const char c : name) {
    if (c == '~') {
      part += "~0";
    } else if (c == '/') {
      part += "~1";
    } else {
      part += c;
    }
  }
  return part;
}

absl::StatusOr<json::object> MergeSchemas(json::object a, const json::object& b,
                                          std::string_view pointer) {
  if (ClosesOthers(a, b) || ClosesOthers(b, a)) {
    return absl::UnimplementedError(
        AtSchema(pointer,
                 "'additionalProperties' closes properties that the schema it is combined "
                 "with has: not supported"));
  }
  if (ReachesPrefix(a, b) || ReachesPrefix(b, a)) {
    return absl::UnimplementedError(AtSchema(
        pointer,
        "'items' of one schema beside 'prefixItems' of another that must both hold are not "
        "supported"));
  }
  for (const auto& member : b) {
    const std::string_view keyword(member.key().data(), member.key().size());
    json::value* present = a.if_contains(member.key());
    if (present == nullptr) {
      a[member.key()] = member.value();
      continue;
    }
    json::value merged;
    if (!MergeKeyword(keyword, *present, member.value(), &merged)) {
      return absl::UnimplementedError(AtSchema(
          pointer, Concat("two values of '", keyword, "' that must both hold are not supported")));
    }
    a[member.key()] = std::move(merged);
  }
  return a;
}

}  // namespace pingti::grammar
