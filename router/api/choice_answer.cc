// See choice_answer.h.
#include "router/api/choice_answer.h"

#include <iterator>
#include <utility>

namespace pingti::router {

// Thoughts come before the content, calls behind it. A delta with logprobs alone, of a token that
// is part of a character or of a mark, belongs to what was written last, or comes next.
void ChoiceAnswer::PlaceLogprobs(const ChoiceDelta& delta, size_t num_logprobs) {
  const bool content_is_last = tool_calls.empty() && (!content.empty() || reasoning.empty());
  const bool has_other = !delta.reasoning.empty() || !delta.tool_calls.empty();
  if (!delta.content.empty() || (!has_other && content_is_last)) {
    content_logprobs_end = num_logprobs;
  } else if (content.empty()) {
    content_logprobs_begin = content_logprobs_end = num_logprobs;
  }
}

void ChoiceAnswer::Append(ChoiceDelta delta) {
  PlaceLogprobs(delta, logprobs.size() + delta.logprobs.size());
  content += delta.content;
  reasoning += delta.reasoning;
  for (ToolCallDelta& call : delta.tool_calls) {
    if (call.index < tool_calls.size()) {
      tool_calls[call.index].arguments += call.arguments;
    } else {
      tool_calls.push_back(std::move(call));
    }
  }
  std::move(delta.logprobs.begin(), delta.logprobs.end(), std::back_inserter(logprobs));
  if (delta.finish == FinishReason::kNone) return;
  finish = delta.finish;
  matched_stop = std::move(delta.matched_stop);
}

}  // namespace pingti::router
