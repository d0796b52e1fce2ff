#include "worker/engine/groups/ranked_answers.h"

#include <algorithm>
#include <utility>

namespace pingti::worker {

std::vector<Sample*> RankSamples(const RequestGroup& group) {
  std::vector<Sample*> ranked;
  for (const auto& sample : group.samples) ranked.push_back(sample.get());
  const auto mean = [](const Sample* sample) {
    return sample->cumulative_logprob / static_cast<float>(std::max(sample->num_output, 1));
  };
  std::stable_sort(ranked.begin(), ranked.end(), [&](const Sample* a, const Sample* b) {
    const bool a_failed = a->finish->reason == FinishReason::kError;
    const bool b_failed = b->finish->reason == FinishReason::kError;
    return a_failed != b_failed ? b_failed : mean(a) > mean(b);
  });
  return ranked;
}

void SendRankedAnswers(RequestGroup* group, SessionOutputs* outputs, StepStats* stats) {
  const std::vector<Sample*> ranked = RankSamples(*group);
  for (int32_t i = 0; i < group->request.sampling.n; ++i) {
    SequenceOutput* output = outputs->For(group, ranked[i], i);
    const auto tokens = group->OutputOf(*ranked[i]);
    output->token_ids.assign(tokens.begin(), tokens.end());
    output->logprobs = std::move(ranked[i]->held_logprobs);
    output->finish = ranked[i]->finish;
    stats->finished[static_cast<int>(ranked[i]->finish->reason)] += 1;
  }
}

}  // namespace pingti::worker
