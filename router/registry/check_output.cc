// See check_output.h.
#include "router/registry/check_output.h"

#include <algorithm>
#include <string_view>
#include <vector>

#include "common/base/status_macros.h"
#include "common/base/strings.h"

namespace pingti::router {
namespace {

absl::Status CheckToken(uint32_t token, const OutputLimits& limits) {
  if (limits.vocab_size() == 0 || token < limits.vocab_size()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      Concat("token id ", token, ": expected one below ", limits.vocab_size()));
}

absl::Status CheckCount(std::string_view what, size_t count, size_t most) {
  if (count <= most) return absl::OkStatus();
  return absl::InvalidArgumentError(Concat(count, " ", what, ": expected at most ", most));
}

absl::Status CheckScores(const std::vector<TokenScores>& scores, const OutputLimits& limits) {
  for (const TokenScores& score : scores) {
    PINGTI_RETURN_IF_ERROR(CheckCount("likely tokens", score.top.size(), kMaxTopScores));
    for (const ScoredToken& top : score.top) {
      PINGTI_RETURN_IF_ERROR(CheckToken(top.token_id, limits));
    }
  }
  return absl::OkStatus();
}

}  // namespace

OutputLimits::OutputLimits(uint32_t vocab_size, uint32_t output_tokens, uint32_t prompt_scores,
                           uint32_t num_answers)
    : vocab_size_(vocab_size),
      prompt_scores_(prompt_scores),
      answers_(num_answers, {output_tokens}) {}

void OutputLimits::Count(const SequenceOutput& output) {
  Answer& answer = answers_[output.sample_index];
  answer.output_tokens -= static_cast<uint32_t>(output.token_ids.size());
  answer.ended = output.finish.has_value();
  prompt_scores_ -= static_cast<uint32_t>(output.prompt_logprobs.size());
}

bool OutputLimits::all_ended() const {
  return std::all_of(answers_.begin(), answers_.end(),
                     [](const Answer& answer) { return answer.ended; });
}

absl::Status CheckOutput(const SequenceOutput& output, const OutputLimits& limits) {
  const uint32_t answer = output.sample_index;
  if (answer >= limits.num_answers() || limits.ended(answer)) {
    return absl::InvalidArgumentError(Concat("an output of answer ", answer,
                                             ": expected one of the ", limits.num_answers(),
                                             " that has not ended"));
  }
  PINGTI_RETURN_IF_ERROR(
      CheckCount("more tokens", output.token_ids.size(), limits.output_tokens(answer)));
  PINGTI_RETURN_IF_ERROR(
      CheckCount("logprobs of them", output.logprobs.size(), output.token_ids.size()));
  PINGTI_RETURN_IF_ERROR(CheckCount("more logprobs of the prompt", output.prompt_logprobs.size(),
                                    limits.prompt_scores()));
  for (const uint32_t token : output.token_ids) PINGTI_RETURN_IF_ERROR(CheckToken(token, limits));
  PINGTI_RETURN_IF_ERROR(CheckScores(output.logprobs, limits));
  return CheckScores(output.prompt_logprobs, limits);
}

}  // namespace pingti::router
