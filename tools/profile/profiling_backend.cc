#include "tools/profile/profiling_backend.h"

#include <utility>

#include "common/base/check.h"
#include "common/base/status_macros.h"

namespace pingti::tools {
namespace {

using worker::DeviceBuffer;
using worker::KvCache;
using worker::MatrixView;
using worker::Operand;

Stage StageOfRole(worker::WeightRole role) {
  switch (role) {
    case worker::WeightRole::kQkv:
    case worker::WeightRole::kQueryUp:
      return Stage::kQkv;
    case worker::WeightRole::kLatentHeads:
      return Stage::kAttention;
    case worker::WeightRole::kAttentionOut:
      return Stage::kProjection;
    case worker::WeightRole::kMlpIn:
    case worker::WeightRole::kMlpOut:
    case worker::WeightRole::kRouter:
    case worker::WeightRole::kExpertsIn:
    case worker::WeightRole::kExpertsOut:
      return Stage::kMlp;
    default:
      return Stage::kLogits;
  }
}

// "blk.0.attn_q" of "blk.0.attn_q.weight", whatever of the module the tensor is.
std::string ModuleOf(const std::string& tensor) { return tensor.substr(0, tensor.rfind('.')); }

}  // namespace

std::string_view StageName(Stage stage) {
  static constexpr std::array<std::string_view, kNumStages> kNames = {
      "embedding",  "norm", "qkv",    "rope_kv", "attention",
      "projection", "mlp",  "logits", "sums",    "sampling"};
  return kNames[static_cast<size_t>(stage)];
}

ProfilingBackend::ProfilingBackend(worker::Backend* inner,
                                   const std::vector<worker::WeightSpec>& weights,
                                   const Clock* clock)
    : inner_(inner), timer_(inner->MakeTimer(clock)) {
  for (const worker::WeightSpec& weight : weights) {
    // A tied embedding is looked up, and its module multiplied for logits.
    if (weight.is_vector() || weight.role == worker::WeightRole::kEmbedding) continue;
    stage_of_module_[weight.parts.front().module] = StageOfRole(weight.role);
  }
}

template <typename Operation>
absl::Status ProfilingBackend::Time(Stage stage, const Operation& operation) {
  if (!timing_) return operation();
  PINGTI_RETURN_IF_ERROR(timer_->Mark());
  PINGTI_RETURN_IF_ERROR(operation());
  timed_.push_back(stage);
  return timer_->Mark();
}

class ProfilingBackend::TimedCommunicator : public worker::Communicator {
 public:
  TimedCommunicator(ProfilingBackend* timer, std::unique_ptr<worker::Communicator> inner)
      : Communicator(timer), timer_(timer), inner_(std::move(inner)) {}

  int rank() const override { return inner_->rank(); }
  int size() const override { return inner_->size(); }
  worker::CollectivePromises promises() const override { return inner_->promises(); }
  absl::Status AllReduceSum(MatrixView matrix) override {
    return timer_->Time(Stage::kSums, [&] { return inner_->AllReduceSum(matrix); });
  }
  absl::Status AllGather(MatrixView matrix) override {
    return timer_->Time(Stage::kSums, [&] { return inner_->AllGather(matrix); });
  }
  absl::Status Broadcast(MatrixView matrix, int root) override {
    return timer_->Time(Stage::kSums, [&] { return inner_->Broadcast(matrix, root); });
  }
  absl::Status AllReduceAddRmsNorm(MatrixView delta, MatrixView residual,
                                   const DeviceBuffer& weight, float eps,
                                   const Operand& out) override {
    return timer_->Time(Stage::kSums, [&] {
      return inner_->AllReduceAddRmsNorm(delta, residual, weight, eps, out);
    });
  }
  absl::Status AllReduceAddLayerNorm(MatrixView delta, MatrixView residual,
                                     const DeviceBuffer& weight, const DeviceBuffer* bias,
                                     float eps, const Operand& out) override {
    return timer_->Time(Stage::kSums, [&] {
      return inner_->AllReduceAddLayerNorm(delta, residual, weight, bias, eps, out);
    });
  }
  absl::Status Check() override { return inner_->Check(); }
  bool WaitsForPeers() const override { return inner_->WaitsForPeers(); }
  void Abort() override { inner_->Abort(); }

