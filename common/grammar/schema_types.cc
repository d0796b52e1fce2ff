// Part of SchemaCompiler: strings, numbers, arrays and objects. See json_schema.h.
#include <algorithm>
#include <limits>
#include <map>
#include <utility>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "common/grammar/code_points.h"
#include "common/grammar/json_view.h"
#include "common/grammar/schema_compiler.h"
#include "common/grammar/schema_format.h"
#include "common/grammar/schema_merge.h"

namespace pingti::grammar {
namespace {

namespace json = boost::json;

json::string_view Key(std::string_view text) { return {text.data(), text.size()}; }

// Names that further properties must differ from, character by character.
constexpr size_t kMostNameChars = 256;

// Names as code points, to be told apart one by one.
using Names = std::vector<std::u32string>;

std::u32string Decode(std::string_view text) {
  std::u32string result;
  for (CodePoints in(text); !in.done();) result += in.Next();
  return result;
}

// What follows `position` characters that all of `names` have in common, so that the whole is none
// of them; ends with the closing quote, which `rest` does as well.
ExprId UnlikeAll(const Names& names, size_t position, ExprId rest, Grammar* grammar) {
  std::map<char32_t, Names> by_next;
  bool may_end = true;
  for (const std::u32string& name : names) {
    if (name.size() == position) {
      may_end = false;
    } else {
      by_next[name[position]].push_back(name);
    }
  }
  CharClass others = JsonRules::RawChars();
  std::vector<ExprId> choices;
  if (may_end) choices.push_back(grammar->Literal("\""));
  for (const auto& [next, same] : by_next) {
    if (!JsonRules::RawChars().Contains(next)) continue;
    others = others.Intersect(CharClass::Of(next).Complement());
    choices.push_back(grammar->Sequence(
        {grammar->Class(CharClass::Of(next)), UnlikeAll(same, position + 1, rest, grammar)}));
  }
  choices.push_back(grammar->Sequence({grammar->Class(std::move(others)), rest}));
  return grammar->Choice(std::move(choices));
}

}  // namespace

absl::StatusOr<SchemaCompiler::Bounds> SchemaCompiler::BoundsOf(const Object& schema,
                                                                std::string_view min_keyword,
                                                                std::string_view max_keyword,
                                                                const At& at) const {
  Bounds bounds;
  const auto read = [&](std::string_view keyword, int32_t* bound) -> absl::Status {
    const Value* value = schema.if_contains(Key(keyword));
    if (value == nullptr) return absl::OkStatus();
    boost::system::error_code error;
    const int64_t number = value->is_number() ? value->to_number<int64_t>(error) : -1;
    if (error || number < 0) {
      return absl::InvalidArgumentError(
          AtSchema(at.pointer, Concat(keyword, ": expected a whole number, 0 or more")));
    }
    // No text is longer than that.
    *bound =
        static_cast<int32_t>(std::min<int64_t>(number, std::numeric_limits<int32_t>::max() / 2));
    return absl::OkStatus();
  };
  PINGTI_RETURN_IF_ERROR(read(min_keyword, &bounds.min));
  PINGTI_RETURN_IF_ERROR(read(max_keyword, &bounds.max));
  if (bounds.max != kUnbounded && bounds.max < bounds.min) {
    return absl::InvalidArgumentError(
        AtSchema(at.pointer, Concat(min_keyword, " is ", bounds.min, ": expected at most ",
                                    max_keyword, ", ", bounds.max)));
  }
  return bounds;
}

absl::StatusOr<ExprId> SchemaCompiler::BuildString(const Object& schema, const At& at) {
  PINGTI_ASSIGN_OR_RETURN(const Bounds length, BoundsOf(schema, "minLength", "maxLength", at));
  if (schema.contains("pattern") || schema.contains("format")) {
    return BuildPattern(schema, length, at);
  }
  if (length.min == 0 && length.max == kUnbounded) return rules_.AnyString();
  return rules_.Quoted(grammar_.Repeat(rules_.StringChar(), length.min, length.max));
}

absl::StatusOr<ExprId> SchemaCompiler::BuildPattern(const Object& schema, const Bounds& length,
                                                    const At& at) {
  const char* keyword = schema.contains("pattern") ? "pattern" : "format";
  if (schema.contains("pattern") && schema.contains("format")) {
    return absl::UnimplementedError(
        AtSchema(at.pointer, "'pattern' and 'format' in one schema are not supported"));
  }
  const Value& value = schema.at(keyword);
  if (!value.is_string()) {
    return absl::InvalidArgumentError(AtSchema(at.pointer, Concat(keyword, ": expected a string")));
  }
  std::string_view pattern = View(value.get_string());
  RegexOptions options;
  options.spell = [this](const CharClass& chars) { return rules_.SpelledChars(chars); };
  options.anywhere = schema.contains("pattern");
  if (!options.anywhere) {
    const std::string_view format = pattern;
    pattern = PatternOfFormat(format);
    if (pattern.empty()) {
      return absl::UnimplementedError(
          AtSchema(at.pointer, Concat("format '", format, "' is not supported")));
    }
  }
  absl::StatusOr<ParsedRegex> parsed = ParseRegex(pattern, options, &grammar_);
  if (!parsed.ok()) {
    const auto message = parsed.status().message();
    return absl::Status(parsed.status().code(),
                        AtSchema(at.pointer, std::string(message.data(), message.size())));
  }
  const auto within = [](int32_t a, int32_t b) { return b == kUnbounded || (a >= 0 && a <= b); };
  if (parsed->min_chars >= length.min && within(parsed->max_chars, length.max)) {
    return rules_.Quoted(parsed->expr);
  }
  if (!parsed->repeated_class) {
    return absl::UnimplementedError(AtSchema(
        at.pointer, Concat("'minLength' or 'maxLength' beside a ", keyword,
                           " that matches other lengths is not supported, unless it is one "
                           "repeated class, such as '^[a-z]+$'")));
  }
  const int32_t min = std::max(parsed->min_chars, length.min);
  const int32_t max = within(parsed->max_chars, length.max) ? parsed->max_chars : length.max;
  if (max != kUnbounded && max < min) return grammar_.Choice({});
  return rules_.Quoted(grammar_.Repeat(*parsed->repeated_class, min, max));
}

absl::StatusOr<std::optional<NumberBound>> SchemaCompiler::BoundOf(const Object& schema,
                                                                   std::string_view inclusive,
                                                                   std::string_view exclusive,
                                                                   bool lowest,
                                                                   const At& at) const {
  std::optional<NumberBound> bound;
  double bound_value = 0;
  for (const std::string_view keyword : {inclusive, exclusive}) {
    const Value* value = schema.if_contains(Key(keyword));
    if (value == nullptr) continue;
    if (!value->is_number()) {
      return absl::InvalidArgumentError(
          AtSchema(at.pointer, Concat(keyword, ": expected a number")));
    }
    absl::StatusOr<Decimal> decimal = value->is_int64()
                                          ? Decimal::FromInteger(value->get_int64())
                                          : Decimal::FromDouble(value->to_number<double>());
    if (!decimal.ok()) {
      const auto message = decimal.status().message();
      return absl::Status(
          decimal.status().code(),
          AtSchema(at.pointer, Concat(keyword, ": ", std::string(message.data(), message.size()))));
    }
    const double number = value->to_number<double>();
    // The tighter of the two; the exclusive one when they are equal.
    if (bound && (lowest ? number < bound_value : number > bound_value)) continue;
    bound = NumberBound{*std::move(decimal), keyword == exclusive};
    bound_value = number;
  }
  return bound;
}

absl::StatusOr<ExprId> SchemaCompiler::BuildNumber(const Object& schema, bool integer,
                                                   const At& at) {
  NumberRange range;
  PINGTI_ASSIGN_OR_RETURN(range.low, BoundOf(schema, "minimum", "exclusiveMinimum", true, at));
  PINGTI_ASSIGN_OR_RETURN(range.high, BoundOf(schema, "maximum", "exclusiveMaximum", false, at));
  if (range.low || range.high) return NumberInRange(range, integer, &grammar_);
  return integer ? rules_.Integer() : rules_.Number();
}

absl::StatusOr<ExprId> SchemaCompiler::BuildArray(const Object& schema, const At& at) {
  if (const Value* unique = schema.if_contains("uniqueItems");
      unique != nullptr && *unique != Value(false)) {
    return absl::UnimplementedError(
        AtSchema(at.pointer, "keyword 'uniqueItems' is not supported, except as false"));
  }
  PINGTI_ASSIGN_OR_RETURN(const Bounds count, BoundsOf(schema, "minItems", "maxItems", at));
  std::vector<ExprId> first;
  if (const Value* prefix = schema.if_contains("prefixItems")) {
    if (!prefix->is_array()) {
      return absl::InvalidArgumentError(AtSchema(at.pointer, "prefixItems: expected an array"));
    }
    for (size_t i = 0; i < prefix->get_array().size(); ++i) {
      const At below = at.Below(Concat("prefixItems/", i));
      PINGTI_ASSIGN_OR_RETURN(const ExprId item, Build(prefix->get_array()[i], below));
      first.push_back(item);
    }
  }
  const Value* items = schema.if_contains("items");
  const int32_t num_first = static_cast<int32_t>(first.size());
  if (items == nullptr && num_first == 0 && count.min == 0 && count.max == kUnbounded) {
    return rules_.AnyArray();
  }
  if (items != nullptr && items->is_array()) {
    return absl::UnimplementedError(
        AtSchema(at.pointer, "'items' as an array is not supported: expected 'prefixItems'"));
  }
  ExprId rest = 0;
  // Where positions are described one by one, further elements only if 'items' describes them.
  const bool closed = items == nullptr ? num_first > 0 : *items == Value(false);
  if (!closed && items == nullptr) rest = rules_.Any();
  if (!closed && items != nullptr) {
    PINGTI_ASSIGN_OR_RETURN(rest, Build(*items, at.Below("items")));
  }
  if (closed && count.min > num_first && items == nullptr) {
    rest = rules_.Any();
  } else if (closed && count.min > num_first) {
    return absl::InvalidArgumentError(
        AtSchema(at.pointer, Concat("minItems is ", count.min, ": expected at most the ", num_first,
                                    " elements that 'prefixItems' and 'items' allow")));
  }
  if (count.max != kUnbounded && count.max < num_first) first.resize(count.max);
  const int32_t has_first = static_cast<int32_t>(first.size());
  const int32_t min_more = std::max(0, count.min - has_first);
  int32_t max_more = count.max == kUnbounded ? kUnbounded : count.max - has_first;
  if (closed) max_more = min_more;
  return rules_.Array(first, std::min(count.min, has_first), rest, min_more, max_more);
}

absl::StatusOr<ExprId> SchemaCompiler::BuildObject(const Object& schema, const At& at) {
  const Value* properties = schema.if_contains("properties");
  if (properties != nullptr && !properties->is_object()) {
    return absl::InvalidArgumentError(AtSchema(at.pointer, "properties: expected an object"));
  }
  const Object* declared = properties == nullptr ? nullptr : &properties->get_object();
  std::vector<std::string> required;
  if (const Value* names = schema.if_contains("required")) {
    const bool is_list =
        names->is_array() && std::all_of(names->get_array().begin(), names->get_array().end(),
                                         [](const Value& name) { return name.is_string(); });
    if (!is_list) {
      return absl::InvalidArgumentError(
          AtSchema(at.pointer, "required: expected an array of names"));
    }
    for (const Value& name : names->get_array()) required.emplace_back(View(name.get_string()));
  }
  const Value* additional = schema.if_contains("additionalProperties");
  const bool is_bare = (declared == nullptr || declared->empty()) && required.empty();
  if (is_bare && (additional == nullptr || *additional == Value(true))) {
    return rules_.AnyObject();
  }
  const bool closed = additional != nullptr && *additional == Value(false);
  ExprId other = 0;  // the value of a property that is not declared
  if (additional != nullptr && !closed) {
    PINGTI_ASSIGN_OR_RETURN(other, Build(*additional, at.Below("additionalProperties")));
  } else if (!closed) {
    other = rules_.Any();
  }

  std::vector<Grammar::ListElement> members;
  Object known = declared == nullptr ? Object() : *declared;
  for (const auto& property : known) {
    const std::string name(View(property.key()));
    const At below = at.Below(Concat("properties/", PointerPart(name)));
    PINGTI_ASSIGN_OR_RETURN(const ExprId value, Build(property.value(), below));
    const bool is_required = std::find(required.begin(), required.end(), name) != required.end();
    members.push_back({rules_.Member(name, value), is_required});
  }
  for (const std::string& name : required) {
    if (known.contains(name)) continue;
    if (closed) {
      return absl::InvalidArgumentError(
          AtSchema(at.pointer, Concat("'", name,
                                      "' is required: expected it among 'properties', "
                                      "which 'additionalProperties' closes")));
    }
    known[name] = true;
    members.push_back({rules_.Member(name, other), true});
  }
  if (additional != nullptr && !closed) {
    PINGTI_ASSIGN_OR_RETURN(const ExprId name, OtherName(known, at));
    const ExprId member = rules_.MemberOf(name, other);
    const ExprId more = grammar_.Repeat(grammar_.Sequence({rules_.Comma(), member}), 0, kUnbounded);
    members.push_back({grammar_.Sequence({member, more}), false});
  }
  return rules_.Object(std::move(members));
}

// A quoted name that is none of `properties`: unescaped, so that it cannot be one of them in
// another spelling.
absl::StatusOr<ExprId> SchemaCompiler::OtherName(const Object& properties, const At& at) {
  const RuleId rest = grammar_.AddRule("rest of a name", true);
  PINGTI_RETURN_IF_ERROR(grammar_.status());
  const ExprId chars = grammar_.Repeat(grammar_.Class(JsonRules::RawChars()), 0, kUnbounded);
  const ExprId rest_body = grammar_.Sequence({chars, grammar_.Literal("\"")});
  grammar_.SetBody(rest, rest_body);
  Names names;
  for (const auto& property : properties) {
    names.push_back(Decode(View(property.key())));
    if (names.back().size() > kMostNameChars) {
      return absl::ResourceExhaustedError(
          AtSchema(at.pointer, Concat("a property's name is longer than ", kMostNameChars,
                                      " characters beside 'additionalProperties'")));
    }
  }
  const ExprId unlike = UnlikeAll(names, 0, grammar_.Call(rest), &grammar_);
  const RuleId name = grammar_.AddRule("another name");
  PINGTI_RETURN_IF_ERROR(grammar_.status());
  const ExprId body = grammar_.Sequence({grammar_.Literal("\""), unlike});
  grammar_.SetBody(name, body);
  return grammar_.Call(name);
}

}  // namespace pingti::grammar
