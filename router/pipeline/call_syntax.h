// The calls of a request's tools in the model's own syntax, as the source of a grammar that holds
// them (common/grammar/tool_calls_source.h). Pure. Read next: output_grammar.h.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "boost/json/fwd.hpp"
#include "router/api/request.h"
#include "router/pipeline/held_tool_calls.h"
#include "router/worker_link/served_model.h"

namespace pingti::router {

// The syntax in which a forced call is written: the model's, Hermes' for models that have none or
// whose own has no JSON in it.
ToolCallFormat ForcedCallFormat(const ServedModel& model);

// What is written around the calls that `request` forces, those of the named tool or of all.
CallFrames ForcedCallFrames(const ServedModel& model, const GenerationRequest& request);

// The calls that are forced, without a thought or words. Errors: InvalidArgument when the named
// tool is none of the request's.
absl::StatusOr<boost::json::object> ForcedCalls(const ServedModel& model,
                                                const GenerationRequest& request);

// Which arguments of an unforced call must follow their tool's schema.
enum class HeldArguments { kOfStrictTools, kOfAllTools };

// The calls that the model may make as its chat template has them. Nothing where a grammar cannot
// hold them: a model without a syntax, or pythonic calls whose arguments are no plain names.
std::optional<boost::json::object> UnforcedCalls(const ServedModel& model,
                                                 const GenerationRequest& request,
                                                 HeldArguments held);

// How words and such calls are told apart, as a member of the source: "free" and the text that no
// words have, or "unless" and the character with which all calls begin. REQUIRES: a syntax, and one
// that is not Harmony's, which has messages (harmony_calls.h).
struct CallStart {
  std::string_view member;
  std::string_view text;
};
CallStart StartOf(ToolCallFormat format);

}  // namespace pingti::router
