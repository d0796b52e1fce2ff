#include "worker/engine/groups/beam_steps.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include "common/base/check.h"

namespace pingti::worker {

void BeamSteps::TakeCandidates(RequestGroup* group, Sample* beam, SampledToken* token) {
  beam->candidates = std::move(token->top);
  PINGTI_CHECK_MSG(!beam->candidates.empty(), "the model gave a beam no candidates");
  if (std::find(groups_.begin(), groups_.end(), group) == groups_.end()) {
    groups_.push_back(group);
  }
}

void BeamSteps::AdvanceAll() {
  for (RequestGroup* group : groups_) {
    if (!group->done) Advance(group);
  }
  groups_.clear();
}

void BeamSteps::Advance(RequestGroup* group) {
  std::vector<std::span<const TopLogprob>> candidates;
  std::vector<std::span<const int32_t>> outputs;
  for (const auto& sample : group->samples) {
    if (sample->candidates.empty()) return;  // still computing
    candidates.push_back(sample->candidates);
    outputs.push_back(group->OutputOf(*sample));
  }
  // The one who asked hears nothing more before the end, but that the prompt waits no longer.
  if (outputs[0].empty()) outputs_->For(group, group->samples[0].get(), 0);
  const bool goes_on =
      group->beam->Advance(candidates, outputs, group->SuppressesStops(*group->samples[0]));
  stats_->output_tokens += static_cast<int32_t>(group->beam->beams().size());
  if (goes_on) {
    Rearrange(group);
  } else {
    SendFinished(group);
  }
}

void BeamSteps::Rearrange(RequestGroup* group) {
  std::vector<std::unique_ptr<Sample>> parents = std::move(group->samples);
  group->samples.clear();
  const auto beams = group->beam->beams();
  for (size_t i = 0; i < parents.size(); ++i) {
    const bool has_child = std::any_of(beams.begin(), beams.end(), [&](const auto& beam) {
      return beam.parent == static_cast<int32_t>(i);
    });
    if (!has_child) scheduler_->Remove(&parents[i]->sequence);
  }
  // A parent's place in the batch and its blocks go to its first child; the others copy that one.
  std::vector<Sample*> child_of(parents.size(), nullptr);
  for (size_t i = 0; i < beams.size(); ++i) {
    Sample* child = group->AddSample();
    Sample* parent = parents[beams[i].parent].get();
    child->num_output = parent->num_output + 1;
    child->sequence.num_preemptions = parent->sequence.num_preemptions;
    child->sequence.tokens.reserve(parent->sequence.tokens.capacity());
    child->sequence.blocks.reserve(parent->sequence.blocks.capacity());
    child->sequence.block_hashes.reserve(parent->sequence.block_hashes.capacity());
    child->sampling.Reset(&group->sampling, group->request.prompt_token_ids, {}, 0);
    child->cumulative_logprob = beams[i].cumulative_logprob;
    if (child_of[beams[i].parent] == nullptr) {
      child_of[beams[i].parent] = child;
      scheduler_->Replace(&parent->sequence, &child->sequence);
    } else {
      scheduler_->Fork(child_of[beams[i].parent]->sequence, &child->sequence);
    }
  }
  // Tokens differ from here on.
  for (size_t i = 0; i < beams.size(); ++i) {
    group->samples[i]->sequence.tokens.push_back(beams[i].token);
  }
}

void BeamSteps::SendFinished(RequestGroup* group) {
  finisher_->Retire(group);
  for (auto& sample : group->samples) scheduler_->Remove(&sample->sequence);
  const auto finished = group->beam->finished();
  Sample* sample = group->samples[0].get();
  for (int32_t i = 0; i < group->request.sampling.n; ++i) {
    const FinishedBeam& beam = finished[std::min<size_t>(i, finished.size() - 1)];
    SequenceOutput* output = outputs_->For(group, sample, i);
    output->token_ids = beam.output;
    Finish finish;
    finish.stop_token_id = beam.stop_token_id;
    finish.reason = beam.stop_token_id >= 0 ? FinishReason::kStopToken
                    : group->max_output == group->request.stop.max_tokens
                        ? FinishReason::kMaxTokens
                        : FinishReason::kContextFull;
    finish.usage = group->UsageOf(*sample);
    finish.usage.output_tokens = static_cast<int32_t>(beam.output.size());
    finish.cumulative_logprob = beam.cumulative_logprob;
    stats_->finished[static_cast<int>(finish.reason)] += 1;
    output->finish = std::move(finish);
  }
}

}  // namespace pingti::worker
