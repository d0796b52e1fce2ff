// Tokens from rows whose logits the ranks of a model hold a part each. What the ranks exchange is
// the least that a batch needs (docs/adr/0019).
//   Each rank's highest logit, where a step promised to need no more; its gather is in the step.
//   A record of each part, where every row DrawsFromParts (worker/backend/sampling_parts.h).
//   Whole rows, where a row ranks tokens or has a larger top_k than records hold; of rows that
//   records leave undecided; for parts that do not begin at whole groups of noise; and where other
//   ranks are not asked to sample.
//
// All ranks make the same calls with the same arguments, and rank 0 alone fills in results, but for
// what SetGathersRows changes. Confined to the model's thread. Next: decoder_model.h.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "worker/backend/backend.h"
#include "worker/comm/communicator.h"
#include "worker/spec/decoder_spec.h"

namespace pingti::worker {

class RankSampler {
 public:
  // `share`: this rank's part of the vocabulary. `backend` and `comm` must outlive the sampler.
  RankSampler(const VocabularyShare& share, int64_t vocab_size, Backend* backend,
              Communicator* comm);

  // Elements from one row of logits to the next: of all parts, so at least the vocabulary.
  int64_t row_stride() const { return share_.stride * comm_->size(); }
  // Whole rows are gathered in every step, and rank 0 draws alone, without calls on the others.
  // Once, before the first step, on all ranks.
  void SetGathersRows() { gathers_rows_ = true; }
  // Whether Sample and Logprobs are calls of all ranks.
  bool needs_all_ranks() const { return comm_->size() > 1 && !gathers_rows_; }

  // See StepLimits::part_rows.
  int64_t PartRows(int64_t max_tokens, int64_t max_seqs) const;
  int64_t WorkspaceBytes(int64_t max_tokens, int64_t max_seqs) const;
  absl::Status Allocate(int64_t max_tokens, int64_t max_seqs);

  // Among a step's operations, when this rank's part of `logits` [rows, vocab], row_stride() apart,
  // is there.
  absl::Status EndStep(MatrixView logits, bool highest_only);

  // Of the last step, which was not `highest_only`. See Model.
  absl::Status Sample(MatrixView logits, std::span<const SamplingRow> rows,
                      std::span<SampledToken> sampled);
  absl::Status Logprobs(MatrixView logits, std::span<const LogprobRequest> requests,
                        std::span<SampledToken> results);
  // Of the last step, which was: the highest logit of each of `sampled.size()` rows.
  absl::Status SampleHighest(std::span<SampledToken> sampled);

 private:
  bool is_first() const { return comm_->rank() == 0; }
  MatrixView OwnPart(MatrixView logits) const { return logits.Columns(share_.first, share_.rows); }
  absl::Status GatherRows(MatrixView logits);
  // Whole rows, once the ranks have gathered them.
  absl::Status SampleWhole(MatrixView logits, std::span<const SamplingRow> rows,
                           std::span<SampledToken> sampled);
  // For rows that NumRowsAtOnce allows.
  absl::Status SampleParts(MatrixView logits, std::span<const SamplingRow> rows,
                           std::span<SampledToken> sampled);
  // Draws from the records; the undecided rows are in [*first, *end), which is empty if there are
  // none.
  void Merge(const PartsLayout& layout, std::span<const SamplingRow> rows,
             std::span<SampledToken> sampled, size_t* first, size_t* end);
  // To the beginning of host_.
  absl::Status CopyToHost(MatrixView matrix);

  const VocabularyShare share_;
  const int64_t vocab_size_;
  Backend* const backend_;
  Communicator* const comm_;
  bool gathers_rows_ = false;
  // Each rank's highest logit of a row and its column. f32 [max_tokens, 2 per rank], by rank.
  MatrixView highest_;
  std::unique_ptr<DeviceBuffer> highest_buffer_;
  int64_t max_part_rows_ = 0;
  std::unique_ptr<DeviceBuffer> records_;  // of all ranks, f32 [max_part_rows_, any layout's]
  std::unique_ptr<HostBuffer> host_;       // of highest_ or of records
  PartsMerger merger_;
  std::vector<SampledToken> own_sampled_;  // of ranks but the first
  std::vector<SamplingRow> logprob_rows_;
  std::vector<TokenBias> logprob_biases_;
};

}  // namespace pingti::worker
