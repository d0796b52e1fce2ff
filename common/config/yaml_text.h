// Text as a YAML scalar.
#pragma once

#include <string>
#include <string_view>

namespace pingti::config {

// Double-quoted with escapes: never mistaken for a number, a boolean or null.
std::string YamlString(std::string_view text);

}  // namespace pingti::config
