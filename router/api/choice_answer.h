// All of one choice, gathered for an answer that is not streamed.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "router/api/request.h"

namespace pingti::router {

struct ChoiceAnswer {
  std::string content{};
  std::string reasoning{};
  std::vector<ToolCallDelta> tool_calls{};  // whole, one per call
  std::vector<TokenLogprob> logprobs{};
  // Those of `logprobs` that are the content's own, not a thought's or a call's.
  size_t content_logprobs_begin = 0;
  size_t content_logprobs_end = 0;
  FinishReason finish = FinishReason::kNone;
  std::string matched_stop{};

  void Append(ChoiceDelta delta);
  std::span<const TokenLogprob> content_logprobs() const {
    return std::span(logprobs).subspan(content_logprobs_begin,
                                       content_logprobs_end - content_logprobs_begin);
  }

 private:
  void PlaceLogprobs(const ChoiceDelta& delta, size_t num_logprobs);
};

}  // namespace pingti::router
