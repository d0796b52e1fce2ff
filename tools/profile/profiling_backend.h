// A Backend that times another one: each operation of a step counts for a stage. Made for
// `pingti profile`; nothing else pays for it.
//
// Until StartTiming it passes everything on, so that the other backend runs as in a worker, from
// recorded steps where it has them. While timing, marks of the other backend's timer lie around
// each operation, and steps are not recorded: nothing waits, but on a GPU the marks keep an
// operation from beginning before the one before it has ended.
//
// Confined to one thread. Next: step_profile.h, which runs a model on it.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/clock.h"
#include "worker/backend/backend.h"
#include "worker/comm/communicator.h"
#include "worker/spec/weight_spec.h"

namespace pingti::tools {

enum class Stage {
  kEmbedding,
  kNorm,
  kQkv,
  kRope,        // rotation of queries and keys, and writing to the KV cache
  kAttention,   // of latents, with the products of heads around it
  kProjection,  // of attention's output
  kMlp,
  kLogits,    // the output projection
  kSums,      // over ranks, and gathers of their parts, with waiting for the ranks; with the
              // residual and norm that a sum goes on into
  kSampling,  // until the tokens are on the host
};
inline constexpr size_t kNumStages = 10;
// "embedding", "qkv".
std::string_view StageName(Stage stage);

using StageSeconds = std::array<double, kNumStages>;

class ProfilingBackend : public worker::Backend {
 public:
  // `weights`: all that the model's blocks declare; their roles say for which stage a product
  // counts. `inner` and `clock` must outlive this object and everything made by it.
  ProfilingBackend(worker::Backend* inner, const std::vector<worker::WeightSpec>& weights,
                   const Clock* clock);

  // `comm`, which is of `inner`, as one whose operations count for kSums.
  std::unique_ptr<worker::Communicator> Timed(std::unique_ptr<worker::Communicator> comm);

  void StartTiming() { timing_ = true; }
  // Waits for what was timed. Returns the time of each stage since StartTiming.
  absl::StatusOr<StageSeconds> StopTiming();
  // Whether the last step's operations came from a record.
  bool last_step_recorded() const { return last_step_recorded_; }

  std::string_view name() const override { return inner_->name(); }
  worker::DType activation_dtype() const override { return inner_->activation_dtype(); }
  std::optional<worker::DeviceStream> stream() const override { return inner_->stream(); }
  absl::StatusOr<std::unique_ptr<worker::DeviceBuffer>> Allocate(int64_t bytes) override;
  absl::StatusOr<std::unique_ptr<worker::HostBuffer>> AllocateHost(int64_t num_values) override;
  absl::StatusOr<std::unique_ptr<worker::DeviceBuffer>> UploadF32(
      std::span<const float> values) override;
  // The first part is of a module that was declared.
  absl::StatusOr<std::unique_ptr<worker::LinearWeight>> PrepareLinear(
      const worker::LinearSource& source) override;
  absl::StatusOr<std::unique_ptr<worker::EmbeddingTable>> PrepareEmbedding(
      const worker::EmbeddingSource& source) override;
  int64_t KvBytesPerBlock(const worker::KvCacheShape& shape) const override;
  absl::StatusOr<std::unique_ptr<worker::KvCache>> AllocateKvCache(
      const worker::KvCacheShape& shape) override;
  int64_t WorkspaceBytes(const worker::StepLimits& limits) const override;
  absl::Status AllocateWorkspace(const worker::StepLimits& limits) override;

  absl::Status CopyToHost(worker::MatrixView matrix, std::span<float> values) override;
  absl::Status CopyFromHost(std::span<const float> values, worker::MatrixView matrix) override;
  absl::Status ExportBlocks(const worker::KvCache& cache, std::span<const int32_t> blocks,
                            std::span<std::byte> out) override;
  absl::Status ImportBlocks(worker::KvCache& cache, std::span<const int32_t> blocks,
                            std::span<const std::byte> in) override;
  std::unique_ptr<worker::DeviceTimer> MakeTimer(const Clock* clock) override;