 private:
  ProfilingBackend* const timer_;
  const std::unique_ptr<worker::Communicator> inner_;
};

std::unique_ptr<worker::Communicator> ProfilingBackend::Timed(
    std::unique_ptr<worker::Communicator> comm) {
  return std::make_unique<TimedCommunicator>(this, std::move(comm));
}

absl::StatusOr<StageSeconds> ProfilingBackend::StopTiming() {
  timing_ = false;
  PINGTI_ASSIGN_OR_RETURN(const std::vector<double> gaps, timer_->Take());
  PINGTI_CHECK(timed_.empty() ? gaps.empty() : gaps.size() == 2 * timed_.size() - 1);
  StageSeconds seconds{};
  for (size_t i = 0; i < timed_.size(); ++i) {
    seconds[static_cast<size_t>(timed_[i])] += gaps[2 * i];
  }
  timed_.clear();
  return seconds;
}

absl::StatusOr<std::unique_ptr<DeviceBuffer>> ProfilingBackend::Allocate(int64_t bytes) {
  return inner_->Allocate(bytes);
}

absl::StatusOr<std::unique_ptr<worker::HostBuffer>> ProfilingBackend::AllocateHost(
    int64_t num_values) {
  return inner_->AllocateHost(num_values);
}

absl::StatusOr<std::unique_ptr<DeviceBuffer>> ProfilingBackend::UploadF32(
    std::span<const float> values) {
  return inner_->UploadF32(values);
}

absl::StatusOr<std::unique_ptr<worker::LinearWeight>> ProfilingBackend::PrepareLinear(
    const worker::LinearSource& source) {
  PINGTI_ASSIGN_OR_RETURN(std::unique_ptr<worker::LinearWeight> weight,
                          inner_->PrepareLinear(source));
  const auto stage = stage_of_module_.find(ModuleOf(source.parts.front().tensor.name));
  PINGTI_CHECK_MSG(stage != stage_of_module_.end(), "no block declared this weight");
  stage_of_[weight.get()] = stage->second;
  return weight;
}

absl::StatusOr<std::unique_ptr<worker::EmbeddingTable>> ProfilingBackend::PrepareEmbedding(
    const worker::EmbeddingSource& source) {
  return inner_->PrepareEmbedding(source);
}

int64_t ProfilingBackend::KvBytesPerBlock(const worker::KvCacheShape& shape) const {
  return inner_->KvBytesPerBlock(shape);
}

absl::StatusOr<std::unique_ptr<KvCache>> ProfilingBackend::AllocateKvCache(
    const worker::KvCacheShape& shape) {
  return inner_->AllocateKvCache(shape);
}

int64_t ProfilingBackend::WorkspaceBytes(const worker::StepLimits& limits) const {
  return inner_->WorkspaceBytes(limits);
}

absl::Status ProfilingBackend::AllocateWorkspace(const worker::StepLimits& limits) {
  return inner_->AllocateWorkspace(limits);
}

absl::Status ProfilingBackend::CopyToHost(MatrixView matrix, std::span<float> values) {
  return inner_->CopyToHost(matrix, values);
}

absl::Status ProfilingBackend::CopyFromHost(std::span<const float> values, MatrixView matrix) {
  return inner_->CopyFromHost(values, matrix);
}

absl::Status ProfilingBackend::ExportBlocks(const KvCache& cache, std::span<const int32_t> blocks,
                                            std::span<std::byte> out) {
  return inner_->ExportBlocks(cache, blocks, out);
}

absl::Status ProfilingBackend::ImportBlocks(KvCache& cache, std::span<const int32_t> blocks,
                                            std::span<const std::byte> in) {
  return inner_->ImportBlocks(cache, blocks, in);
}

std::unique_ptr<worker::DeviceTimer> ProfilingBackend::MakeTimer(const Clock* clock) {
  return inner_->MakeTimer(clock);
}

absl::Status ProfilingBackend::Issue(const std::optional<worker::StepShape>& repeats,
                                     const std::function<absl::Status()>& operations) {
  last_step_recorded_ = true;
  return inner_->Issue(timing_ ? std::nullopt : repeats, [&] {
    last_step_recorded_ = false;
    return operations();
  });
}

absl::Status ProfilingBackend::BeginStep(const worker::StepInputs& inputs) {
  return inner_->BeginStep(inputs);
}

absl::Status ProfilingBackend::CopyBlocks(KvCache& cache,
                                          std::span<const worker::BlockCopy> copies) {
  return inner_->CopyBlocks(cache, copies);
}

absl::Status ProfilingBackend::Embed(const worker::EmbeddingTable& table, MatrixView out) {
  return Time(Stage::kEmbedding, [&] { return inner_->Embed(table, out); });
}

absl::Status ProfilingBackend::RmsNorm(MatrixView x, const DeviceBuffer& weight, float eps,
                                       const Operand& out) {
  return Time(Stage::kNorm, [&] { return inner_->RmsNorm(x, weight, eps, out); });
}

absl::Status ProfilingBackend::AddRmsNorm(MatrixView delta, MatrixView residual,
                                          const DeviceBuffer& weight, float eps,
                                          const Operand& out) {
  return Time(Stage::kNorm, [&] { return inner_->AddRmsNorm(delta, residual, weight, eps, out); });
}

absl::Status ProfilingBackend::LayerNorm(MatrixView x, const DeviceBuffer& weight,
                                         const DeviceBuffer* bias, float eps, const Operand& out) {
  return Time(Stage::kNorm, [&] { return inner_->LayerNorm(x, weight, bias, eps, out); });
}

absl::Status ProfilingBackend::AddLayerNorm(MatrixView delta, MatrixView residual,
                                            const DeviceBuffer& weight, const DeviceBuffer* bias,
                                            float eps, const Operand& out) {
  return Time(Stage::kNorm,
              [&] { return inner_->AddLayerNorm(delta, residual, weight, bias, eps, out); });
}

absl::Status ProfilingBackend::Add(MatrixView delta, MatrixView sum) {
  return Time(Stage::kNorm, [&] { return inner_->Add(delta, sum); });
}

absl::Status ProfilingBackend::Linear(const worker::LinearWeight& weight, const Operand& x,
                                      MatrixView out) {
  const auto stage = stage_of_.find(&weight);
  PINGTI_CHECK_MSG(stage != stage_of_.end(), "the weight was prepared by another backend");
  return Time(stage->second, [&] { return inner_->Linear(weight, x, out); });
}

absl::Status ProfilingBackend::RopeAndAppendKv(MatrixView qkv, const worker::AttentionShape& shape,
                                               const worker::HeadNorms& norms, KvCache& cache,
                                               int64_t layer) {
  return Time(Stage::kRope,
              [&] { return inner_->RopeAndAppendKv(qkv, shape, norms, cache, layer); });
}

absl::Status ProfilingBackend::HeadLinear(const worker::LinearWeight& weight,
                                          const worker::HeadsView& x, const worker::HeadsView& out,
                                          const worker::QuantizedView& form) {
  return Time(Stage::kAttention, [&] { return inner_->HeadLinear(weight, x, out, form); });
}

absl::Status ProfilingBackend::RopeAndAppendLatent(const worker::HeadsView& q, MatrixView kv,
                                                   const worker::LatentAttentionShape& shape,
                                                   const DeviceBuffer& norm_weight, float eps,
                                                   KvCache& cache, int64_t layer,
                                                   const worker::HeadsView& out) {
  return Time(Stage::kRope, [&] {
    return inner_->RopeAndAppendLatent(q, kv, shape, norm_weight, eps, cache, layer, out);
  });
}

absl::Status ProfilingBackend::LatentAttention(MatrixView q,
                                               const worker::LatentAttentionShape& shape,
                                               const KvCache& cache, int64_t layer,
                                               MatrixView out) {
  return Time(Stage::kAttention,
              [&] { return inner_->LatentAttention(q, shape, cache, layer, out); });
}

absl::Status ProfilingBackend::Attention(MatrixView qkv, const worker::AttentionShape& shape,
                                         const KvCache& cache, int64_t layer, const Operand& out) {
  return Time(Stage::kAttention, [&] { return inner_->Attention(qkv, shape, cache, layer, out); });
}

absl::Status ProfilingBackend::ActivateGated(worker::ActivationFunction f, MatrixView gate_up,
                                             const Operand& out) {
  return Time(Stage::kMlp, [&] { return inner_->ActivateGated(f, gate_up, out); });
}

absl::Status ProfilingBackend::Activate(worker::ActivationFunction f, MatrixView x,
                                        const Operand& out) {
  return Time(Stage::kMlp, [&] { return inner_->Activate(f, x, out); });
}

absl::Status ProfilingBackend::RouteExperts(MatrixView logits, const worker::ExpertRouting& routing,
                                            const worker::DeviceBuffer* bias,
                                            worker::DeviceBuffer* counts) {
  return Time(Stage::kMlp, [&] { return inner_->RouteExperts(logits, routing, bias, counts); });
}

absl::Status ProfilingBackend::ExpertLinear(const worker::LinearWeight& weight, const Operand& x,
                                            worker::RowOrder order, MatrixView out) {
  return Time(Stage::kMlp, [&] { return inner_->ExpertLinear(weight, x, order, out); });
}

absl::Status ProfilingBackend::ActivateExperts(worker::ActivationFunction f, MatrixView gate_up,
                                               const Operand& out) {
  return Time(Stage::kMlp, [&] { return inner_->ActivateExperts(f, gate_up, out); });
}

absl::Status ProfilingBackend::CombineExperts(MatrixView rows, const worker::SharedExpert& shared,
                                              MatrixView out) {
  return Time(Stage::kMlp, [&] { return inner_->CombineExperts(rows, shared, out); });
}

absl::Status ProfilingBackend::GatherRows(MatrixView x, std::span<const int32_t> rows,
                                          MatrixView out) {
  return Time(Stage::kLogits, [&] { return inner_->GatherRows(x, rows, out); });
}

absl::Status ProfilingBackend::GatherStepRows(MatrixView x, MatrixView out) {
  return Time(Stage::kLogits, [&] { return inner_->GatherStepRows(x, out); });
}

absl::Status ProfilingBackend::GatherLastRows(MatrixView x, MatrixView out) {
  return Time(Stage::kLogits, [&] { return inner_->GatherLastRows(x, out); });
}

absl::Status ProfilingBackend::Copy(MatrixView x, MatrixView out) {
  return Time(Stage::kNorm, [&] { return inner_->Copy(x, out); });
}

absl::Status ProfilingBackend::GatherColumns(MatrixView x, const DeviceBuffer& columns,
                                             MatrixView out) {
  return Time(Stage::kLogits, [&] { return inner_->GatherColumns(x, columns, out); });
}

absl::Status ProfilingBackend::HighestOfRows(MatrixView x, MatrixView best) {
  return Time(Stage::kSampling, [&] { return inner_->HighestOfRows(x, best); });
}

absl::Status ProfilingBackend::Sample(MatrixView logits, std::span<const worker::SamplingRow> rows,
                                      std::span<worker::SampledToken> sampled) {
  return Time(Stage::kSampling, [&] { return inner_->Sample(logits, rows, sampled); });
}

absl::Status ProfilingBackend::Logprobs(MatrixView logits,
                                        std::span<const worker::LogprobRequest> requests,
                                        std::span<worker::SampledToken> results) {
  return Time(Stage::kSampling, [&] { return inner_->Logprobs(logits, requests, results); });
}

absl::Status ProfilingBackend::SampleParts(MatrixView logits, int64_t first_token,
                                           std::span<const worker::SamplingRow> rows,
                                           const worker::PartsLayout& layout, MatrixView records) {
  return Time(Stage::kSampling,
              [&] { return inner_->SampleParts(logits, first_token, rows, layout, records); });
}

}  // namespace pingti::tools
