#include "worker/engine/token_taker.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "common/base/check.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"

namespace pingti::worker {

namespace {

// Of a row in which no token had a finite logit.
absl::Status NoToken(const Sample& sample) {
  const Sequence& sequence = sample.sequence;
  const std::span<const uint32_t> mask = sequence.group->NextMask(sample);
  if (sample.grammar == nullptr && mask.empty()) {
    return absl::InternalError(
        Concat("the model's logits at position ", sequence.num_computed, " are not finite"));
  }
  const auto is_zero = [](uint32_t word) { return word == 0; };
  if (sample.grammar == nullptr && std::all_of(mask.begin(), mask.end(), is_zero)) {
    return absl::InvalidArgumentError(
        "allowed_token_ids: all are stop tokens, which min_tokens keeps away: expected another");
  }
  return absl::InternalError(
      Concat("of the tokens that the output's form, allowed_token_ids and min_tokens leave behind "
             "position ",
             sequence.num_computed, ", none has a finite logit"));
}

}  // namespace

absl::Status CheckDrawn(const SampledToken& token, const Sample& sample, int32_t vocab_size) {
  if (token.logits_not_finite) return NoToken(sample);
  if (token.token_id < 0 || token.token_id >= vocab_size) {
    return absl::InternalError(
        Concat("the model drew token id ", token.token_id, ": expected one below ", vocab_size));
  }
  return absl::OkStatus();
}

void TokenTaker::Take(const PlannedChunk& chunk, std::span<SampledToken> drawn,
                      std::span<const absl::Status> mask_status) {
  PINGTI_CHECK(!drawn.empty());
  Sequence* sequence = chunk.sequence;
  RequestGroup* group = sequence->group;
  Sample* sample = group->samples[sequence->index].get();
  scheduler_->Commit(sequence, chunk.num_tokens - static_cast<int32_t>(drawn.size()) + 1);
  for (size_t i = 0; i < drawn.size(); ++i) {
    if (i > 0) scheduler_->Commit(sequence, 1);
    const int32_t token_id = drawn[i].token_id;
    if (absl::Status status = Read(sample, drawn[i], mask_status[i]); !status.ok()) {
      return Fail(group, sample, std::move(status));
    }
    const bool draft_stands = Append(sequence, token_id, i + 1 < drawn.size());
    Count(group, sample, &drawn[i]);
    if (std::optional<Finish> finish = group->CheckFinished(*sample, token_id)) {
      if (sequence->num_draft > 0) scheduler_->Trim(sequence, sequence->num_draft);
      return finisher_->FinishSample(group, sample, *std::move(finish));
    }
    if (!draft_stands) return;
  }
}

void TokenTaker::PutOff(const PlannedChunk& chunk, int32_t num_rows) {
  scheduler_->Commit(chunk.sequence, chunk.num_tokens - num_rows);
  scheduler_->Trim(chunk.sequence, chunk.sequence->num_draft);
}

absl::Status TokenTaker::Read(Sample* sample, const SampledToken& token,
                              const absl::Status& mask_status) {
  PINGTI_RETURN_IF_ERROR(CheckDrawn(token, *sample, vocab_size_));
  if (sample->grammar == nullptr) return absl::OkStatus();
  PINGTI_RETURN_IF_ERROR(mask_status);
  return sample->grammar->Accept(token.token_id);
}

bool TokenTaker::Append(Sequence* sequence, int32_t token_id, bool draft_was_computed) {
  if (draft_was_computed && sequence->tokens[sequence->num_computed] == token_id) {
    --sequence->num_draft;
    return true;
  }
  if (sequence->num_draft > 0) scheduler_->Trim(sequence, sequence->num_draft);
  sequence->tokens.push_back(token_id);
  return false;
}

void TokenTaker::Count(RequestGroup* group, Sample* sample, SampledToken* token) {
  const bool has_logprob = group->num_top_logprobs() >= 0;
  sample->sampling.AddOutput(token->token_id);
  ++sample->num_output;
  ++stats_->output_tokens;
  if (has_logprob) sample->cumulative_logprob += token->logprob;
  SequenceOutput* output = outputs_->For(group, sample, sample->sequence.index);
  output->token_ids.push_back(token->token_id);
  if (has_logprob) output->logprobs.push_back({token->logprob, std::move(token->top)});
}

void TokenTaker::Fail(RequestGroup* group, Sample* sample, absl::Status status) {
  LogError("sequence failed",
           {{"request_id", group->request.request_id}, {"error", status.ToString()}});
  if (sample->sequence.num_draft > 0) {
    scheduler_->Trim(&sample->sequence, sample->sequence.num_draft);
  }
  Finish finish;
  finish.reason = FinishReason::kError;
  finish.status = std::move(status);
  finisher_->FinishSample(group, sample, std::move(finish));
}

}  // namespace pingti::worker
