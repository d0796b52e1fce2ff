// See choice_answer.h.
#include "router/api/choice_answer.h"

#include <iterator>
#include <utility>

namespace pingti::router {

void ChoiceAnswer::Append(ChoiceDelta delta) {
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
