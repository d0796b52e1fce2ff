// What JSON Schema's keywords are to the compiler, and how two schemas that must both hold become
// one (allOf, and what stands beside $ref, anyOf and oneOf). Pure.
#pragma once

#include <boost/json.hpp>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace pingti::grammar {

// Says something about a schema and nothing about texts.
bool IsAnnotation(std::string_view keyword);
// Constrains texts in a way that the compiler knows.
bool IsConstraint(std::string_view keyword);
// The type ("object", ...) that a keyword is about; empty for those about any.
std::string_view TypeOfKeyword(std::string_view keyword);
bool HasConstraints(const boost::json::object& schema);

// "json_schema at '#/properties/a': " and `what`.
std::string AtSchema(std::string_view pointer, std::string_view what);
// A name as part of a JSON pointer (RFC 6901).
std::string PointerPart(std::string_view name);

// One schema that accepts what both accept. `pointer` is for messages.
// Errors: Unimplemented naming the keyword that cannot be merged.
absl::StatusOr<boost::json::object> MergeSchemas(boost::json::object a,
                                                 const boost::json::object& b,
                                                 std::string_view pointer);

}  // namespace pingti::grammar
