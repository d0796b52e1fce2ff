// A Model that several ranks compute together, each with a share of every layer, in lock step
// (Shoeybi et al., "Megatron-LM"): the engine sees one model and plans once.
//
// Each rank is a DecoderModel over a share of the spec, on a backend and a thread of its own, or
// what stands here for the ranks of another process (worker/group). All ranks get the same calls;
// tokens are drawn by rank 0, from what all ranks say of their logits (rank_sampler.h), and reach
// the others as the next step's input. Blocks of KV have the same numbers on every rank.
//
// An error that all ranks report alike is the input's, and the group goes on. Any other ends the
// group: its waits are aborted, and this and every later call return DataLoss with the rank that
// erred first, as for a device that is lost; ranks do not form again.
//
// Confined to the engine thread, but for the const getters. Next: rank_threads.h, rank_spec.h,
// worker/comm/communicator.h.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/comm/rank_threads.h"
#include "worker/model/draft_head.h"
#include "worker/model/rank_model.h"

namespace pingti::worker {

class TensorParallelModel : public RankModel {
 public:
  // Loads the model of rank `rank`; called on that rank's thread, for all ranks at once.
  using LoadRankModel = std::function<absl::StatusOr<std::unique_ptr<RankModel>>(int rank)>;

  // `threads` must outlive the model. `release` ends waits in `load` that another rank's error has
  // made endless (see RankThreads::Run). Errors: those of `load`.
  static absl::StatusOr<std::unique_ptr<TensorParallelModel>> Load(
      RankThreads* threads, const LoadRankModel& load, const std::function<void()>& release);
  ~TensorParallelModel() override;

  // For arithmetic per device.
  const Model& rank(int rank) const { return *ranks_[static_cast<size_t>(rank)]; }

  int32_t vocab_size() const override { return first().vocab_size(); }
  int32_t max_context_tokens() const override { return first().max_context_tokens(); }
  int32_t hidden_size() const override { return first().hidden_size(); }
  // Sums over ranks.
  int64_t KvBytesPerBlock(int32_t kv_block_tokens) const override;
  int64_t WorkspaceBytes(int32_t max_batch_tokens, int32_t max_batch_size) const override;
  absl::Status Allocate(int32_t num_blocks, int32_t kv_block_tokens, int32_t max_batch_tokens,
                        int32_t max_batch_size) override;
  // A block is rank 0's part, then rank 1's, and so on; a plane's heads are the rank's.
  const KvBlockLayout& kv_block_layout() const override { return layout_; }
  absl::Status ExportBlocks(std::span<const int32_t> blocks, std::span<std::byte> out) override;
  absl::Status ImportBlocks(std::span<const int32_t> blocks,
                            std::span<const std::byte> in) override;
  int32_t num_adapter_slots() const override { return first().num_adapter_slots(); }
  // Any thread; every rank's share on the caller's.
  absl::StatusOr<std::shared_ptr<const AdapterImage>> PrepareAdapter(
      const Adapter& adapter) const override;
  absl::Status SetAdapter(int32_t slot, const std::shared_ptr<const AdapterImage>& image) override;
  std::vector<StepShape> RecordedSteps(int32_t max_tokens, int32_t max_query_len) const override {
    return first().RecordedSteps(max_tokens, max_query_len);
  }
  absl::Status Forward(const ForwardBatch& batch, std::span<const BlockCopy> copies) override;
  absl::Status Sample(std::span<const SamplingRow> rows, std::span<SampledToken> sampled) override;
  absl::Status Logprobs(std::span<const LogprobRequest> requests,
                        std::span<SampledToken> results) override;
  absl::Status HiddenStates(std::span<float> values) override;
  // Rank 0's: all ranks choose alike.
  absl::StatusOr<std::optional<double>> TakeExpertImbalance() override;
  // Rank 0's.
  DraftHead* draft_head() override;
  // Those that wait for others in a collective are not who is late, where that is known.
  std::string Unfinished() const override;
  absl::Status Health() const override;
  void AbortGroup() override;

 private:
  explicit TensorParallelModel(RankThreads* threads) : threads_(threads) {}

  const Model& first() const { return *ranks_.front(); }
  // The call on every rank, or on rank 0 alone; afterwards the group is either in step or ended.
  absl::Status OnAll(const std::function<absl::Status(RankModel& model, int rank)>& call);
  absl::Status OnFirst(const std::function<absl::Status(RankModel& model)>& call);
  // On those that take part in drawing tokens.
  absl::Status OnSamplers(const std::function<absl::Status(RankModel& model)>& call);
  // Of a rank's part of an exported block.
  size_t PartOffset(int rank) const;

  RankThreads* const threads_;
  std::vector<std::unique_ptr<RankModel>> ranks_;  // each destroyed on its thread
  int32_t num_blocks_ = 0;
  KvBlockLayout layout_;
  std::unique_ptr<DraftHead> head_;  // that calls rank 0's on its thread; null: not asked for yet
  absl::Status ended_;               // not OK: the group has ended
};

}  // namespace pingti::worker
