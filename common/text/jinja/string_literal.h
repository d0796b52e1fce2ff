// The text between the quotes of a string in a template. Stateless.
#pragma once

#include <string>
#include <string_view>

namespace pingti::text::jinja {

// Python's escape sequences replaced. Errors are thrown (error.h) with `line`.
std::string Unescape(std::string_view body, int line);

}  // namespace pingti::text::jinja
