// The values of JSON Schema's "format", as patterns. Pure.
#pragma once

#include <string_view>

namespace pingti::grammar {

// A regular expression that matches all of a text; empty for a format that is not known. Each is a
// subset of what its specification allows that every reader accepts (29 February never appears,
// URIs have a host and no port).
std::string_view PatternOfFormat(std::string_view format);

}  // namespace pingti::grammar
