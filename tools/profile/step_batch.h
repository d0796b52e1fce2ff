// The steps of equally long sequences, as arrays that a model takes: a prefill in chunks, in the
// order in which a worker would compute them, and decode steps. Confined to one thread.
#pragma once

#include <cstdint>
#include <vector>

#include "worker/model/model.h"

namespace pingti::tools {

class StepBatch {
 public:
  // Room for `num_seqs` sequences of `prompt`, and `more` tokens after it.
  StepBatch(int32_t num_seqs, std::vector<int32_t> prompt, int32_t more, int32_t block_tokens);

  int32_t num_blocks() const { return num_seqs_ * blocks_per_seq_; }

  // Steps that a prefill takes in which none has more than `max_tokens` tokens.
  int NumPrefillSteps(int64_t max_tokens) const;
  // The `i`-th of those. Logits are asked for where a prompt ends. The arrays live until the next
  // call.
  worker::ForwardBatch PrefillStep(int i, int64_t max_tokens);
  // One token at `position` of each sequence; the same for the arrays.
  worker::ForwardBatch DecodeStep(int32_t position);

 private:
  int32_t prompt_tokens() const { return static_cast<int32_t>(prompt_.size()); }
  void Clear();
  void Add(int32_t seq, int32_t begin, int32_t end, bool wants_logits);
  worker::ForwardBatch Arrays() const;

  const int32_t num_seqs_;
  const std::vector<int32_t> prompt_;
  int32_t blocks_per_seq_ = 0;
  std::vector<int32_t> ids_, positions_, query_start_, context_len_, block_table_, logit_tokens_;
};

}  // namespace pingti::tools
