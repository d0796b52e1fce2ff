#include "worker/engine/groups/beam_steps.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "common/base/check.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/grammar/control_token.h"

namespace pingti::worker {

void BeamSteps::TakeCandidates(RequestGroup* group, Sample* beam, SampledToken* token) {
  PINGTI_CHECK_MSG(!token->ranked.empty(), "the model gave a beam no candidates");
  beam->candidates.alternatives = std::move(token->top);
  for (const RankedToken& ranked : token->ranked) {
    beam->candidates.next.push_back({ranked, EndOf(*group, *beam, ranked.token_id)});
  }
  if (std::find(groups_.begin(), groups_.end(), group) == groups_.end()) {
    groups_.push_back(group);
  }
}

BeamEnd BeamSteps::EndOf(const RequestGroup& group, const Sample& beam, int32_t token) const {
  if (group.is_stop(token)) return BeamEnd::kStopToken;
  if (!beam.stop_matcher.has_value()) return BeamEnd::kNone;
  text::StopMatcher ahead = *beam.stop_matcher;
  return ahead.Push(TextOf(token)).stopped ? BeamEnd::kStopText : BeamEnd::kNone;
}

std::string_view BeamSteps::TextOf(int32_t token) const {
  const std::string_view bytes = vocabulary_->bytes(token);
  return bytes.starts_with(grammar::kControlByte) ? std::string_view() : bytes;
}

void BeamSteps::AdvanceAll() {
  for (RequestGroup* group : groups_) {
    if (!group->done) Advance(group);
  }
  groups_.clear();
}

void BeamSteps::Fail(RequestGroup* group, const absl::Status& status) {
  LogError("beams failed",
           {{"request_id", group->request.request_id}, {"error", status.ToString()}});
  finisher_->FinishRequest(group, FinishReason::kError, status);
}

void BeamSteps::Advance(RequestGroup* group) {
  std::vector<BeamCandidates> candidates;
  for (const auto& sample : group->samples) {
    if (sample->candidates.next.empty()) return;  // still computing
  }
  for (const auto& sample : group->samples) candidates.push_back(std::move(sample->candidates));
  // The one who asked hears nothing more before the end, but that the prompt waits no longer.
  Sample* first = group->samples[0].get();
  if (first->num_output == 0) outputs_->For(group, first, 0);
  const bool goes_on = group->beam->Advance(candidates);
  stats_->output_tokens += static_cast<int32_t>(group->beam->beams().size());
  if (!goes_on) return SendFinished(group);
  if (const absl::Status status = Rearrange(group); !status.ok()) Fail(group, status);
}

absl::Status BeamSteps::Rearrange(RequestGroup* group) {
  std::vector<std::unique_ptr<Sample>> parents = std::exchange(group->samples, {});
  const auto beams = group->beam->beams();
  std::vector<int> children(parents.size(), 0);
  for (const BeamSearch::Beam& beam : beams) ++children[beam.parent];
  for (size_t i = 0; i < parents.size(); ++i) {
    if (children[i] == 0) scheduler_->Remove(&parents[i]->sequence);
  }
  absl::Status status;
  for (const BeamSearch::Beam& beam : beams) {
    const bool is_last = --children[beam.parent] == 0;
    status.Update(Inherit(beam, is_last, parents[beam.parent].get(), group->AddSample()));
  }
  if (!status.ok()) {
    for (const auto& parent : parents) scheduler_->Remove(&parent->sequence);
    return status;
  }
  // A parent's place in the batch and its blocks go to its first child; the others copy that one.
  std::vector<Sequence*> child_of(parents.size(), nullptr);
  for (size_t i = 0; i < beams.size(); ++i) {
    Sequence* child = &group->samples[i]->sequence;
    Sequence*& first = child_of[beams[i].parent];
    if (first == nullptr) {
      first = child;
      scheduler_->Replace(&parents[beams[i].parent]->sequence, child);
    } else {
      scheduler_->Fork(*first, child);
    }
  }
  // Tokens differ from here on.
  for (size_t i = 0; i < beams.size(); ++i) {
    group->samples[i]->sequence.tokens.push_back(beams[i].token);
  }
  return absl::OkStatus();
}

absl::Status BeamSteps::Inherit(const BeamSearch::Beam& beam, bool is_last, Sample* parent,
                                Sample* child) {
  child->num_output = parent->num_output + 1;
  child->cumulative_logprob = beam.cumulative_logprob;
  child->sequence.num_preemptions = parent->sequence.num_preemptions;
  child->sequence.tokens.reserve(parent->sequence.tokens.capacity());
  child->sequence.blocks.reserve(parent->sequence.blocks.capacity());
  child->sequence.block_hashes.reserve(parent->sequence.block_hashes.capacity());
  if (is_last) {
    child->sampling = std::move(parent->sampling);
    child->grammar = std::move(parent->grammar);
  } else {
    child->sampling = parent->sampling;
    if (parent->grammar != nullptr) {
      child->grammar = std::make_unique<GrammarState>(*parent->grammar);
    }
  }
  child->sampling.AddOutput(beam.token);
  if (parent->stop_matcher.has_value()) {
    child->stop_matcher.emplace(*parent->stop_matcher).Push(TextOf(beam.token));
  }
  return child->grammar == nullptr ? absl::OkStatus() : child->grammar->Accept(beam.token);
}

void BeamSteps::SendFinished(RequestGroup* group) {
  finisher_->Retire(group);
  for (auto& sample : group->samples) scheduler_->Remove(&sample->sequence);
  const auto finished = group->beam->finished();
  for (int32_t i = 0; i < group->request.sampling.n; ++i) {
    // Where its form allows fewer answers, the last is given again.
    SendAnswer(group, finished[std::min<size_t>(i, finished.size() - 1)], i);
  }
}

void BeamSteps::SendAnswer(RequestGroup* group, const FinishedBeam& beam, int32_t index) {
  Sample* sample = group->samples[0].get();
  SequenceOutput* output = outputs_->For(group, sample, index);
  for (const BeamToken& token : group->beam->Output(beam)) {
    output->token_ids.push_back(token.token_id);
    if (!group->request.logprobs.enabled) continue;
    output->logprobs.push_back(
        {token.logprob, {token.alternatives.begin(), token.alternatives.end()}});
  }
  Finish finish;
  if (beam.end == BeamEnd::kStopToken) {
    finish.reason = FinishReason::kStopToken;
    finish.stop_token_id = output->token_ids.back();
  } else if (beam.end == BeamEnd::kStopText) {
    finish.reason = FinishReason::kStopText;
  } else {
    finish.reason = group->max_output == group->request.stop.max_tokens
                        ? FinishReason::kMaxTokens
                        : FinishReason::kContextFull;
  }
  finish.usage = group->UsageOf(*sample);
  finish.usage.output_tokens = static_cast<int32_t>(output->token_ids.size());
  finish.cumulative_logprob = beam.cumulative_logprob;
  stats_->finished[static_cast<int>(finish.reason)] += 1;
  output->finish = std::move(finish);
}

}  // namespace pingti::worker
