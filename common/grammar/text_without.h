// Free text that ends at a mark: the languages around thoughts and tool calls. Pure.
#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "common/grammar/grammar.h"

namespace pingti::grammar {

// Any text in which `mark` does not stand, as UTF-8. Errors: InvalidArgument for a mark that is
// empty, not UTF-8, or has its first character twice, as no mark of a model does.
absl::StatusOr<ExprId> TextWithout(std::string_view mark, Grammar* grammar);
// Such a text and the mark behind it.
absl::StatusOr<ExprId> TextUpTo(std::string_view mark, Grammar* grammar);

}  // namespace pingti::grammar
