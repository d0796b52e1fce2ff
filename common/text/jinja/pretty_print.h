// A value laid out over lines of at most 80 characters, as Python's pprint.pformat does it.
// Stateless. Errors are thrown (error.h).
#pragma once

#include <string>

#include "common/text/jinja/value.h"

namespace pingti::text::jinja {

std::string PrettyPrint(const Value& value);

}  // namespace pingti::text::jinja