  worker::StepShape Padded(const worker::StepShape& shape) const override {
    return inner_->Padded(shape);
  }
  absl::Status BeginStep(const worker::StepInputs& inputs) override;
  absl::Status Issue(const std::optional<worker::StepShape>& repeats,
                     const std::function<absl::Status()>& operations) override;
  void ForgetRecords() override { inner_->ForgetRecords(); }
  absl::Status CopyBlocks(worker::KvCache& cache,
                          std::span<const worker::BlockCopy> copies) override;
  absl::Status Embed(const worker::EmbeddingTable& table, worker::MatrixView out) override;
  absl::Status RmsNorm(worker::MatrixView x, const worker::DeviceBuffer& weight, float eps,
                       const worker::Operand& out) override;
  absl::Status AddRmsNorm(worker::MatrixView delta, worker::MatrixView residual,
                          const worker::DeviceBuffer& weight, float eps,
                          const worker::Operand& out) override;
  absl::Status LayerNorm(worker::MatrixView x, const worker::DeviceBuffer& weight,
                         const worker::DeviceBuffer* bias, float eps,
                         const worker::Operand& out) override;
  absl::Status AddLayerNorm(worker::MatrixView delta, worker::MatrixView residual,
                            const worker::DeviceBuffer& weight, const worker::DeviceBuffer* bias,
                            float eps, const worker::Operand& out) override;
  absl::Status Add(worker::MatrixView delta, worker::MatrixView sum) override;
  absl::Status Linear(const worker::LinearWeight& weight, const worker::Operand& x,
                      worker::MatrixView out) override;
  absl::Status RopeAndAppendKv(worker::MatrixView qkv, const worker::AttentionShape& shape,
                               const worker::HeadNorms& norms, worker::KvCache& cache,
                               int64_t layer) override;
  absl::Status Attention(worker::MatrixView qkv, const worker::AttentionShape& shape,
                         const worker::KvCache& cache, int64_t layer,
                         const worker::Operand& out) override;
  absl::Status HeadLinear(const worker::LinearWeight& weight, const worker::HeadsView& x,
                          const worker::HeadsView& out, const worker::QuantizedView& form) override;
  absl::Status RopeAndAppendLatent(const worker::HeadsView& q, worker::MatrixView kv,
                                   const worker::LatentAttentionShape& shape,
                                   const worker::DeviceBuffer& norm_weight, float eps,
                                   worker::KvCache& cache, int64_t layer,
                                   const worker::HeadsView& out) override;
  absl::Status LatentAttention(worker::MatrixView q, const worker::LatentAttentionShape& shape,
                               const worker::KvCache& cache, int64_t layer,
                               worker::MatrixView out) override;
  absl::Status ActivateGated(worker::ActivationFunction f, worker::MatrixView gate_up,
                             const worker::Operand& out) override;
  absl::Status Activate(worker::ActivationFunction f, worker::MatrixView x,
                        const worker::Operand& out) override;
  absl::Status RouteExperts(worker::MatrixView logits, const worker::ExpertRouting& routing,
                            const worker::DeviceBuffer* bias,
                            worker::DeviceBuffer* counts) override;
  absl::Status ExpertLinear(const worker::LinearWeight& weight, const worker::Operand& x,
                            worker::RowOrder order, worker::MatrixView out) override;
  absl::Status ActivateExperts(worker::ActivationFunction f, worker::MatrixView gate_up,
                               const worker::Operand& out) override;
  absl::Status CombineExperts(worker::MatrixView rows, const worker::SharedExpert& shared,
                              worker::MatrixView out) override;
  absl::Status GatherRows(worker::MatrixView x, std::span<const int32_t> rows,
                          worker::MatrixView out) override;
  absl::Status GatherStepRows(worker::MatrixView x, worker::MatrixView out) override;
  absl::Status GatherLastRows(worker::MatrixView x, worker::MatrixView out) override;
  absl::Status Copy(worker::MatrixView x, worker::MatrixView out) override;
  absl::Status GatherColumns(worker::MatrixView x, const worker::DeviceBuffer& columns,
                             worker::MatrixView out) override;
  absl::Status HighestOfRows(worker::MatrixView x, worker::MatrixView best) override;
  absl::Status Sample(worker::MatrixView logits, std::span<const worker::SamplingRow> rows,
                      std::span<worker::SampledToken> sampled) override;
  absl::Status Logprobs(worker::MatrixView logits, std::span<const worker::LogprobRequest> requests,
                        std::span<worker::SampledToken> results) override;
  absl::Status SampleParts(worker::MatrixView logits, int64_t first_token,
                           std::span<const worker::SamplingRow> rows,
                           const worker::PartsLayout& layout, worker::MatrixView records) override;

 private:
  class TimedCommunicator;

  template <typename Operation>
  absl::Status Time(Stage stage, const Operation& operation);

  worker::Backend* const inner_;
  const std::unique_ptr<worker::DeviceTimer> timer_;
  bool timing_ = false;
  bool last_step_recorded_ = false;
  std::vector<Stage> timed_;  // each between two marks
  std::map<std::string, Stage> stage_of_module_;
  std::map<const worker::LinearWeight*, Stage> stage_of_;
};

}  // namespace pingti::tools
