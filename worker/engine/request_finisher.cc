#include "worker/engine/request_finisher.h"

#include <algorithm>
#include <utility>

#include "worker/engine/groups/ranked_answers.h"

namespace pingti::worker {

void RequestFinisher::FinishSample(RequestGroup* group, Sample* sample, Finish finish) {
  finish.usage = group->UsageOf(*sample);
  finish.cumulative_logprob = sample->cumulative_logprob;
  sample->finish = std::move(finish);
  scheduler_->Remove(&sample->sequence);
  if (!group->holds_outputs()) {
    stats_->finished[static_cast<int>(sample->finish->reason)] += 1;
    // Outputs of this step for this sample are the newest ones of its session.
    outputs_->For(group, sample, sample->sequence.index)->finish = sample->finish;
  }
  const bool all_there = group->request.sampling.best_of == 1 || group->forked;
  if (group->done || !all_there || !group->AllFinished()) return;
  if (group->holds_outputs()) SendRankedAnswers(group, outputs_, stats_);
  Retire(group);
}

void RequestFinisher::FinishRequest(RequestGroup* group, FinishReason reason,
                                    const absl::Status& status) {
  if (group->done) return;
  Retire(group);
  const int32_t num_answers = group->request.sampling.n;
  for (auto& sample : group->samples) scheduler_->Remove(&sample->sequence);
  for (int32_t i = 0; i < num_answers; ++i) {
    // Samples that were not forked yet, or are held back, end like the first.
    const size_t index = std::min(static_cast<size_t>(i), group->samples.size() - 1);
    Sample* sample = group->samples[index].get();
    if (!group->holds_outputs() && static_cast<size_t>(i) == index && sample->finish) continue;
    Finish finish;
    finish.reason = reason;
    finish.status = status;
    finish.usage = group->UsageOf(*sample);
    outputs_->For(group, sample, i)->finish = std::move(finish);
    stats_->finished[static_cast<int>(reason)] += 1;
  }
}

void RequestFinisher::Retire(RequestGroup* group) {
  group->done = true;
  retired_.push_back(group);
}

void RequestFinisher::Forget(SessionId session) {
  std::erase_if(retired_, [&](const RequestGroup* group) { return group->session == session; });
}

}  // namespace pingti::worker
