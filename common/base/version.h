// The version the build was made as.
#pragma once

#include <string_view>

namespace pingti {

// For example "0.1.0".
std::string_view Version();

}  // namespace pingti
