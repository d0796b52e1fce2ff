// All of one choice, gathered for an answer that is not streamed.
#pragma once

#include <string>
#include <vector>

#include "router/api/request.h"

namespace pingti::router {

struct ChoiceAnswer {
  std::string content{};
  std::string reasoning{};
  std::vector<ToolCallDelta> tool_calls{};  // whole, one per call
  std::vector<TokenLogprob> logprobs{};
  FinishReason finish = FinishReason::kNone;
  std::string matched_stop{};

  void Append(ChoiceDelta delta);
};

}  // namespace pingti::router
