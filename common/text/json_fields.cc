// See json_fields.h.
#include "common/text/json_fields.h"

#include "absl/strings/str_cat.h"

namespace pingti::text {
namespace {

std::string PathTo(const JsonAt& at, std::string_view name) {
  return at.path.empty() ? std::string(name) : absl::StrCat(at.path, ".", std::string(name));
}

absl::Status Mismatch(const JsonAt& at, std::string_view name, const char* expected) {
  const auto* value = at.object->if_contains(name);
  const char* found = value == nullptr ? "nothing" : boost::json::to_string(value->kind()).data();
  return absl::InvalidArgumentError(
      absl::StrCat("'", PathTo(at, name), "': expected ", expected, ", found ", found));
}

}  // namespace

bool JsonHas(const JsonAt& at, std::string_view name) {
  const auto* value = at.object->if_contains(name);
  return value != nullptr && !value->is_null();
}

absl::StatusOr<JsonAt> JsonObject(const JsonAt& at, std::string_view name) {
  const auto* value = at.object->if_contains(name);
  if (value == nullptr || !value->is_object()) return Mismatch(at, name, "an object");
  return JsonAt{PathTo(at, name), &value->get_object()};
}

absl::StatusOr<const boost::json::array*> JsonArray(const JsonAt& at, std::string_view name) {
  const auto* value = at.object->if_contains(name);
  if (value == nullptr || !value->is_array()) return Mismatch(at, name, "an array");
  return &value->get_array();
}

absl::StatusOr<std::string> JsonString(const JsonAt& at, std::string_view name) {
  const auto* value = at.object->if_contains(name);
  if (value == nullptr || !value->is_string()) return Mismatch(at, name, "a string");
  return std::string(value->get_string());
}

absl::StatusOr<std::string> JsonStringOr(const JsonAt& at, std::string_view name,
                                         std::string_view otherwise) {
  if (!JsonHas(at, name)) return std::string(otherwise);
  return JsonString(at, name);
}

absl::StatusOr<bool> JsonBoolOr(const JsonAt& at, std::string_view name, bool otherwise) {
  if (!JsonHas(at, name)) return otherwise;
  const auto& value = at.object->at(name);
  if (!value.is_bool()) return Mismatch(at, name, "true or false");
  return value.get_bool();
}

absl::StatusOr<int64_t> JsonInt(const JsonAt& at, std::string_view name) {
  const auto* value = at.object->if_contains(name);
  if (value == nullptr || !value->is_int64()) return Mismatch(at, name, "an integer");
  return value->get_int64();
}

absl::StatusOr<int64_t> JsonIntOr(const JsonAt& at, std::string_view name, int64_t otherwise) {
  if (!JsonHas(at, name)) return otherwise;
  return JsonInt(at, name);
}

absl::StatusOr<JsonAt> JsonElement(const JsonAt& at, std::string_view name,
                                   const boost::json::array& array, size_t i) {
  const std::string path = absl::StrCat(PathTo(at, name), "[", i, "]");
  if (!array[i].is_object()) {
    return absl::InvalidArgumentError(absl::StrCat("'", path, "': expected an object"));
  }
  return JsonAt{path, &array[i].get_object()};
}

}  // namespace pingti::text
