// Part of EngineCore: from the model's results to tokens, endings and outputs.
#include <algorithm>
#include <utility>

#include "common/base/check.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/backend/backend.h"
#include "worker/engine/engine_core.h"

namespace pingti::worker {

void EngineCore::FinishExpired() {
  for (Sequence* sequence : plan_.expired) {
    FinishGroup(sequence->group, FinishReason::kDeadline, absl::OkStatus());
  }
}

absl::Status EngineCore::RunModel() {
  PINGTI_RETURN_IF_ERROR(model_->Forward(batch_.forward(), batch_.copies()));
  // While a device still computes.
  batch_.FillGrammarMasks();
  if (batch_.samples_anything()) {
    PINGTI_RETURN_IF_ERROR(model_->Sample(batch_.sampling_rows(), batch_.sampled()));
  }
  if (!batch_.logprob_requests().empty()) {
    PINGTI_RETURN_IF_ERROR(model_->Logprobs(batch_.logprob_requests(), batch_.logprob_results()));
  }
  return absl::OkStatus();
}

void EngineCore::TakeResults() {
  size_t request = 0;
  for (size_t i = 0; i < plan_.chunks.size(); ++i) {
    const PlannedChunk& chunk = plan_.chunks[i];
    Sequence* sequence = chunk.sequence;
    RequestGroup* group = sequence->group;
    const StepBatch::Rows& rows = batch_.rows(i);
    if (sequence->row_per_token) TakePromptLogprobs(chunk, rows, &request);
    // A beam that an earlier chunk of its group ended or moved is not in the queues any more.
    if (group->done || sequence->state != Sequence::State::kRunning) continue;
    scheduler_.Commit(sequence, chunk.num_tokens);
    if (sequence->row_per_token && sequence->num_computed >= group->num_prompt() - 1) {
      sequence->row_per_token = false;
    }
    if (rows.samples) {
      SampledToken* token = &batch_.sampled()[rows.first + rows.count - 1];
      TakeToken(group, group->samples[sequence->index].get(), token);
    } else if (sequence->hold_back > 0 && sequence->pending() == 0) {
      ForkSamples(group);
    }
  }
  // Replaces sequences: no chunk may be looked at after this.
  for (RequestGroup* group : beam_groups_) {
    if (!group->done) AdvanceBeams(group);
  }
  beam_groups_.clear();
}

void EngineCore::TakePromptLogprobs(const PlannedChunk& chunk, const StepBatch::Rows& rows,
                                    size_t* request) {
  RequestGroup& group = *chunk.sequence->group;
  int32_t position = chunk.sequence->num_computed;
  for (int32_t i = 0; i < rows.count && position + 1 < group.num_prompt(); ++i, ++position) {
    SampledToken& result = batch_.logprob_results()[(*request)++];
    group.prompt_logprobs[position + 1] = {result.logprob, std::move(result.top)};
  }
}

void EngineCore::ForkSamples(RequestGroup* group) {
  Sequence& first = group->samples[0]->sequence;
  const bool queued = first.state != Sequence::State::kIdle;
  first.hold_back = 0;
  group->forked = true;
  for (int32_t i = 1; i < group->request.sampling.best_of; ++i) {
    Sample* sample = group->AddSample();
    sample->sequence.tokens.reserve(first.tokens.capacity());
    sample->sequence.blocks.reserve(first.blocks.capacity());
    sample->sequence.block_hashes.reserve(first.block_hashes.capacity());
    sample->sampling.Reset(&group->sampling, i, group->request.prompt_token_ids, {},
                           group->num_prompt() + group->max_output);
    if (group->samples[0]->grammar != nullptr) {
      sample->grammar = std::make_unique<GrammarState>(*group->samples[0]->grammar);
    }
    scheduler_.Fork(first, &sample->sequence);
  }
  if (!queued) scheduler_.Add(&first);
}

absl::Status EngineCore::CheckToken(const Sample& sample, const SampledToken& token) const {
  if (token.logits_not_finite) {
    return absl::InternalError(Concat("the model's logits at position ",
                                      sample.sequence.tokens.size(), " are not finite"));
  }
  if (token.token_id < 0 || token.token_id >= limits_.vocab_size) {
    return absl::InternalError(Concat("the model drew token id ", token.token_id,
                                      ": expected one below ", limits_.vocab_size));
  }
  if (sample.grammar == nullptr) return absl::OkStatus();
  PINGTI_RETURN_IF_ERROR(sample.grammar->status());
  return sample.grammar->Accept(token.token_id);
}

void EngineCore::TakeToken(RequestGroup* group, Sample* sample, SampledToken* token) {
  if (group->first_token == TimePoint::max()) group->first_token = clock_->Now();
  if (absl::Status status = CheckToken(*sample, *token); !status.ok()) {
    Finish finish;
    finish.reason = FinishReason::kError;
    finish.status = std::move(status);
    LogError("sequence failed",
             {{"request_id", group->request.request_id}, {"error", finish.status.ToString()}});
    if (group->beam != nullptr) {
      FinishGroup(group, FinishReason::kError, finish.status);
    } else {
      FinishSample(group, sample, std::move(finish));
      MaybeRetire(group);
    }
    return;
  }
  if (group->beam != nullptr) return TakeBeamCandidates(group, sample, token);

  sample->sequence.tokens.push_back(token->token_id);
  sample->sampling.AddOutput(token->token_id);
  ++sample->num_output;
  ++stats_.output_tokens;
  const bool has_logprob = group->num_top_logprobs(*sample) >= 0;
  if (has_logprob) sample->cumulative_logprob += token->logprob;
  if (!group->holds_outputs()) {
    SequenceOutput* output = OutputFor(group, sample, sample->sequence.index);
    output->token_ids.push_back(token->token_id);
    if (group->request.logprobs.enabled) {
      output->logprobs.push_back({token->logprob, std::move(token->top)});
    }
  } else if (group->request.logprobs.enabled) {
    sample->held_logprobs.push_back({token->logprob, std::move(token->top)});
  }
  if (std::optional<Finish> finish = group->CheckFinished(*sample)) {
    FinishSample(group, sample, *std::move(finish));
    MaybeRetire(group);
  }
}

void EngineCore::FinishSample(RequestGroup* group, Sample* sample, Finish finish) {
  finish.usage = group->UsageOf(*sample);
  finish.cumulative_logprob = sample->cumulative_logprob;
  sample->finish = std::move(finish);
  scheduler_.Remove(&sample->sequence);
  if (group->holds_outputs()) return;
  stats_.finished[static_cast<int>(sample->finish->reason)] += 1;
  // Outputs of this step for this sample are the newest ones of its session.
  OutputFor(group, sample, sample->sequence.index)->finish = sample->finish;
}

void EngineCore::FinishGroup(RequestGroup* group, FinishReason reason, const absl::Status& status) {
  if (group->done) return;
  StopAwaiting(group);
  group->done = true;
  retired_.push_back(group);
  const int32_t num_answers = group->request.sampling.n;
  for (auto& sample : group->samples) scheduler_.Remove(&sample->sequence);
  for (int32_t i = 0; i < num_answers; ++i) {
    // Samples that were not forked yet, or are held back, end like the first.
    const size_t index = std::min(static_cast<size_t>(i), group->samples.size() - 1);
    Sample* sample = group->samples[index].get();
    if (!group->holds_outputs() && static_cast<size_t>(i) == index && sample->finish) continue;
    Finish finish;
    finish.reason = reason;
    finish.status = status;
    finish.usage = group->UsageOf(*sample);
    OutputFor(group, sample, i)->finish = std::move(finish);
    stats_.finished[static_cast<int>(reason)] += 1;
  }
}

void EngineCore::MaybeRetire(RequestGroup* group) {
  const bool all_there = group->request.sampling.best_of == 1 || group->forked;
  if (group->done || !all_there || !group->AllFinished()) return;
  if (group->holds_outputs()) PublishRanked(group);
  group->done = true;
  retired_.push_back(group);
}

void EngineCore::PublishRanked(RequestGroup* group) {
  std::vector<Sample*> ranked;
  for (auto& sample : group->samples) ranked.push_back(sample.get());
  const auto mean = [](const Sample* sample) {
    return sample->cumulative_logprob / static_cast<float>(std::max(sample->num_output, 1));
  };
  std::stable_sort(ranked.begin(), ranked.end(), [&](const Sample* a, const Sample* b) {
    const bool a_failed = a->finish->reason == FinishReason::kError;
    const bool b_failed = b->finish->reason == FinishReason::kError;
    return a_failed != b_failed ? b_failed : mean(a) > mean(b);
  });
  for (int32_t i = 0; i < group->request.sampling.n; ++i) {
    SequenceOutput* output = OutputFor(group, ranked[i], i);
    const auto tokens = group->OutputOf(*ranked[i]);
    output->token_ids.assign(tokens.begin(), tokens.end());
    output->logprobs = std::move(ranked[i]->held_logprobs);
    output->finish = ranked[i]->finish;
    stats_.finished[static_cast<int>(ranked[i]->finish->reason)] += 1;
  }
}

void EngineCore::HandleFailedStep(const absl::Status& status) {
  ++consecutive_failures_;
  LogError("engine step failed", {{"step", step_}, {"error", status.ToString()}});
  if (IsDeviceLost(status)) {
    device_ = status;
    return GiveBackAll(status);
  }
  for (const PlannedChunk& chunk : plan_.chunks) {
    FinishGroup(chunk.sequence->group, FinishReason::kError, status);
  }
}

SequenceOutput* EngineCore::OutputFor(RequestGroup* group, Sample* sample, int32_t sample_index) {
  Session& session = sessions_.find(group->session)->second;
  // A token and its ending share one output; they follow each other directly.
  if (session.num_outputs > 0) {
    SequenceOutput& last = session.outputs[session.num_outputs - 1];
    if (last.sequence_id == group->request.sequence_id && last.sample_index == sample_index &&
        !last.finish) {
      return &last;
    }
  }
  SequenceOutput* output = NewOutput(&session, group->request.sequence_id);
  output->sample_index = sample_index;
  if (!sample->has_output) {
    sample->has_output = true;
    output->cached_prompt_tokens = std::max(group->cached_prompt_tokens, 0);
    if (sample_index == 0) output->prompt_logprobs = std::move(group->prompt_logprobs);
  }
  return output;
}

SequenceOutput* EngineCore::NewOutput(Session* session, uint64_t sequence_id) {
  if (session->num_outputs == session->outputs.size()) session->outputs.emplace_back();
  SequenceOutput* output = &session->outputs[session->num_outputs++];
  output->sequence_id = sequence_id;
  output->sample_index = 0;
  output->token_ids.clear();
  output->logprobs.clear();
  output->prompt_logprobs.clear();
  output->finish.reset();
  output->cached_prompt_tokens = 0;
  return output;
}

}  // namespace pingti::worker
