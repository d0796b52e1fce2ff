#include "tools/profile/step_batch.h"

#include <algorithm>
#include <utility>

namespace pingti::tools {

StepBatch::StepBatch(int32_t num_seqs, std::vector<int32_t> prompt, int32_t more,
                     int32_t block_tokens)
    : num_seqs_(num_seqs), prompt_(std::move(prompt)) {
  blocks_per_seq_ = (prompt_tokens() + more + block_tokens - 1) / block_tokens;
}

void StepBatch::Clear() {
  for (std::vector<int32_t>* array :
       {&ids_, &positions_, &query_start_, &context_len_, &block_table_, &logit_tokens_}) {
    array->clear();
  }
  query_start_.push_back(0);
}

void StepBatch::Add(int32_t seq, int32_t begin, int32_t end, bool wants_logits) {
  for (int32_t i = begin; i < end; ++i) {
    ids_.push_back(prompt_[static_cast<size_t>(i) % prompt_.size()]);
    positions_.push_back(i);
  }
  query_start_.push_back(static_cast<int32_t>(ids_.size()));
  context_len_.push_back(end);
  for (int32_t b = 0; b < blocks_per_seq_; ++b) block_table_.push_back(seq * blocks_per_seq_ + b);
  if (wants_logits) logit_tokens_.push_back(static_cast<int32_t>(ids_.size()) - 1);
}

worker::ForwardBatch StepBatch::Arrays() const {
  return {ids_,         positions_,      query_start_,  context_len_,
          block_table_, blocks_per_seq_, logit_tokens_, /*highest_only=*/true};
}

int StepBatch::NumPrefillSteps(int64_t max_tokens) const {
  const int64_t tokens = int64_t{num_seqs_} * prompt_tokens();
  return static_cast<int>((tokens + max_tokens - 1) / max_tokens);
}

// Step i has tokens [i, i + 1) * max_tokens of all prompts, one after the other.
worker::ForwardBatch StepBatch::PrefillStep(int i, int64_t max_tokens) {
  Clear();
  const int64_t length = prompt_tokens();
  const int64_t end = std::min((i + int64_t{1}) * max_tokens, num_seqs_ * length);
  for (int64_t at = i * max_tokens; at < end;) {
    const int64_t seq = at / length;
    const int64_t stop = std::min(end, (seq + 1) * length);
    Add(static_cast<int32_t>(seq), static_cast<int32_t>(at - seq * length),
        static_cast<int32_t>(stop - seq * length), stop == (seq + 1) * length);
    at = stop;
  }
  return Arrays();
}

worker::ForwardBatch StepBatch::DecodeStep(int32_t position) {
  Clear();
  for (int32_t seq = 0; seq < num_seqs_; ++seq) Add(seq, position, position + 1, true);
  return Arrays();
}

}  // namespace pingti::tools
