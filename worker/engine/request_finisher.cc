#include "worker/engine/request_finisher.h"

#include <algorithm>
#include <utility>

#include "common/base/check.h"

namespace pingti::worker {

void RequestFinisher::FinishSample(RequestGroup* group, Sample* sample, Finish finish) {
  PINGTI_CHECK(group->beam == nullptr && !group->done);
  finish.usage = group->UsageOf(*sample);
  finish.cumulative_logprob = sample->cumulative_logprob;
  scheduler_->Remove(&sample->sequence);
  stats_->finished[static_cast<int>(finish.reason)] += 1;
  // Outputs of this step for this sample are the newest ones of its session.
  outputs_->For(group, sample, 0)->finish = std::move(finish);
  Retire(group);
}

void RequestFinisher::FinishRequest(RequestGroup* group, FinishReason reason,
                                    const absl::Status& status) {
  if (group->done) return;
  Retire(group);
  for (auto& sample : group->samples) scheduler_->Remove(&sample->sequence);
  // Answers of a search end like its beams, of which there may be fewer.
  for (int32_t i = 0; i < group->request.sampling.n; ++i) {
    const size_t index = std::min(static_cast<size_t>(i), group->samples.size() - 1);
    Sample* sample = group->samples[index].get();
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
