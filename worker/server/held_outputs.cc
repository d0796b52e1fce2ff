// See held_outputs.h.
#include "worker/server/held_outputs.h"

#include <algorithm>
#include <iterator>

namespace pingti::worker {
namespace {

template <typename T>
void Append(std::vector<T>&& from, std::vector<T>* to) {
  to->insert(to->end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
}

TimePoint NextMultiple(TimePoint now, std::chrono::milliseconds interval) {
  const TimePoint::duration since = now.time_since_epoch();
  return now - since % interval + interval;
}

}  // namespace

void Join(SequenceOutput&& later, SequenceOutput* earlier) {
  Append(std::move(later.token_ids), &earlier->token_ids);
  Append(std::move(later.logprobs), &earlier->logprobs);
  Append(std::move(later.prompt_logprobs), &earlier->prompt_logprobs);
  earlier->finish = std::move(later.finish);
}

bool HeldOutputs::Hold(SequenceOutput* output, TimePoint now) {
  if (output->interval.count() <= 0) return false;
  const std::pair<uint64_t, int32_t> key(output->sequence_id, output->sample_index);
  const auto found = answers_.find(key);
  if (found == answers_.end()) {
    if (!output->finish) answers_[key].reported = now;
    return false;
  }
  Answer& answer = found->second;
  const bool holds = answer.due != TimePoint::max();
  const bool goes = output->finish || (!holds && now >= answer.reported + output->interval);
  if (holds) {
    Join(std::move(*output), &answer.held);
    if (goes) *output = std::move(answer.held);
  } else if (!goes) {
    answer.held = std::move(*output);
    answer.due = NextMultiple(now, answer.held.interval);
    due_ = std::min(due_, answer.due);
    ++num_held_;
  }
  if (!goes) return true;
  if (holds && --num_held_ == 0) due_ = TimePoint::max();
  if (output->finish) {
    answers_.erase(found);
  } else {
    answer.reported = now;
  }
  return false;
}

std::vector<SequenceOutput> HeldOutputs::TakeDue(TimePoint now) {
  std::vector<SequenceOutput> taken;
  if (now < due_) return taken;
  due_ = TimePoint::max();
  for (auto& [key, answer] : answers_) {
    if (answer.due <= now) {
      taken.push_back(std::move(answer.held));
      --num_held_;
      // Not `now`: a late turn must not make the next one late.
      answer.reported = std::exchange(answer.due, TimePoint::max());
    }
    due_ = std::min(due_, answer.due);
  }
  return taken;
}

}  // namespace pingti::worker
