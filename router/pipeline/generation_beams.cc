// Beam search in a Generation: one sequence at a worker for all answers to a prompt, which come
// together at the end. The first choice of a prompt stands for the sequence until then. It cannot
// be resumed, as its beams exist only at its worker: it begins again from the prompt. See
// generation.h.
#include <algorithm>
#include <iterator>
#include <utility>

#include "router/pipeline/generation.h"

namespace pingti::router {
namespace {

bool IsWhole(const SequenceOutput& answer) {
  if (!answer.finish.has_value()) return false;
  switch (answer.finish->reason) {
    case Finish::Reason::kStopToken:
    case Finish::Reason::kStopText:
    case Finish::Reason::kMaxTokens:
    case Finish::Reason::kContextFull:
      return true;
    default:
      return false;
  }
}

}  // namespace

BeamParams Generation::MakeBeams() const {
  const GenerationParams& params = request_.params;
  return {.num_beams = params.beams(),
          .length_penalty = static_cast<float>(params.length_penalty),
          .early_stopping = params.early_stopping == EarlyStopping::kTrue,
          .never_stop_early = params.early_stopping == EarlyStopping::kNever};
}

void Generation::TakeBeams(size_t first, SequenceOutput output) {
  Choice& choice = choices_[first];
  if (!std::exchange(choice.started, true)) {
    for (uint32_t i = 0; i < request_.params.beams(); ++i) ticket_->OnSequenceStarted();
  }
  choice.cached_prompt_tokens = std::max(choice.cached_prompt_tokens, output.cached_prompt_tokens);
  if (output.finish.has_value() && !IsWhole(output)) {
    return HandleAbnormalEnd(first, *output.finish);
  }
  std::move(output.prompt_logprobs.begin(), output.prompt_logprobs.end(),
            std::back_inserter(choice.prompt_scores));
  SequenceOutput& answer = choice.beams[output.sample_index];
  answer.token_ids.insert(answer.token_ids.end(), output.token_ids.begin(), output.token_ids.end());
  std::move(output.logprobs.begin(), output.logprobs.end(), std::back_inserter(answer.logprobs));
  answer.finish = std::move(output.finish);
  if (std::all_of(choice.beams.begin(), choice.beams.end(), IsWhole)) FinishBeams(first);
}

void Generation::FinishBeams(size_t first) {
  const std::vector<SequenceOutput> answers = std::move(choices_[first].beams);
  CountBeams(&choices_[first], answers);
  const std::vector<TokenScores> prompt_scores = std::move(choices_[first].prompt_scores);
  for (size_t i = 0; i < answers.size() && !done(); ++i) {
    Choice& choice = choices_[first + i];
    ChoiceDelta delta;
    delta.index = static_cast<uint32_t>(first + i);
    choice.prompt_scores = prompt_scores;
    Echo(&choice, &delta);
    RecordTokens(first + i, answers[i].token_ids.size());
    const After after = PushTokens(&choice, answers[i], &delta);
    choice.counted_tokens = static_cast<uint32_t>(choice.generated.size());
    const Finish::Reason reason = answers[i].finish->reason;
    const bool stopped = after == After::kAnswerOver || reason == Finish::Reason::kStopToken ||
                         reason == Finish::Reason::kStopText;
    FinishChoice(&choice, stopped ? FinishReason::kStop : FinishReason::kLength, &delta);
    Send(std::move(delta));
  }
}

void Generation::CountBeams(Choice* choice, const std::vector<SequenceOutput>& answers) {
  size_t longest = 0;
  for (const SequenceOutput& answer : answers) {
    longest = std::max(longest, answer.token_ids.size());
  }
  // All beams were computed as far as the longest that is known of.
  const double tokens = static_cast<double>(longest) * request_.params.beams();
  context_->dispatcher->CountAnswer(request_.line(), request_.weight,
                                    tokens - choice->counted_tokens);
}

}  // namespace pingti::router
