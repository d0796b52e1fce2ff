#include "worker/weights/json_fields.h"

#include <boost/json.hpp>
#include <cmath>

#include "common/base/status_macros.h"
#include "common/base/strings.h"

namespace pingti::worker {

namespace json = boost::json;

const json::value* JsonFields::Find(std::string_view key) const {
  const json::value* value = object_.if_contains(json::string_view(key.data(), key.size()));
  return value == nullptr || value->is_null() ? nullptr : value;
}

absl::Status JsonFields::Wrong(std::string_view key, std::string_view expected) const {
  std::string shown = json::serialize(*Find(key));
  if (shown.size() > 100) shown = shown.substr(0, 100) + "...";
  return absl::InvalidArgumentError(
      Concat("'", prefix_, key, "' is ", shown, "; expected ", expected));
}

absl::StatusOr<std::optional<int64_t>> JsonFields::Int(std::string_view key) const {
  const json::value* value = Find(key);
  if (value == nullptr) return std::nullopt;
  if (const int64_t* i = value->if_int64()) return *i;
  return Wrong(key, "an integer");
}

absl::StatusOr<std::optional<double>> JsonFields::Number(std::string_view key) const {
  const json::value* value = Find(key);
  if (value == nullptr) return std::nullopt;
  json::error_code error;
  const double number = value->to_number<double>(error);
  if (error || !std::isfinite(number)) return Wrong(key, "a number");
  return number;
}

absl::StatusOr<std::optional<bool>> JsonFields::Bool(std::string_view key) const {
  const json::value* value = Find(key);
  if (value == nullptr) return std::nullopt;
  if (const bool* b = value->if_bool()) return *b;
  return Wrong(key, "true or false");
}

absl::StatusOr<std::optional<std::string>> JsonFields::String(std::string_view key) const {
  const json::value* value = Find(key);
  if (value == nullptr) return std::nullopt;
  if (const json::string* text = value->if_string()) {
    return std::string(text->data(), text->size());
  }
  return Wrong(key, "a string");
}

absl::StatusOr<std::vector<int64_t>> JsonFields::IntList(std::string_view key) const {
  const json::value* value = Find(key);
  std::vector<int64_t> list;
  if (value == nullptr) return list;
  if (const int64_t* i = value->if_int64()) return std::vector<int64_t>{*i};
  if (!value->is_array()) return Wrong(key, "an integer or an array of integers");
  for (const json::value& item : value->get_array()) {
    const int64_t* i = item.if_int64();
    if (i == nullptr) return Wrong(key, "an integer or an array of integers");
    list.push_back(*i);
  }
  return list;
}

absl::StatusOr<std::vector<std::string>> JsonFields::StringList(std::string_view key) const {
  const json::value* value = Find(key);
  std::vector<std::string> list;
  if (value == nullptr) return list;
  if (!value->is_array()) return Wrong(key, "an array of strings");
  for (const json::value& item : value->get_array()) {
    const json::string* text = item.if_string();
    if (text == nullptr) return Wrong(key, "an array of strings");
    list.emplace_back(text->data(), text->size());
  }
  return list;
}

absl::StatusOr<const json::object*> JsonFields::Object(std::string_view key) const {
  const json::value* value = Find(key);
  if (value == nullptr) return nullptr;
  if (const json::object* object = value->if_object()) return object;
  return Wrong(key, "an object");
}

absl::StatusOr<int64_t> JsonFields::RequiredInt(std::string_view key, int64_t min,
                                                int64_t max) const {
  if (Find(key) == nullptr) {
    return absl::InvalidArgumentError(Concat("'", prefix_, key, "' is missing"));
  }
  return IntOr(key, min, min, max);
}

absl::StatusOr<int64_t> JsonFields::IntOr(std::string_view key, int64_t fallback, int64_t min,
                                          int64_t max) const {
  PINGTI_ASSIGN_OR_RETURN(const std::optional<int64_t> value, IntIn(key, min, max));
  return value.value_or(fallback);
}

absl::StatusOr<std::optional<int64_t>> JsonFields::IntIn(std::string_view key, int64_t min,
                                                         int64_t max) const {
  PINGTI_ASSIGN_OR_RETURN(const std::optional<int64_t> value, Int(key));
  if (value.has_value() && (*value < min || *value > max)) {
    return Wrong(key, Concat(min, " to ", max));
  }
  return value;
}

absl::StatusOr<std::optional<double>> JsonFields::NumberIn(std::string_view key, double min,
                                                           double max) const {
  PINGTI_ASSIGN_OR_RETURN(const std::optional<double> value, Number(key));
  if (value.has_value() && !(*value >= min && *value <= max)) {
    return Wrong(key, Concat("a number from ", min, " to ", max));
  }
  return value;
}

absl::StatusOr<double> JsonFields::NumberOr(std::string_view key, double fallback, double min,
                                            double max) const {
  PINGTI_ASSIGN_OR_RETURN(const std::optional<double> value, NumberIn(key, min, max));
  return value.value_or(fallback);
}

absl::StatusOr<bool> JsonFields::BoolOr(std::string_view key, bool fallback) const {
  PINGTI_ASSIGN_OR_RETURN(const std::optional<bool> value, Bool(key));
  return value.value_or(fallback);
}

absl::StatusOr<json::value> ParseJsonObject(std::string_view text) {
  json::error_code error;
  json::value value = json::parse(json::string_view(text.data(), text.size()), error);
  if (error) return absl::InvalidArgumentError(Concat("not JSON: ", error.message()));
  if (!value.is_object()) return absl::InvalidArgumentError("not a JSON object");
  return value;
}

}  // namespace pingti::worker
