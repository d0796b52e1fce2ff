// The shares of a model that a follower's ranks compute, as the leader sees them: every call is a
// command.
//
// Draws nothing: tokens are drawn by rank 0, which has all ranks' logits.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "worker/group/leader.h"
#include "worker/model/rank_model.h"

namespace pingti::worker {

// What a follower has room for.
struct RemoteMemory {
  int32_t num_blocks = 0;
  int32_t max_context_tokens = 0;
  std::string arithmetic;
};

class RemoteModel : public RankModel {
 public:
  // Has the follower join the collectives and load its share; both end together on all ranks.
  // `link` must outlive the model. Errors: the follower's.
  static absl::StatusOr<std::unique_ptr<RemoteModel>> Load(FollowerLink* link,
                                                           const v1::Command::Start& start);

  const std::string& device() const { return device_; }
  // Errors: the follower's: ResourceExhausted with the arithmetic.
  absl::StatusOr<RemoteMemory> PlanMemory();

  int32_t vocab_size() const override { return vocab_size_; }
  int32_t max_context_tokens() const override { return max_context_; }
  int32_t hidden_size() const override { return hidden_size_; }
  // Ask the follower; 0 when it is lost, as the next command will say.
  int64_t KvBytesPerBlock(int32_t kv_block_tokens) const override;
  int64_t WorkspaceBytes(int32_t max_batch_tokens, int32_t max_batch_size) const override;
  absl::Status Allocate(int32_t num_blocks, int32_t kv_block_tokens, int32_t max_batch_tokens,
                        int32_t max_batch_size) override;
  const KvBlockLayout& kv_block_layout() const override { return layout_; }
  absl::Status ExportBlocks(std::span<const int32_t> blocks, std::span<std::byte> out) override;
  absl::Status ImportBlocks(std::span<const int32_t> blocks,
                            std::span<const std::byte> in) override;
  absl::Status Forward(const ForwardBatch& batch, std::span<const BlockCopy> copies) override;
  // REQUIRES: not called.
  absl::Status Sample(std::span<const SamplingRow> rows, std::span<SampledToken> sampled) override;
  absl::Status Logprobs(std::span<const LogprobRequest> requests,
                        std::span<SampledToken> results) override;
  absl::Status HiddenStates(std::span<float> values) override;
  absl::Status Health() const override { return link_->Check(); }
  void AbortGroup() override { link_->Abort(); }

 private:
  explicit RemoteModel(FollowerLink* link) : link_(link) {}

  FollowerLink* const link_;
  int32_t vocab_size_ = 0;
  int32_t max_context_ = 0;
  int32_t hidden_size_ = 0;
  std::string device_;
  KvBlockLayout layout_;
  v1::Command step_;  // reused
};

}  // namespace pingti::worker
