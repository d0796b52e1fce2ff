#include "worker/model/tensor_parallel_model.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <utility>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/adapters/adapter.h"

namespace pingti::worker {
namespace {

// Each rank's share of an adapter.
struct RankImages : AdapterImage {
  std::vector<std::shared_ptr<const AdapterImage>> by_rank;
};

using OnFirstRank =
    std::function<absl::Status(const std::function<absl::Status(RankModel& model)>& call)>;

// Rank 0's head, called on its thread.
class FirstRanksHead : public DraftHead {
 public:
  FirstRanksHead(DraftHead* head, OnFirstRank on_first)
      : head_(head), on_first_(std::move(on_first)) {}

  int32_t max_tokens() const override { return head_->max_tokens(); }
  int32_t block_tokens() const override { return head_->block_tokens(); }
  int32_t first_spare_block() const override { return head_->first_spare_block(); }
  int32_t spare_blocks_per_seq() const override { return head_->spare_blocks_per_seq(); }
  int64_t num_read() const override { return head_->num_read(); }
  std::vector<StepShape> RecordedBatches(int32_t max_query_len) const override {
    return head_->RecordedBatches(max_query_len);
  }
  // Nothing runs meanwhile on the rank's thread.
  void Note(std::span<const UnreadToken> tokens) override { head_->Note(tokens); }
  absl::Status Forward(const HeadBatch& batch) override {
    return on_first_([&](RankModel& model) { return model.draft_head()->Forward(batch); });
  }
  absl::Status Sample(std::span<const SamplingRow> rows, std::span<SampledToken> sampled) override {
    return on_first_([&](RankModel& model) { return model.draft_head()->Sample(rows, sampled); });
  }

