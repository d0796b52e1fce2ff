// A row of the tables of request bodies that must be refused: what the tests of every API's parser
// share.
#pragma once

#include <ostream>

namespace pingti::router {

struct Refused {
  const char* json;
  const char* param;
  const char* code;
};
inline void PrintTo(const Refused& refused, std::ostream* out) { *out << refused.json; }

inline constexpr char kUnsupported[] = "unsupported_parameter";
inline constexpr char kUnknown[] = "unknown_parameter";
inline constexpr char kMissing[] = "missing_required_parameter";
inline constexpr char kType[] = "invalid_type";
inline constexpr char kValue[] = "invalid_value";

// A value that no field has: of a parser that reads a field, the refusal names it.
inline constexpr char kNoFieldsValue[] = R"([[["no field's value"]]])";

}  // namespace pingti::router
