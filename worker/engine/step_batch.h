// The flat arrays of one step: from a plan to the model's ForwardBatch and back to the sequences.
//
// Owns all arrays; they are sized once and refilled each step. Confined to the engine thread.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "worker/engine/adapter_slots.h"
#include "worker/engine/request_group.h"
#include "worker/engine/scheduler.h"
#include "worker/grammar/mask_budget.h"
#include "worker/model/model.h"

namespace pingti::worker {

class StepBatch {
 public:
  // `adapters` outlives the batch; null: no sequence has one.
  StepBatch(const StepBudget& budget, int32_t max_blocks_per_seq,
            const AdapterSlots* adapters = nullptr);

  // Fills the arrays for a plan that was applied and whose adapters have slots. Sequences must not
  // change until the step is done.
  void Build(const StepPlan& plan, std::span<const PlannedCopy> copies);

  const ForwardBatch& forward() const { return forward_; }
  std::span<const BlockCopy> copies() const { return copies_; }
  std::span<const SamplingRow> sampling_rows() const { return sampling_rows_; }
  std::span<const LogprobRequest> logprob_requests() const { return logprob_requests_; }
  bool draws_anything() const { return draws_anything_; }
  // Writes the masks of the rows of constrained samples, each as if the drafts before it had been
  // drawn. A mask that `budget` has nothing left for is not written: its row and those of the
  // sample behind it are not looked at, and the sample is the first to get its masks in the next
  // step. Between Build and the sampling.
  void FillGrammarMasks(MaskBudget* budget);

  // Where the model writes; one per row and one per request.
  std::span<SampledToken> sampled() { return std::span(sampled_).first(sampling_rows_.size()); }
  std::span<SampledToken> logprob_results();

  // ---- of plan.chunks[chunk]

  // Tokens behind its last ones that are drawn from: none while a prompt is not at its end; one,
  // and one more for each draft that was computed.
  int32_t num_rows(size_t chunk) const { return static_cast<int32_t>(rows_[chunk].num_rows); }
  // What was drawn there: less than num_rows when the budget for masks was spent.
  std::span<SampledToken> drawn(size_t chunk) {
    const Rows& rows = rows_[chunk];
    return std::span(sampled_).subspan(rows.first_drawn, rows.num_drawn);
  }
  // What became of the masks of drawn(chunk), if the sample is constrained.
  std::span<const absl::Status> mask_status(size_t chunk) const {
    const Rows& rows = rows_[chunk];
    return std::span(mask_status_).subspan(rows.first_drawn, rows.num_drawn);
  }
  // Log-probabilities of the prompt's tokens behind the chunk's first ones.
  std::span<SampledToken> prompt_logprobs(size_t chunk) {
    const Rows& rows = rows_[chunk];
    return std::span(logprob_results_).subspan(rows.first_request, rows.num_requests);
  }

 private:
  // Which rows of logits, and which requests for log-probabilities, are one chunk's.
  struct Rows {
    size_t first_drawn = 0;
    size_t num_rows = 0;
    size_t num_drawn = 0;  // of these
    size_t first_request = 0;
    size_t num_requests = 0;
  };
  // Rows that are drawn from for one sample with a grammar.
  struct Constrained {
    Sample* sample;
    size_t chunk;
    size_t first_row;
    size_t num_rows;
  };

  void AddChunk(const PlannedChunk& chunk, size_t index);
  void AddRows(const PlannedChunk& chunk);
  // The row for the token after `position`, as if the `ahead` drafts up to there had been drawn.
  void AddDrawnRow(const Sequence& sequence, int32_t position, int32_t ahead);
  // How many of its rows got their masks.
  size_t FillMasksOf(const Constrained& constrained, std::span<uint32_t> masks, MaskBudget* budget);

  const int32_t max_blocks_per_seq_;
  const AdapterSlots* const adapters_;
  ForwardBatch forward_;
  std::vector<int32_t> token_ids_;
  std::vector<int32_t> positions_;
  std::vector<int32_t> query_start_;
  std::vector<int32_t> context_len_;
  std::vector<int32_t> block_table_;
  std::vector<int32_t> logit_tokens_;
  std::vector<int32_t> adapter_slots_;  // by chunk
  std::vector<BlockCopy> copies_;
  std::vector<Rows> rows_;
  std::vector<SamplingRow> sampling_rows_;
  std::vector<LogprobRequest> logprob_requests_;
  std::vector<SampledToken> sampled_;
  std::vector<SampledToken> logprob_results_;
  bool draws_anything_ = false;

  std::vector<Constrained> constrained_;
  std::vector<uint32_t> masks_;            // of all rows in constrained_, one after the other
  std::vector<absl::Status> mask_status_;  // by row; of those in constrained_
  // By row: penalties of a row behind drafts count these too.
  std::vector<std::vector<TokenCount>> draft_counts_;
};

}  // namespace pingti::worker
