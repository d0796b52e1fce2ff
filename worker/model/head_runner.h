// Runs a head on the backend of the model that it drafts for. Owns the head's weights, KV
// cache, activations and logits; the model gives it what its layers begin with.
//
// While nothing is drafted, a step costs the head no more than a copy of its states: their keys and
// values are made many at a time.
//
// Confined to the thread of the model. Next: worker/layers/draft_layers.h, draft_head.h.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/backend/backend.h"
#include "worker/comm/communicator.h"
#include "worker/layers/activations.h"
#include "worker/layers/draft_layers.h"
#include "worker/layers/rotary_table.h"
#include "worker/model/draft_head.h"
#include "worker/spec/draft_head_spec.h"

namespace pingti::worker {

// A head that is loaded.
struct LoadedHead {
  DraftHeadSpec spec;
  std::unique_ptr<DraftLayers> layers;  // with their weights
  // f32 [vocab], see OpenedDraftHead and Backend::GatherColumns; null: all tokens are the head's.
  std::unique_ptr<DeviceBuffer> own_token;
  // What the layers share with the model, where no rank of the model has all of it.
  std::unique_ptr<EmbeddingTable> embedding;
  std::unique_ptr<LinearWeight> output;
};

class HeadRunner : public DraftHead {
 public:
  // `format` and `kv_format` are the model's. `backend`, and what the layers share with the model,
  // must outlive the runner.
  HeadRunner(LoadedHead head, WeightFormat format, KvFormat kv_format, Backend* backend);

  const DraftHeadSpec& spec() const { return head_.spec; }
  KvLayerShape kv_shape() const { return head_.layers->kv_shape(); }
  int64_t max_in_features() const { return max_in_features_; }
  int64_t KvBytesPerBlock(int64_t block_tokens) const;
  int64_t WorkspaceBytes(int64_t max_batch_tokens, int64_t max_batch_size) const;
  // REQUIRES: the backend's workspace is allocated for the model and for this.
  // `max_blocks_per_seq`: of a step, see StepLimits.
  absl::Status Allocate(int32_t num_blocks, int32_t block_tokens, int32_t max_batch_tokens,
                        int32_t max_batch_size, int64_t max_blocks_per_seq);

  // ---- in a Forward of the model

  // Before the step of so many tokens, with these copies, begins.
  absl::Status BeforeStep(int32_t num_tokens, std::span<const BlockCopy> copies);

  // Among the step's operations.
  absl::Status CopyBlocks(std::span<const BlockCopy> copies) {
    return backend_->CopyBlocks(*cache_, copies);
  }
  // What the model's layer begins with, for layers that the head reads: where to copy it, a matrix
  // for each place among target_layers. [tokens, target_hidden]
  MatrixView JoinedPlace(size_t index, int64_t tokens) const;
  // When all of them are there.
  absl::Status MakeStates(int64_t tokens);
  // Behind the others: as many as the step has tokens.
  absl::Status KeepStates(int64_t tokens);

  // ---- see DraftHead
  int32_t max_tokens() const override { return max_tokens_; }
  int32_t block_tokens() const override { return block_tokens_; }
  int32_t first_spare_block() const override { return num_blocks_; }
  int32_t spare_blocks_per_seq() const override { return spare_blocks_; }
  int64_t num_read() const override { return num_read_; }
  std::vector<StepShape> RecordedBatches(int32_t max_query_len) const override;
  void Note(std::span<const UnreadToken> tokens) override;
  absl::Status Forward(const HeadBatch& batch) override;
  absl::Status Sample(std::span<const SamplingRow> rows, std::span<SampledToken> sampled) override;

 private:
  KvCacheShape CacheShape(int64_t num_blocks, int64_t block_tokens) const;
  absl::StatusOr<MatrixView> AllocateMatrix(DType dtype, int64_t rows, int64_t cols);
  // The shape of the record that the batch runs from; none: it has none.
  std::optional<StepShape> ShapeOf(const HeadBatch& batch) const;
  // Begins a step of the head's, whose tokens' states are in the rows states_. `positions` are
  // those that keys are rotated by; those of `batch` say where in the block tables they go.
  absl::Status BeginStep(const HeadBatch& batch, std::span<const int32_t> positions,
                         const std::optional<StepShape>& padded);
  // Of so many sequences' last tokens.
  absl::Status ComputeLogits(int64_t num_seqs, const Activations& activations);
  // Forgets what was noted for the batch's own tokens, and whether it reads any other that was.
  bool NeedsUnread(const HeadBatch& batch);
  // The keys and values of all that was noted, which is forgotten then, come what may.
  absl::Status ReadAll();
  // Those of the first tokens, of so many of which it returns the number.
  absl::StatusOr<size_t> ReadSome(std::span<const UnreadToken> tokens);

  const LoadedHead head_;
  const WeightFormat format_;
  const KvFormat kv_format_;
  Backend* const backend_;
  SingleRankCommunicator comm_;
  ActivationPlan plan_;
  RotaryTable rotary_;
  int64_t max_in_features_ = 0;

  int32_t num_blocks_ = 0;
  int32_t block_tokens_ = 0;
  int32_t spare_blocks_ = 0;
  int32_t max_tokens_ = 0;
  int64_t max_blocks_per_seq_ = 0;
  std::unique_ptr<KvCache> cache_;
  std::vector<std::unique_ptr<DeviceBuffer>> buffers_;
  Activations activations_;
  MatrixView joined_;  // [max_batch_tokens, target_layers * target_hidden], of the model's step
  MatrixView model_states_;  // [max_batch_tokens, hidden], of the model's step
  // [max_batch_tokens + max_tokens_, hidden]: those of the steps since all was read last.
  MatrixView kept_states_;
  int32_t first_kept_ = 0;  // row of the last step's first
  int32_t num_kept_ = 0;
  UnreadTokens unread_;  // `state` is a row of kept_states_
  int64_t num_read_ = 0;
  MatrixView own_states_;  // [max_batch_size, hidden], of the last rows of logits
  MatrixView deltas_;      // the same shape
  MatrixView own_logits_;  // f32 [max_batch_size, own vocabulary]; none where that is all
  MatrixView logits_;      // f32 [max_batch_size, vocab]
  int64_t num_rows_ = 0;   // of logits, in the last Forward
  std::vector<int32_t> states_;
  std::vector<float> rope_cos_;
  std::vector<float> rope_sin_;
};

}  // namespace pingti::worker
