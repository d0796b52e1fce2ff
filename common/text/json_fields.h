// Typed access to the members of a JSON object, with messages that name the member. Stateless.
#pragma once

#include <boost/json.hpp>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace pingti::text {

// Where `object` stands in the file ("pre_tokenizer.pretokenizers[1]") and the object itself.
struct JsonAt {
  std::string path;
  const boost::json::object* object;
};

// Errors of all: InvalidArgument naming path and member when it is missing or of another type.
// Members may be absent (or null) where `otherwise` is given.
absl::StatusOr<JsonAt> JsonObject(const JsonAt& at, std::string_view name);
absl::StatusOr<const boost::json::array*> JsonArray(const JsonAt& at, std::string_view name);
absl::StatusOr<std::string> JsonString(const JsonAt& at, std::string_view name);
absl::StatusOr<std::string> JsonStringOr(const JsonAt& at, std::string_view name,
                                         std::string_view otherwise);
absl::StatusOr<bool> JsonBoolOr(const JsonAt& at, std::string_view name, bool otherwise);
absl::StatusOr<int64_t> JsonInt(const JsonAt& at, std::string_view name);
absl::StatusOr<int64_t> JsonIntOr(const JsonAt& at, std::string_view name, int64_t otherwise);

// True when the member is there and not null.
bool JsonHas(const JsonAt& at, std::string_view name);

// Element `i` of the array `name` of `at`, as an object.
absl::StatusOr<JsonAt> JsonElement(const JsonAt& at, std::string_view name,
                                   const boost::json::array& array, size_t i);

}  // namespace pingti::text
