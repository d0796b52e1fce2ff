// JSON Schema to grammar.
//
// Understood (draft 2020-12, and what older drafts share with it): type, properties, required,
// additionalProperties, items, prefixItems, minItems, maxItems, enum, const, anyOf, oneOf (as
// anyOf), allOf (merged), $ref within the document, also recursive, pattern, format, minLength,
// maxLength, minimum, maximum, exclusiveMinimum, exclusiveMaximum. Annotations (title, default,
// ...) constrain nothing. Every other keyword is refused by name, with the JSON pointer of its
// schema.
//
// What matches is always valid; not everything valid matches: properties come in the order in which
// they are declared, further ones only where additionalProperties says so or nothing is declared,
// and last; keywords of one type imply that type; white space and numbers as json_rules.h says; a
// pattern's characters are not escaped unless they must be. Read next: json_rules.h.
#pragma once

#include <string_view>

#include "absl/status/status.h"
#include "common/grammar/grammar.h"

namespace pingti::grammar {

// Adds the schema's rules to an empty grammar and sets its root.
// Errors: InvalidArgument or Unimplemented naming the pointer, the keyword and what is expected;
// ResourceExhausted and DeadlineExceeded by the limits.
absl::Status ParseJsonSchema(std::string_view source, Grammar* grammar);

}  // namespace pingti::grammar
