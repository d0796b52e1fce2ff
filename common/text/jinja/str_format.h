// str.format with Python's format specifications. Errors are thrown (error.h).
#pragma once

#include <string>
#include <string_view>

#include "common/text/jinja/value.h"

namespace pingti::text::jinja {

// format(value, spec): [[fill]align][sign][#][0][width][grouping][.precision][type].
std::string FormatValue(const Value& value, std::string_view spec);

// "{} {0} {name} {a.b} {a[0]} {x!r:>10}".format(...).
Value FormatMethod(Interpreter* interpreter, const Value& self, const Args& args);

}  // namespace pingti::text::jinja
