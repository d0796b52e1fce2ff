// The text by which a model is measured when the user gives none: prose, numbers and code. English.
#pragma once

#include <string_view>

namespace pingti::tools {

std::string_view SampleText();

}  // namespace pingti::tools
