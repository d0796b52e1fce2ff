// What constrains a request's answer: the grammar it asked for, or the calls that its tool_choice
// forces, in the model's own syntax. Pure; may take a second on a hostile source.
#pragma once

#include <optional>

#include "absl/status/statusor.h"
#include "common/grammar/grammar_source.h"
#include "router/api/request.h"
#include "router/pipeline/held_tool_calls.h"
#include "router/worker_link/served_model.h"

namespace pingti::router {

// The syntax in which a forced call is written: the model's, Hermes' for models that have none or
// whose own has no JSON in it.
ToolCallFormat ForcedCallFormat(const ServedModel& model);

// What is written around the calls that `request` forces, those of the named tool or of all.
CallFrames ForcedCallFrames(const ServedModel& model, const GenerationRequest& request);

// Nothing for free text. What comes back compiles, so that a worker takes it. A call stays possible
// beside a document in JSON, and thoughts before either, where the workers have it;
// `reasoning_open`: the prompt ends inside a thought. Errors: InvalidArgument with the field and
// the compiler's words; within a schema they name the JSON pointer.
absl::StatusOr<std::optional<grammar::GrammarSource>> OutputGrammar(
    const ServedModel& model, const GenerationRequest& request, bool reasoning_open);

// Whether an answer under OutputGrammar may think first.
bool ThinksBeforeGrammar(const ServedModel& model, const GenerationRequest& request);

}  // namespace pingti::router
