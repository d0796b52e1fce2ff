// Reading one JSON field with OpenAI's error shape. Included only by .cc files
// of the API folders.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "boost/json.hpp"

namespace pingti::router {

// Errors: InvalidArgument, code "invalid_json".
absl::StatusOr<boost::json::object> ParseJsonObject(std::string_view body);
// Null means absent, as in the reference's "optional or null".
void DropNulls(boost::json::object* body);

// Errors: InvalidArgument naming the field, what it is and what was expected.
absl::Status ReadBool(std::string_view field, const boost::json::value& value, bool* out);
absl::Status ReadNumber(std::string_view field, const boost::json::value& value, double* out);
absl::Status ReadString(std::string_view field, const boost::json::value& value, std::string* out);
// An integer in [least, most].
absl::Status ReadInteger(std::string_view field, const boost::json::value& value, int64_t least,
                         int64_t most, int64_t* out);

// "null", "a boolean", "a number", "a string", "an array", "an object".
std::string_view JsonKind(const boost::json::value& value);
absl::Status WrongType(std::string_view field, const boost::json::value& value,
                       std::string_view expected);

inline std::string_view View(const boost::json::string& text) { return {text.data(), text.size()}; }
inline std::string_view View(boost::json::string_view text) { return {text.data(), text.size()}; }

// InvalidArgument, code "missing_required_parameter".
absl::Status MissingField(const std::string& field);
// That `object` has the string `name`; `path` names the object.
absl::Status RequireString(const std::string& path, const boost::json::object& object,
                           std::string_view name);

// InvalidArgument for a member of `object` whose name is not in `known`; `path` names the object.
absl::Status RefuseUnknown(std::string_view path, const boost::json::object& object,
                           std::span<const std::string_view> known);

}  // namespace pingti::router
