// See json_fields.h.
#include "router/api/json_fields.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <new>
#include <utility>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "router/api/api_error.h"

namespace pingti::router {
namespace json = boost::json;
namespace {

// The name of the member `name` of the object `path`.
std::string Under(std::string_view path, std::string_view name) {
  return path.empty() ? std::string(name) : Concat(path, ".", name);
}

// What a tree may still take while it is parsed, by one thread.
struct TreeBound {
  size_t left = 0;
  bool is_lifted = false;
};

// Memory of one tree, which outlives the parse.
class TreeMemory final : public json::memory_resource {
 public:
  explicit TreeMemory(std::shared_ptr<TreeBound> bound) : bound_(std::move(bound)) {}

 private:
  void* do_allocate(size_t bytes, size_t alignment) override {
    if (!bound_->is_lifted) {
      if (bytes > bound_->left) throw std::bad_alloc();
      bound_->left -= bytes;
    }
    // The library gives back with another alignment than it took with; none is larger than this.
    PINGTI_CHECK(alignment <= __STDCPP_DEFAULT_NEW_ALIGNMENT__);
    return ::operator new(bytes);
  }
  void do_deallocate(void* memory, size_t bytes, size_t alignment) override {
    if (!bound_->is_lifted) bound_->left += bytes;
    ::operator delete(memory);
  }
  bool do_is_equal(const json::memory_resource& other) const noexcept override {
    return this == &other;
  }

