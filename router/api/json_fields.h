// Reading JSON fields with OpenAI's error shape, for all three APIs. Included only by .cc files of
// the API folders. `path` names an object or an array, "messages[2].content"; empty: the body.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "boost/json.hpp"

namespace pingti::router {

// Errors: InvalidArgument, code "invalid_json".
absl::StatusOr<boost::json::object> ParseJsonObject(std::string_view body);
// Takes members that are null out of a JSON schema, at any depth, as clients write what is not set;
// not those that are values, as of "const". The order of what stays is kept.
void DropNullKeywords(boost::json::value* schema);

// Errors: InvalidArgument naming the field, what it is and what was expected.
absl::Status ReadBool(std::string_view field, const boost::json::value& value, bool* out);
absl::Status ReadNumber(std::string_view field, const boost::json::value& value, double* out);
absl::Status ReadString(std::string_view field, const boost::json::value& value, std::string* out);
// An integer in [least, most], which may be written as 16.0.
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
// That `object` has the string `name`.
absl::Status RequireString(const std::string& path, const boost::json::object& object,
                           std::string_view name);

// `value` as an object.
absl::StatusOr<const boost::json::object*> RequireObject(std::string_view path,
                                                         const boost::json::value& value);

// The string `name`. REQUIRES: RequireString found it.
inline std::string_view TextOf(const boost::json::object& object, const char* name) {
  return View(object.at(name).get_string());
}
// The member `name`; null and absent are the same.
const boost::json::value* Member(const boost::json::object& object, const char* name);

// Calls `read` for every element of an array of objects that say what they are by a string "type".
// Ends with the first error.
using ReadPart = std::function<absl::Status(const std::string& path, std::string_view type,
                                            const boost::json::object& part)>;
absl::Status ForEachPart(std::string_view path, const boost::json::array& parts,
                         const ReadPart& read);

// The text of `content`: a string, or parts that `read` gives the text of.
using ReadPartText = std::function<absl::StatusOr<std::string_view>(
    const std::string& path, std::string_view type, const boost::json::object& part)>;
absl::StatusOr<std::string> JoinText(std::string_view path, const boost::json::value& content,
                                     const ReadPartText& read);

// InvalidArgument: "Invalid value: 'x'. Supported values are: 'a', 'b'."
absl::Status WrongValue(std::string_view field, std::string_view value,
                        std::initializer_list<std::string_view> supported);

// The members of `body` that a chat has under the same names.
boost::json::object CopyFields(const boost::json::object& body,
                               std::span<const std::string_view> names);

bool IsIn(std::string_view name, std::span<const std::string_view> list);

// InvalidArgument, code "unknown_parameter".
absl::Status UnknownField(std::string_view field);

}  // namespace pingti::router
