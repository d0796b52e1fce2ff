// Arguments of a tool call that are written field by field rather than as a JSON object, as
// <parameter=city>\nBern\n</parameter> or city="Bern": from the tool's JSON schema to a grammar.
#pragma once

#include <boost/json/fwd.hpp>
#include <functional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "common/grammar/grammar.h"

namespace pingti::grammar {

// The text around a field's name and value. A value is JSON.
struct FieldFrames {
  std::string name_begin;
  std::string name_end;
  std::string value_end;
  std::string separator;  // between fields; may be empty
  // What the schema calls a string is written as it is, without quotes, up to `value_end`.
  bool bare_strings = false;
};

// Whether all arguments that follow `schema` could be written so: it is an object with plain
// properties, and no string that is written bare has a constraint other than "enum" and "const".
bool FitsFields(const boost::json::object& schema, const FieldFrames& frames);

// A text up to and with a mark, as TextUpTo of text_without.h makes it; whoever gives it may share
// one between several places.
using MakeTextUpTo = std::function<absl::StatusOr<ExprId>(std::string_view mark)>;

// The fields of `schema` in the order of their declaration, those left out that are not required.
// REQUIRES: FitsFields; `grammar` takes further rules, its root is not set. Errors: those of
// json_schema.h and of `text_up_to`.
absl::StatusOr<ExprId> FieldArguments(const boost::json::value& schema, const FieldFrames& frames,
                                      const MakeTextUpTo& text_up_to, Grammar* grammar);

}  // namespace pingti::grammar