  const std::shared_ptr<TreeBound> bound_;  // shared with the parse, which lifts it
};

// Errors: not_enough_memory when the tree takes more than `max_bytes`; those of the parser.
json::value ParseWithin(std::string_view body, size_t max_bytes, const json::parse_options& options,
                        boost::system::error_code* error) {
  const auto bound = std::make_shared<TreeBound>();
  bound->left = max_bytes;
  const json::storage_ptr memory = json::make_shared_resource<TreeMemory>(bound);
  json::value value(memory);
  try {
    // json::parse takes its stack, which holds an array's values until its end, from the heap.
    json::parser parser(memory, options);
    parser.reset(memory);
    parser.write(body.data(), body.size(), *error);
    if (!*error) value = parser.release();
  } catch (const std::bad_alloc&) {
    *error = boost::system::errc::make_error_code(boost::system::errc::not_enough_memory);
  }
  bound->is_lifted = true;
  return value;
}

// 16.0, as some languages write 16, is 16. Above 2^53 a double does not say which integer it means.
json::value IntegerOf(const json::value& value) {
  constexpr double kMostExact = 9007199254740992.0;
  const double* number = value.if_double();
  if (number == nullptr || std::abs(*number) > kMostExact || std::trunc(*number) != *number) {
    return value;
  }
  return json::value(static_cast<int64_t>(*number));
}

}  // namespace

absl::StatusOr<json::object> ParseJsonObject(std::string_view body) {
  // With four bytes for each of the text's, enough for a prompt of a million token ids.
  // `[0,0,0...]` takes twelve, and more while it is parsed.
  constexpr size_t kMaxTreeBytes = 64u << 20;
  constexpr size_t kMaxDepth = 64;
  json::error_code error;
  json::parse_options options;
  options.max_depth = kMaxDepth;
  json::value value = ParseWithin(body, 4 * body.size() + kMaxTreeBytes, options, &error);
  if (error == boost::system::errc::not_enough_memory) {
    return ApiError(absl::StatusCode::kInvalidArgument,
                    "The JSON body of your request has too many values", "", "too_many_values");
  }
  if (error) {
    return ApiError(absl::StatusCode::kInvalidArgument,
                    Concat("We could not parse the JSON body of your request: ", error.message()),
                    "", "invalid_json");
  }
  if (!value.is_object()) return WrongType("body", value, "an object");
  return std::move(value.get_object());
}

void DropNullKeywords(json::value* schema) {
  static constexpr std::string_view kValues[] = {"const", "default", "enum", "example", "examples"};
  if (json::array* list = schema->if_array()) {
    for (json::value& element : *list) DropNullKeywords(&element);
    return;
  }
  json::object* object = schema->if_object();
  if (object == nullptr) return;
  json::object kept(object->storage());
  for (auto& member : *object) {
    const bool is_value = IsIn(View(member.key()), kValues);
    if (member.value().is_null() && !is_value) continue;
    if (!is_value) DropNullKeywords(&member.value());
    kept.emplace(member.key(), std::move(member.value()));
  }
  *object = std::move(kept);
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
  const json::value whole = IntegerOf(value);
  if (!whole.is_int64() && !whole.is_uint64()) return WrongType(field, value, "an integer");
  const bool fits = whole.is_int64();
  if (!fits || whole.get_int64() < least || whole.get_int64() > most) {
    return FieldError(field, Concat("Invalid '", field, "': ", std::string(json::serialize(value)),
                                    " is not an integer from ", least, " to ", most, "."));
  }
  *out = whole.get_int64();
  return absl::OkStatus();
}

absl::Status MissingField(const std::string& field) {
  return ApiError(absl::StatusCode::kInvalidArgument,
                  Concat("Missing required parameter: '", field, "'."), field,
                  "missing_required_parameter");
}

absl::Status RequireString(const std::string& path, const json::object& object,
                           std::string_view name) {
  const std::string field = Under(path, name);
  const json::value* value = object.if_contains(json::string_view(name.data(), name.size()));
  if (value == nullptr) return MissingField(field);
  std::string text;
  return ReadString(field, *value, &text);
}

absl::StatusOr<const json::object*> RequireObject(std::string_view path, const json::value& value) {
  if (!value.is_object()) return WrongType(path, value, "an object");
  return &value.get_object();
}

const json::value* Member(const json::object& object, const char* name) {
  const json::value* value = object.if_contains(name);
  return value == nullptr || value->is_null() ? nullptr : value;
}

absl::Status ForEachPart(std::string_view path, const json::array& parts, const ReadPart& read) {
  for (size_t i = 0; i < parts.size(); ++i) {
    const std::string part_path = Concat(path, "[", i, "]");
    PINGTI_ASSIGN_OR_RETURN(const json::object* part, RequireObject(part_path, parts[i]));
    PINGTI_RETURN_IF_ERROR(RequireString(part_path, *part, "type"));
    PINGTI_RETURN_IF_ERROR(read(part_path, TextOf(*part, "type"), *part));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> JoinText(std::string_view path, const json::value& content,
                                     const ReadPartText& read) {
  if (content.is_string()) return std::string(View(content.get_string()));
  if (!content.is_array()) return WrongType(path, content, "a string or an array");
  std::string joined;
  PINGTI_RETURN_IF_ERROR(ForEachPart(path, content.get_array(),
                                     [&](const std::string& part_path, std::string_view type,
                                         const json::object& part) -> absl::Status {
                                       PINGTI_ASSIGN_OR_RETURN(const std::string_view text,
                                                               read(part_path, type, part));
                                       joined += text;
                                       return absl::OkStatus();
                                     }));
  return joined;
}

absl::Status WrongValue(std::string_view field, std::string_view value,
                        std::initializer_list<std::string_view> supported) {
  std::string list;
  for (const std::string_view name : supported) {
    list += Concat(list.empty() ? "'" : ", '", name, "'");
  }
  return FieldError(field,
                    Concat("Invalid value: '", value, "'. Supported values are: ", list, "."));
}

json::object CopyFields(const json::object& body, std::span<const std::string_view> names) {
  json::object copy;
  for (const std::string_view name : names) {
    const json::string_view key(name.data(), name.size());
    if (const json::value* value = body.if_contains(key)) copy[key] = *value;
  }
  return copy;
}

bool IsIn(std::string_view name, std::span<const std::string_view> list) {
  return std::find(list.begin(), list.end(), name) != list.end();
}

absl::Status UnknownField(std::string_view field) {
  return ApiError(absl::StatusCode::kInvalidArgument,
                  Concat("Unrecognized request argument supplied: ", field), field,
                  "unknown_parameter");
}

}  // namespace pingti::router
