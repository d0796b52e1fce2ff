// See json_fields.h.
#include "router/openai/json_fields.h"

#include <algorithm>
#include <utility>

#include "common/base/strings.h"
#include "router/api/api_error.h"

namespace pingti::router {
namespace json = boost::json;

absl::StatusOr<json::object> ParseJsonObject(std::string_view body) {
  constexpr size_t kMaxDepth = 64;
  json::error_code error;
  json::parse_options options;
  options.max_depth = kMaxDepth;
  json::value value = json::parse(json::string_view(body.data(), body.size()), error, {}, options);
  if (error) {
    return ApiError(absl::StatusCode::kInvalidArgument,
                    Concat("We could not parse the JSON body of your request: ", error.message()),
                    "", "invalid_json");
  }
  if (!value.is_object()) return WrongType("body", value, "an object");
  return std::move(value.get_object());
}

void DropNulls(json::object* body) {
  for (auto it = body->begin(); it != body->end();) {
    it = it->value().is_null() ? body->erase(it) : it + 1;
  }
}

std::string_view JsonKind(const json::value& value) {
  switch (value.kind()) {
    case json::kind::null:
      return "null";
    case json::kind::bool_:
      return "a boolean";
    case json::kind::string:
      return "a string";
    case json::kind::array:
      return "an array";
    case json::kind::object:
      return "an object";
    default:
      return "a number";
  }
}

absl::Status WrongType(std::string_view field, const json::value& value,
                       std::string_view expected) {
  return ApiError(absl::StatusCode::kInvalidArgument,
                  Concat("Invalid type for '", field, "': expected ", expected, ", but got ",
                         JsonKind(value), "."),
                  field, "invalid_type");
}

absl::Status ReadBool(std::string_view field, const json::value& value, bool* out) {
  if (!value.is_bool()) return WrongType(field, value, "a boolean");
  *out = value.get_bool();
  return absl::OkStatus();
}

absl::Status ReadNumber(std::string_view field, const json::value& value, double* out) {
  if (!value.is_number()) return WrongType(field, value, "a number");
  *out = value.is_double()  ? value.get_double()
         : value.is_int64() ? static_cast<double>(value.get_int64())
                            : static_cast<double>(value.get_uint64());
  return absl::OkStatus();
}

absl::Status ReadString(std::string_view field, const json::value& value, std::string* out) {
  if (!value.is_string()) return WrongType(field, value, "a string");
  out->assign(View(value.get_string()));
  return absl::OkStatus();
}

absl::Status ReadInteger(std::string_view field, const json::value& value, int64_t least,
                         int64_t most, int64_t* out) {
  if (!value.is_int64() && !value.is_uint64()) return WrongType(field, value, "an integer");
  const bool fits = value.is_int64();
  if (!fits || value.get_int64() < least || value.get_int64() > most) {
    return FieldError(field, Concat("Invalid '", field, "': ", std::string(json::serialize(value)),
                                    " is not an integer from ", least, " to ", most, "."));
  }
  *out = value.get_int64();
  return absl::OkStatus();
}

absl::Status MissingField(const std::string& field) {
  return ApiError(absl::StatusCode::kInvalidArgument,
                  Concat("Missing required parameter: '", field, "'."), field,
                  "missing_required_parameter");
}

absl::Status RequireString(const std::string& path, const json::object& object,
                           std::string_view name) {
  const std::string field = path.empty() ? std::string(name) : Concat(path, ".", name);
  const json::value* value = object.if_contains(json::string_view(name.data(), name.size()));
  if (value == nullptr) return MissingField(field);
  std::string text;
  return ReadString(field, *value, &text);
}

absl::Status RefuseUnknown(std::string_view path, const json::object& object,
                           std::span<const std::string_view> known) {
  for (const auto& member : object) {
    const std::string_view name = View(member.key());
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    const std::string field = path.empty() ? std::string(name) : Concat(path, ".", name);
    return ApiError(absl::StatusCode::kInvalidArgument,
                    Concat("Unrecognized request argument supplied: ", field), field,
                    "unknown_parameter");
  }
  return absl::OkStatus();
}

}  // namespace pingti::router
