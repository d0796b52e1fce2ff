// The one Model of every family: runs a decoder's blocks on any backend. Owns the prepared weights,
// the KV cache and the activations; how large they are follows from what the blocks declare. A rank
// of a tensor-parallel group is one of these with a share of the spec (worker/spec/shard_spec.h):
// it differs in what its communicator adds up and in how its tokens are drawn (rank_sampler.h).
//
// Confined to the engine thread, or to its rank's, but for the const getters. Next:
// decoder_blocks.h, worker/layers/decoder_layer.h, load_model.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "worker/backend/backend.h"
#include "worker/comm/communicator.h"
#include "worker/layers/activations.h"
#include "worker/layers/rotary_table.h"
#include "worker/model/adapter_weights.h"
#include "worker/model/decoder_blocks.h"
#include "worker/model/expert_counts.h"
#include "worker/model/head_runner.h"
#include "worker/model/rank_model.h"
#include "worker/model/rank_sampler.h"
#include "worker/spec/decoder_spec.h"

namespace pingti::worker {

class DecoderModel : public RankModel {
 public:
  // `backend` must outlive the model. `head` may be null: none. With `finishes_rows`, of all ranks,
  // the ranks add up what the last norm reads in every row of a step, as a head needs it, not only
  // in those with logits.
  DecoderModel(const DecoderSpec& spec, WeightFormat format, KvFormat kv_format, Backend* backend,
               std::unique_ptr<Communicator> comm, DecoderBlocks blocks,
               std::unique_ptr<HeadRunner> head, bool finishes_rows);
  ~DecoderModel() override;

  int32_t vocab_size() const override { return static_cast<int32_t>(vocab_size_); }
  int32_t max_context_tokens() const override { return static_cast<int32_t>(max_context_); }
  int32_t hidden_size() const override { return static_cast<int32_t>(hidden_size_); }
  int64_t KvBytesPerBlock(int32_t kv_block_tokens) const override;
  int64_t WorkspaceBytes(int32_t max_batch_tokens, int32_t max_batch_size) const override;
  absl::Status Allocate(int32_t num_blocks, int32_t kv_block_tokens, int32_t max_batch_tokens,
                        int32_t max_batch_size) override;
  // Slots for adapters, once, before Allocate. Errors: those of Backend::AllocateLora.
  absl::Status AllocateAdapters(const AdapterLimits& limits);
  int32_t num_adapter_slots() const override { return adapters_.max_adapters; }
  absl::StatusOr<std::shared_ptr<const AdapterImage>> PrepareAdapter(
      const Adapter& adapter) const override;
  absl::Status SetAdapter(int32_t slot, const std::shared_ptr<const AdapterImage>& image) override;
  const KvBlockLayout& kv_block_layout() const override { return cache_->block_layout(); }
  absl::Status ExportBlocks(std::span<const int32_t> blocks, std::span<std::byte> out) override {
    return backend_->ExportBlocks(*cache_, blocks, out);
  }
  absl::Status ImportBlocks(std::span<const int32_t> blocks,
                            std::span<const std::byte> in) override {
    return backend_->ImportBlocks(*cache_, blocks, in);
  }
  std::vector<StepShape> RecordedSteps(int32_t max_tokens, int32_t max_query_len) const override;
  absl::Status Forward(const ForwardBatch& batch, std::span<const BlockCopy> copies) override;
  absl::Status Sample(std::span<const SamplingRow> rows, std::span<SampledToken> sampled) override;
  absl::Status Logprobs(std::span<const LogprobRequest> requests,
                        std::span<SampledToken> results) override;
  absl::Status HiddenStates(std::span<float> values) override;
  absl::StatusOr<std::optional<double>> TakeExpertImbalance() override {
    return expert_counts_.TakeImbalance(*backend_);
  }
  DraftHead* draft_head() override { return draft_head_.get(); }

  absl::Status Health() const override { return comm_->Check(); }
  void AbortGroup() override { comm_->Abort(); }
  bool WaitsForPeers() const override { return comm_->WaitsForPeers(); }
  bool SamplesWithAllRanks() const override { return sampler_.needs_all_ranks(); }
  // See RankSampler::SetGathersRows.
  void SetGathersRows() { sampler_.SetGathersRows(); }

 private:
  KvCacheShape CacheShape(int64_t num_blocks, int64_t block_tokens) const;
  absl::Status CheckBatch(const ForwardBatch& batch) const;
  StepInputs MakeStep(const ForwardBatch& batch);
  // Nothing if the step depends on more than its arrays and shape.
  std::optional<StepShape> ShapeOf(const ForwardBatch& batch) const;
  // Of the activations' rows, those of logit_tokens; all, where logits_ has a row for each.
  absl::Status ComputeLogits(const ForwardBatch& batch, const Activations& activations);
  absl::Status RunLayers(const Activations& activations, int64_t tokens);
  // Where the head wants what this layer begins with; without columns: nowhere.
  MatrixView HeadsPlaceFor(int64_t layer, int64_t tokens) const;
  // What the last norm reads goes to the head, and the head takes over all that it was given.
  absl::Status MakeHeadStates(const Activations& activations, int64_t tokens);
  StepLimits Limits(int64_t max_tokens, int64_t max_seqs) const;
  absl::Status PlaceLogits(int64_t rows);

  const int64_t hidden_size_;
  const int64_t vocab_size_;
  const VocabularyShare head_;
  const int64_t max_context_;
  const WeightFormat format_;
  const KvFormat kv_format_;
  Backend* const backend_;
  const std::unique_ptr<Communicator> comm_;
  RankSampler sampler_;
  DecoderBlocks blocks_;
  ExpertCounts expert_counts_;
  const std::unique_ptr<HeadRunner> draft_head_;  // null: none
  const bool finishes_rows_;
  ActivationPlan plan_;
  int64_t max_in_features_ = 0;  // of any product
  RotaryTable rotary_;

  AdapterLimits adapters_;
  std::vector<WeightSpec> adapted_;  // of the products that adapters add to
  // Those that they cannot add to on this backend, and why.
  std::vector<std::pair<WeightSpec, absl::Status>> not_adapted_;
  std::unique_ptr<LoraSlots> lora_slots_;  // of those products, in their order; null: none

  int64_t num_blocks_ = 0;
  int64_t block_tokens_ = 0;
  int64_t max_tokens_ = 0;
  int64_t max_seqs_ = 0;
  std::unique_ptr<KvCache> cache_;
  std::vector<std::unique_ptr<DeviceBuffer>> buffers_;
  Activations activations_;                    // with max_tokens_ rows
  MatrixView seq_logits_;                      // f32 [max_seqs, vocab], row_stride() apart
  std::unique_ptr<DeviceBuffer> many_logits_;  // for steps with more rows
  // f32 [rows of the last Forward, vocab]. Of several ranks, this rank's part of the vocabulary
  // until the sampler gathers others'.
  MatrixView logits_;
  bool highest_only_ = false;  // of the last Forward
  std::vector<float> rope_cos_;
  std::vector<float> rope_sin_;
};

}  // namespace pingti::worker