 private:
  DraftHead* const head_;
  const OnFirstRank on_first_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<TensorParallelModel>> TensorParallelModel::Load(
    RankThreads* threads, const LoadRankModel& load, const std::function<void()>& release) {
  std::unique_ptr<TensorParallelModel> model(new TensorParallelModel(threads));
  model->ranks_.resize(static_cast<size_t>(threads->size()));
  const auto load_one = [&](int rank) -> absl::Status {
    PINGTI_ASSIGN_OR_RETURN(model->ranks_[static_cast<size_t>(rank)], load(rank));
    return absl::OkStatus();
  };
  PINGTI_RETURN_IF_ERROR(threads->Run(load_one, release).status);
  return model;
}

TensorParallelModel::~TensorParallelModel() {
  const auto drop = [this](int rank) {
    ranks_[static_cast<size_t>(rank)].reset();
    return absl::OkStatus();
  };
  threads_->Run(drop, [] {});
}

int64_t TensorParallelModel::KvBytesPerBlock(int32_t kv_block_tokens) const {
  int64_t bytes = 0;
  for (const auto& rank : ranks_) bytes += rank->KvBytesPerBlock(kv_block_tokens);
  return bytes;
}

int64_t TensorParallelModel::WorkspaceBytes(int32_t max_batch_tokens,
                                            int32_t max_batch_size) const {
  int64_t bytes = 0;
  for (const auto& rank : ranks_) bytes += rank->WorkspaceBytes(max_batch_tokens, max_batch_size);
  return bytes;
}

absl::Status TensorParallelModel::Allocate(int32_t num_blocks, int32_t kv_block_tokens,
                                           int32_t max_batch_tokens, int32_t max_batch_size) {
  PINGTI_RETURN_IF_ERROR(OnAll([&](RankModel& model, int) {
    return model.Allocate(num_blocks, kv_block_tokens, max_batch_tokens, max_batch_size);
  }));
  num_blocks_ = num_blocks;
  layout_ = {};
  layout_.block_tokens = kv_block_tokens;
  for (const auto& rank : ranks_) {
    for (KvPlaneLayout plane : rank->kv_block_layout().planes) {
      plane.offset += layout_.bytes;
      layout_.planes.push_back(plane);
    }
    layout_.bytes += rank->kv_block_layout().bytes;
  }
  return absl::OkStatus();
}

absl::Status TensorParallelModel::ExportBlocks(std::span<const int32_t> blocks,
                                               std::span<std::byte> out) {
  PINGTI_RETURN_IF_ERROR(CheckBlocks(num_blocks_, layout_, blocks, out.size()));
  return OnAll([&](RankModel& model, int rank) -> absl::Status {
    const auto part = static_cast<size_t>(model.kv_block_layout().bytes);
    std::vector<std::byte> parts(blocks.size() * part);
    PINGTI_RETURN_IF_ERROR(model.ExportBlocks(blocks, parts));
    const size_t first = PartOffset(rank);
    for (size_t i = 0; i < blocks.size(); ++i) {
      std::memcpy(out.data() + i * static_cast<size_t>(layout_.bytes) + first,
                  parts.data() + i * part, part);
    }
    return absl::OkStatus();
  });
}

absl::Status TensorParallelModel::ImportBlocks(std::span<const int32_t> blocks,
                                               std::span<const std::byte> in) {
  PINGTI_RETURN_IF_ERROR(CheckBlocks(num_blocks_, layout_, blocks, in.size()));
  return OnAll([&](RankModel& model, int rank) -> absl::Status {
    const auto part = static_cast<size_t>(model.kv_block_layout().bytes);
    std::vector<std::byte> parts(blocks.size() * part);
    const size_t first = PartOffset(rank);
    for (size_t i = 0; i < blocks.size(); ++i) {
      std::memcpy(parts.data() + i * part,
                  in.data() + i * static_cast<size_t>(layout_.bytes) + first, part);
    }
    return model.ImportBlocks(blocks, parts);
  });
}

size_t TensorParallelModel::PartOffset(int rank) const {
  int64_t bytes = 0;
  for (int before = 0; before < rank; ++before) {
    bytes += ranks_[static_cast<size_t>(before)]->kv_block_layout().bytes;
  }
  return static_cast<size_t>(bytes);
}

absl::StatusOr<std::shared_ptr<const AdapterImage>> TensorParallelModel::PrepareAdapter(
    const Adapter& adapter) const {
  auto images = std::make_shared<RankImages>();
  for (const auto& rank : ranks_) {
    PINGTI_ASSIGN_OR_RETURN(images->by_rank.emplace_back(), rank->PrepareAdapter(adapter));
  }
  return std::shared_ptr<const AdapterImage>(std::move(images));
}

absl::Status TensorParallelModel::SetAdapter(int32_t slot,
                                             const std::shared_ptr<const AdapterImage>& image) {
  const auto& images = static_cast<const RankImages&>(*image);
  return OnAll([&](RankModel& model, int rank) {
    return model.SetAdapter(slot, images.by_rank[static_cast<size_t>(rank)]);
  });
}

absl::Status TensorParallelModel::Forward(const ForwardBatch& batch,
                                          std::span<const BlockCopy> copies) {
  return OnAll([&](RankModel& model, int) { return model.Forward(batch, copies); });
}

absl::Status TensorParallelModel::Sample(std::span<const SamplingRow> rows,
                                         std::span<SampledToken> sampled) {
  return OnSamplers([&](RankModel& model) { return model.Sample(rows, sampled); });
}

absl::Status TensorParallelModel::Logprobs(std::span<const LogprobRequest> requests,
                                           std::span<SampledToken> results) {
  return OnSamplers([&](RankModel& model) { return model.Logprobs(requests, results); });
}

absl::Status TensorParallelModel::HiddenStates(std::span<float> values) {
  return OnFirst([&](RankModel& model) { return model.HiddenStates(values); });
}

absl::StatusOr<std::optional<double>> TensorParallelModel::TakeExpertImbalance() {
  std::optional<double> imbalance;
  PINGTI_RETURN_IF_ERROR(OnFirst([&](RankModel& model) -> absl::Status {
    PINGTI_ASSIGN_OR_RETURN(imbalance, model.TakeExpertImbalance());
    return absl::OkStatus();
  }));
  return imbalance;
}

DraftHead* TensorParallelModel::draft_head() {
  DraftHead* const first = ranks_.front()->draft_head();
  if (first != nullptr && head_ == nullptr) {
    head_ = std::make_unique<FirstRanksHead>(
        first, [this](const std::function<absl::Status(RankModel & model)>& call) {
          return OnFirst(call);
        });
  }
  return head_.get();
}

std::string TensorParallelModel::Unfinished() const {
  const std::vector<int> running = threads_->Running();
  std::vector<int> late;
  for (const int rank : running) {
    if (!ranks_[static_cast<size_t>(rank)]->WaitsForPeers()) late.push_back(rank);
  }
  std::string ranks;
  for (const int rank : late.empty() ? running : late) {
    ranks += Concat(ranks.empty() ? "rank " : ", ", rank);
  }
  return ranks.empty() ? ranks : Concat(ranks, " of ", threads_->size());
}

absl::Status TensorParallelModel::OnSamplers(
    const std::function<absl::Status(RankModel& model)>& call) {
  if (!ranks_.front()->SamplesWithAllRanks()) return OnFirst(call);
  return OnAll([&](RankModel& model, int) { return call(model); });
}

absl::Status TensorParallelModel::OnFirst(
    const std::function<absl::Status(RankModel& model)>& call) {
  absl::Status status;  // of rank 0, with which the others agree by doing nothing
  PINGTI_RETURN_IF_ERROR(OnAll([&](RankModel& model, int rank) {
    if (rank == 0) status = call(model);
    return absl::OkStatus();
  }));
  return status;
}

absl::Status TensorParallelModel::OnAll(
    const std::function<absl::Status(RankModel& model, int rank)>& call) {
  PINGTI_RETURN_IF_ERROR(ended_);
  const auto on_rank = [&](int rank) { return call(*ranks_[static_cast<size_t>(rank)], rank); };
  const RankThreads::Outcome outcome = threads_->Run(on_rank, [this] { AbortGroup(); });
  absl::Status group = outcome.agreed ? Health() : outcome.status;
  if (group.ok()) return outcome.status;
  ended_ = absl::DataLossError(
      Concat("the tensor-parallel group has ended: ", std::string(group.message())));
  AbortGroup();
  return ended_;
}

void TensorParallelModel::AbortGroup() {
  for (const auto& rank : ranks_) rank->AbortGroup();
}

absl::Status TensorParallelModel::Health() const {
  for (const auto& rank : ranks_) PINGTI_RETURN_IF_ERROR(rank->Health());
  return absl::OkStatus();
}

}  // namespace pingti::worker
