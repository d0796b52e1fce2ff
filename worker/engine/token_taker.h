// From what was drawn to what a sample says: checks a token, appends it, sends it, and ends the
// sample where it is over. With drafts, as many tokens in a step as the model agrees with.
//
// Confined to the engine thread.
#pragma once

#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "worker/engine/engine_stats.h"
#include "worker/engine/request_finisher.h"
#include "worker/engine/request_group.h"
#include "worker/engine/scheduler.h"
#include "worker/engine/session_outputs.h"

namespace pingti::worker {

// Errors: Internal when the model's logits were not finite, of all tokens or of those that may come
// next, or the token is not in the vocabulary; InvalidArgument when the request itself leaves none.
absl::Status CheckDrawn(const SampledToken& token, const Sample& sample, int32_t vocab_size);

class TokenTaker {
 public:
  // All are borrowed; tokens are counted in `stats`.
  TokenTaker(Scheduler* scheduler, SessionOutputs* outputs, RequestFinisher* finisher,
             StepStats* stats, int32_t vocab_size)
      : scheduler_(scheduler),
        outputs_(outputs),
        finisher_(finisher),
        stats_(stats),
        vocab_size_(vocab_size) {}

  // Commits a chunk of a sample that is no beam, and takes the tokens drawn behind its last
  // drawn.size() tokens: the first, and each further one as long as the drafts before it are what
  // the model drew. The other drafts are taken back. mask_status[i]: what became of the grammar's
  // mask for drawn[i], if the sample has a grammar. REQUIRES: something was drawn.
  void Take(const PlannedChunk& chunk, std::span<SampledToken> drawn,
            std::span<const absl::Status> mask_status);
  // Commits a chunk but for its last `num_rows` tokens, whose draws were not looked at: the next
  // step computes them again, without drafts.
  void PutOff(const PlannedChunk& chunk, int32_t num_rows);

 private:
  // Checks the token and lets the sample's grammar read it.
  absl::Status Read(Sample* sample, const SampledToken& token, const absl::Status& mask_status);
  // Makes it the sequence's next token. True when it is the first draft, which then is none any
  // more; else all drafts are taken back. A draft stands only if it was computed.
  bool Append(Sequence* sequence, int32_t token_id, bool draft_was_computed);
  void Count(RequestGroup* group, Sample* sample, SampledToken* token);
  void Fail(RequestGroup* group, Sample* sample, absl::Status status);

  Scheduler* const scheduler_;
  SessionOutputs* const outputs_;
  RequestFinisher* const finisher_;
  StepStats* const stats_;
  const int32_t vocab_size_;
};

}  // namespace pingti::worker
