// The flat arrays of one step: from a plan to the model's ForwardBatch and back to the sequences.
//
// Owns all arrays; they are sized once and refilled each step. Confined to the engine thread.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "worker/engine/request_group.h"
#include "worker/engine/scheduler.h"
#include "worker/model/model.h"

namespace pingti::worker {

class StepBatch {
 public:
  // Rows of logits of one chunk: [first, first + count), the last one sampled if `samples`.
  struct Rows {
    int32_t first = 0;
    int32_t count = 0;
    bool samples = false;
  };

  StepBatch(const StepBudget& budget, int32_t max_blocks_per_seq);

  // Fills the arrays for a plan that was applied. Sequences must not change until the step is done.
  void Build(const StepPlan& plan, std::span<const PlannedCopy> copies);

  const ForwardBatch& forward() const { return forward_; }
  std::span<const BlockCopy> copies() const { return copies_; }
  std::span<const SamplingRow> sampling_rows() const { return sampling_rows_; }
  std::span<const LogprobRequest> logprob_requests() const { return logprob_requests_; }
  // Writes the masks that the sampling rows of constrained samples point to. What fails is in the
  // sample's GrammarState::status(). Between Build and the sampling.
  void FillGrammarMasks();

  // Of plan.chunks[i].
  const Rows& rows(size_t chunk) const { return rows_[chunk]; }
  bool samples_anything() const { return samples_anything_; }

  // Where the model writes; one per row and one per request.
  std::span<SampledToken> sampled() { return std::span(sampled_).first(sampling_rows_.size()); }
  std::span<SampledToken> logprob_results() {
    if (logprob_results_.size() < logprob_requests_.size()) {
      logprob_results_.resize(logprob_requests_.size());
    }
    return std::span(logprob_results_).first(logprob_requests_.size());
  }

 private:
  void AddChunk(const PlannedChunk& chunk, size_t index);
  void AddRows(const PlannedChunk& chunk);

  const int32_t max_blocks_per_seq_;
  ForwardBatch forward_;
  std::vector<int32_t> token_ids_;
  std::vector<int32_t> positions_;
  std::vector<int32_t> query_start_;
  std::vector<int32_t> context_len_;
  std::vector<int32_t> block_table_;
  std::vector<int32_t> logit_tokens_;
  std::vector<BlockCopy> copies_;
  std::vector<Rows> rows_;
  std::vector<SamplingRow> sampling_rows_;
  std::vector<Sample*> constrained_;  // have a grammar and a row that is sampled
  std::vector<LogprobRequest> logprob_requests_;
  std::vector<SampledToken> sampled_;
  std::vector<SampledToken> logprob_results_;
  bool samples_anything_ = false;
};

}  // namespace pingti::worker
