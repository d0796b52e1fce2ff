// Builds the Ast of a template. The grammar and its precedences are Jinja2 3.1's.
#pragma once

#include <cstddef>
#include <string_view>

#include "common/text/jinja/ast.h"

namespace pingti::text::jinja {

// Errors are thrown (error.h): what was expected, with the line; unsupported tags, filters and
// tests by name; nesting beyond `max_depth`.
Ast ParseTemplate(std::string_view source, size_t max_depth);

}  // namespace pingti::text::jinja
