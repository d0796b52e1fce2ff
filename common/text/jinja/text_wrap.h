// A line of text broken into lines of a width, as Python's textwrap.wrap does it without touching
// tabs and white space. Stateless. Errors are thrown (error.h).
#pragma once

#include <cstdint>
#include <string_view>

#include "common/text/jinja/budget.h"

namespace pingti::text::jinja {

struct WrapStyle {
  int64_t width = 79;  // in characters, at least 1
  bool break_long_words = true;
  bool break_on_hyphens = true;
};
// Appends the lines to `out`, with `separator` between them.
void AppendWrapped(std::string_view text, const WrapStyle& style, std::string_view separator,
                   TextBuilder* out);

}  // namespace pingti::text::jinja
