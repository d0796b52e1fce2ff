// What constrains a request's answer: the grammar it asked for, or the calls that its tool_choice
// forces, in the model's own syntax. Pure; may take a second on a hostile source.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "common/grammar/grammar_source.h"
#include "router/api/request.h"
#include "router/worker_link/served_model.h"

namespace pingti::router {

// Those of the model's marks of thoughts and of such calls that are control tokens: no text has
// them, so that they are named where they are to be read or written.
std::vector<std::string_view> SpecialMarks(const ServedModel& model, ToolCallFormat calls);

// Nothing for free text. What comes back compiles, so that a worker takes it. A call stays possible
// beside a document, and thoughts before either, where the workers have it; `reasoning_open`: the
// prompt ends inside a thought. Errors: InvalidArgument with the field and the compiler's words;
// within a schema they name the JSON pointer.
absl::StatusOr<std::optional<grammar::GrammarSource>> OutputGrammar(
    const ServedModel& model, const GenerationRequest& request, bool reasoning_open);

// Whether an answer under OutputGrammar may think first.
bool ThinksBeforeGrammar(const ServedModel& model, const GenerationRequest& request);

// What ends a thought that has gone on for long enough, so that `request`'s answer may follow.
std::string_view ThoughtEnd(const ServedModel& model, const GenerationRequest& request);

}  // namespace pingti::router
