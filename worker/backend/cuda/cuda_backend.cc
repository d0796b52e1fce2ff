#include "worker/backend/cuda/cuda_backend.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "pingti/kernels/activation.h"
#include "pingti/kernels/add.h"
#include "pingti/kernels/embedding.h"
#include "pingti/kernels/gather_columns.h"
#include "pingti/kernels/highest.h"
#include "pingti/kernels/norm.h"
#include "pingti/kernels/rope_kv.h"
#include "worker/backend/cuda/cuda_attention.h"
#include "worker/backend/cuda/cuda_experts.h"
#include "worker/backend/cuda/cuda_kv_cache.h"
#include "worker/backend/cuda/cuda_latent.h"
#include "worker/backend/cuda/cuda_linear.h"
#include "worker/backend/cuda/cuda_lora.h"
#include "worker/backend/cuda/cuda_part_sampler.h"
#include "worker/backend/cuda/cuda_sampler.h"
#include "worker/backend/cuda/cuda_status.h"
#include "worker/backend/cuda/cuda_timer.h"
#include "worker/backend/cuda/device_memory.h"
#include "worker/backend/cuda/host_rows.h"
#include "worker/backend/cuda/kernel_params.h"
#include "worker/backend/cuda/kv_transfer.h"
#include "worker/backend/cuda/step_arrays.h"
#include "worker/backend/cuda/step_graphs.h"
#include "worker/backend/cuda/weight_upload.h"

namespace pingti::worker {
namespace cuda {
namespace {

constexpr int kMinComputeCapability = 80;
// Graphs, and kernels that the driver loads when they are first used.
constexpr int64_t kGraphBytes = int64_t{512} << 20;

const float* Floats(const DeviceBuffer& buffer) { return static_cast<const float*>(buffer.data()); }

kernels::ActivationKind KernelKind(ActivationFunction activation) {
  switch (activation) {
    case ActivationFunction::kSilu:
      return kernels::ActivationKind::kSilu;
    case ActivationFunction::kGelu:
      return kernels::ActivationKind::kGelu;
    case ActivationFunction::kClampedSwiglu:
      return kernels::ActivationKind::kClampedSwiglu;
    case ActivationFunction::kGeluTanh:
      break;
  }
  return kernels::ActivationKind::kGeluTanh;
}

// Rows in bf16, wherever they come from, or in int8 with a scale each.
class CudaEmbedding : public EmbeddingTable {
 public:
  CudaEmbedding(std::unique_ptr<CudaLinearWeight> rows, int64_t first_token)
      : rows_(std::move(rows)), first_token_(first_token) {}
  int64_t bytes() const override { return rows_->bytes(); }
  const CudaLinearWeight& rows() const { return *rows_; }
  int64_t first_token() const { return first_token_; }

 private:
  const std::unique_ptr<CudaLinearWeight> rows_;
  const int64_t first_token_;
};

class CudaBackend : public Backend {
 public:
  static absl::StatusOr<std::unique_ptr<Backend>> Make(const CudaBackendOptions& options) {
    PINGTI_RETURN_IF_CUDA_ERROR(cudaSetDevice(options.device));
    std::unique_ptr<CudaBackend> backend(new CudaBackend(options));
    PINGTI_RETURN_IF_CUDA_ERROR(
        cudaStreamCreateWithFlags(&backend->stream_, cudaStreamNonBlocking));
    PINGTI_ASSIGN_OR_RETURN(backend->linear_, CudaLinear::Make());
    return std::unique_ptr<Backend>(std::move(backend));
  }

  ~CudaBackend() override {
    upload_.reset();
    graphs_.Clear();
    if (stream_ == nullptr) return;
    cudaStreamSynchronize(stream_);
    cudaStreamDestroy(stream_);
  }

  std::string_view name() const override { return "cuda"; }
  DType activation_dtype() const override { return DType::kBf16; }
  std::optional<DeviceStream> stream() const override {
    return DeviceStream{options_.device, stream_};
  }

  absl::StatusOr<std::unique_ptr<DeviceBuffer>> Allocate(int64_t bytes) override {
    PINGTI_ASSIGN_OR_RETURN(std::unique_ptr<CudaBuffer> buffer, CudaBuffer::Make(bytes));
    return std::unique_ptr<DeviceBuffer>(std::move(buffer));
  }

  absl::StatusOr<std::unique_ptr<HostBuffer>> AllocateHost(int64_t num_values) override {
    return MakeHostBuffer(num_values);
  }

  absl::StatusOr<std::unique_ptr<DeviceBuffer>> UploadF32(std::span<const float> values) override {
    PINGTI_ASSIGN_OR_RETURN(std::unique_ptr<CudaBuffer> buffer,
                            CudaBuffer::Make(static_cast<int64_t>(values.size_bytes())));
    PINGTI_RETURN_IF_CUDA_ERROR(
        cudaMemcpy(buffer->data(), values.data(), values.size_bytes(), cudaMemcpyHostToDevice));
    return std::unique_ptr<DeviceBuffer>(std::move(buffer));
  }

  absl::StatusOr<std::unique_ptr<LinearWeight>> PrepareLinear(const LinearSource& source) override {
    PINGTI_ASSIGN_OR_RETURN(std::unique_ptr<CudaLinearWeight> weight,
                            MakeLinearWeight(source, Upload(), stream_));
    linear_->Expect(*weight);
    return std::unique_ptr<LinearWeight>(std::move(weight));
  }

  absl::StatusOr<std::unique_ptr<LoraSlots>> AllocateLora(
      std::span<const LoraShape> products) override {
    PINGTI_ASSIGN_OR_RETURN(std::unique_ptr<CudaLoraSlots> slots,
                            CudaLoraSlots::Make(products, options_.device));
    for (size_t i = 0; i < products.size(); ++i) lora_.Announce(slots->product(i));
    return std::unique_ptr<LoraSlots>(std::move(slots));
  }

  absl::StatusOr<std::unique_ptr<EmbeddingTable>> PrepareEmbedding(
      const EmbeddingSource& source) override {
    LinearSource rows;
    rows.parts = {source.rows};
    rows.format = source.format == WeightFormat::kF32           ? source.format
                  : source.format == WeightFormat::kInt8Weights ? WeightFormat::kInt8
                                                                : WeightFormat::kBf16;
    PINGTI_ASSIGN_OR_RETURN(std::unique_ptr<CudaLinearWeight> weight,
                            MakeLinearWeight(rows, Upload(), stream_));
    return std::make_unique<CudaEmbedding>(std::move(weight), source.first_token);
  }

  int64_t KvBytesPerBlock(const KvCacheShape& shape) const override {
    return CudaKvCache::BytesPerBlock(shape);
  }

  absl::StatusOr<std::unique_ptr<KvCache>> AllocateKvCache(const KvCacheShape& shape) override {
    PINGTI_ASSIGN_OR_RETURN(std::unique_ptr<CudaKvCache> cache, CudaKvCache::Make(shape));
    return std::unique_ptr<KvCache>(std::move(cache));
  }

  int64_t WorkspaceBytes(const StepLimits& limits) const override {
    return linear_->BytesFor(limits) + StepArrays::BytesFor(limits) + lora_.BytesFor(limits) +
           CudaAttention::BytesFor(limits) + CudaLatent::BytesFor(limits) +
           CudaExperts::BytesFor(limits) + CudaPartSampler::BytesFor(limits) + kGraphBytes;
  }

  absl::Status AllocateWorkspace(const StepLimits& limits) override {
    // Loading is over.
    PINGTI_RETURN_IF_CUDA_ERROR(cudaStreamSynchronize(stream_));
    upload_.reset();
    graphs_.Clear();
    rows_.reset();
    limits_ = limits;
    PINGTI_RETURN_IF_ERROR(arrays_.Allocate(limits));
    PINGTI_RETURN_IF_ERROR(linear_->Allocate(limits));
    PINGTI_RETURN_IF_ERROR(lora_.Allocate(limits));
    PINGTI_RETURN_IF_ERROR(experts_.Allocate(limits));
    PINGTI_RETURN_IF_ERROR(part_sampler_.Allocate(limits));
    PINGTI_ASSIGN_OR_RETURN(rows_, CudaBuffer::Make(limits.max_tokens * 4));
    PINGTI_RETURN_IF_ERROR(latent_.Allocate(limits, arrays_.max_decode_len()));
    return attention_.Allocate(limits, arrays_.max_decode_len());
  }

  absl::Status CopyToHost(MatrixView matrix, std::span<float> values) override {
    return cuda::CopyToHost(matrix, values, stream_);
  }

  absl::Status CopyFromHost(std::span<const float> values, MatrixView matrix) override {
    return cuda::CopyFromHost(values, matrix, stream_);
  }

  absl::Status ExportBlocks(const KvCache& cache, std::span<const int32_t> blocks,
                            std::span<std::byte> out) override {
    const auto& from = static_cast<const CudaKvCache&>(cache);
    PINGTI_RETURN_IF_ERROR(
        CheckBlocks(from.shape().num_blocks, from.block_layout(), blocks, out.size()));
    PINGTI_RETURN_IF_CUDA_ERROR(cudaSetDevice(options_.device));
    return transfer_.Export(from, blocks, out, stream_);
  }

  absl::Status ImportBlocks(KvCache& cache, std::span<const int32_t> blocks,
                            std::span<const std::byte> in) override {
    auto& to = static_cast<CudaKvCache&>(cache);
    PINGTI_RETURN_IF_ERROR(
        CheckBlocks(to.shape().num_blocks, to.block_layout(), blocks, in.size()));
    PINGTI_RETURN_IF_ERROR(CheckDistinct(to.shape().num_blocks, blocks));
    PINGTI_RETURN_IF_CUDA_ERROR(cudaSetDevice(options_.device));
    return transfer_.Import(to, blocks, in, stream_);
  }

  absl::Status CheckLora(const LoraShape& shape) const override {
    return CudaLoraSlots::Check(shape);
  }

  absl::Status SetLora(LoraSlots& slots, int32_t slot,
                       std::shared_ptr<const LoraImage> image) override {
    PINGTI_RETURN_IF_CUDA_ERROR(cudaSetDevice(options_.device));
    PINGTI_ASSIGN_OR_RETURN(const bool adds_to_others, static_cast<CudaLoraSlots&>(slots).Set(
                                                           slot, std::move(image), stream_));
    // Records have launches for the products that some adapter adds to, and no others.
    if (adds_to_others) graphs_.Clear();
    return absl::OkStatus();
  }

  std::unique_ptr<DeviceTimer> MakeTimer(const Clock*) override {
    return std::make_unique<CudaTimer>(stream_);
  }

  StepShape Padded(const StepShape& shape) const override {
    return options_.graphs ? StepGraphs::Padded(shape, limits_, arrays_.max_decode_len()) : shape;
  }

  // Prefill attention is launched with the lengths of its step.
  bool Records(const StepShape& padded) const override {
    return options_.graphs && padded.num_tokens <= StepGraphs::kMaxTokens &&
           padded.query_len <= arrays_.max_decode_len();
  }

  absl::Status BeginStep(const StepInputs& inputs) override {
    // The engine thread is not the one that made the backend.
    PINGTI_RETURN_IF_CUDA_ERROR(cudaSetDevice(options_.device));
    attention_.BeginStep();
    latent_.BeginStep();
    step_query_start_ = inputs.query_start;
    step_adapter_slots_ = inputs.adapter_slots;
    return arrays_.Upload(inputs, stream_);
  }

  absl::Status Issue(const std::optional<StepShape>& repeats,
                     const std::function<absl::Status()>& operations) override {
    if (!repeats.has_value() || !Records(*repeats)) return operations();
    return graphs_.Run(*repeats, operations, stream_);
  }

  void ForgetRecords() override { graphs_.Clear(); }

  absl::Status CopyBlocks(KvCache& cache, std::span<const BlockCopy> copies) override {
    return static_cast<CudaKvCache&>(cache).CopyBlocks(copies, stream_);
  }

  absl::Status Embed(const EmbeddingTable& table, MatrixView out) override {
    const auto& embedding = static_cast<const CudaEmbedding&>(table);
    const CudaLinearWeight& rows = embedding.rows();
    kernels::EmbeddingParams params;
    params.first_id = static_cast<int32_t>(embedding.first_token());
    params.token_ids = arrays_.device().token_ids;
    params.table = rows.values->data();
    params.table_stride = rows.cols;
    if (rows.matrix_format.has_scales()) params.row_scale = rows.scales->as<const float>();
    params.num_rows = static_cast<int32_t>(rows.rows);
    return Gather(params, out);
  }

  absl::Status RmsNorm(MatrixView x, const DeviceBuffer& weight, float eps,
                       const Operand& out) override {
    return Normalise(x, nullptr, weight, eps, out);
  }

  absl::Status AddRmsNorm(MatrixView delta, MatrixView residual, const DeviceBuffer& weight,
                          float eps, const Operand& out) override {
    return Normalise(delta, &residual, weight, eps, out);
  }

  absl::Status LayerNorm(MatrixView x, const DeviceBuffer& weight, const DeviceBuffer* bias,
                         float eps, const Operand& out) override {
    return LayerNormalise(x, nullptr, weight, bias, eps, out);
  }

  absl::Status AddLayerNorm(MatrixView delta, MatrixView residual, const DeviceBuffer& weight,
                            const DeviceBuffer* bias, float eps, const Operand& out) override {
    return LayerNormalise(delta, &residual, weight, bias, eps, out);
  }

  absl::Status Add(MatrixView delta, MatrixView sum) override {
    kernels::AddParams params;
    params.x = delta.data;
    params.x_stride = delta.stride;
    params.sum = sum.data;
    params.sum_stride = sum.stride;
    params.num_tokens = static_cast<int32_t>(sum.rows);
    params.width = static_cast<int32_t>(sum.cols);
    PINGTI_RETURN_IF_CUDA_ERROR(kernels::LaunchAdd(params, stream_));
    return absl::OkStatus();
  }

  absl::Status Linear(const LinearWeight& weight, const Operand& x, MatrixView out) override {
    return linear_->Run(static_cast<const CudaLinearWeight&>(weight), x, out, stream_);
  }

  absl::Status AdaptedLinear(const LinearWeight& weight, const LoraWeights& adapters,
                             const Operand& x, MatrixView out) override {
    const auto& linear = static_cast<const CudaLinearWeight&>(weight);
    const auto& lora = static_cast<const CudaLoraWeights&>(adapters);
    const kernels::LoraTiles& tiles = arrays_.device().adapter_tiles;
    if (tiles.num_tiles == 0 || !lora.is_used()) return linear_->Run(linear, x, out, stream_);
    return lora_.Run(
        lora, tiles, x.values, out,
        [&](bool accumulate) { return linear_->Run(linear, x, out, stream_, accumulate); },
        stream_);
  }

  absl::Status AdaptedLogits(const LinearWeight& weight, const LoraWeights& adapters,
                             const Operand& x, std::span<const int32_t> tokens,
                             MatrixView logits) override {
    PINGTI_RETURN_IF_ERROR(Linear(weight, x, logits));
    const auto& lora = static_cast<const CudaLoraWeights&>(adapters);
    kernels::LoraTiles tiles = arrays_.device().adapter_tiles;
    if (tiles.num_tiles == 0 || !lora.is_used()) return absl::OkStatus();
    if (!tokens.empty()) {
      PINGTI_ASSIGN_OR_RETURN(
          tiles, lora_.TilesOf(tokens, step_query_start_, step_adapter_slots_, stream_));
    }
    return lora_.AddTo(lora, tiles, x.values, logits, stream_);
  }

  absl::Status AdaptedEmbed(const EmbeddingTable& table, const LoraWeights& adapters,
                            MatrixView out) override {
    PINGTI_RETURN_IF_ERROR(Embed(table, out));
    const auto& lora = static_cast<const CudaLoraWeights&>(adapters);
    const StepPointers& step = arrays_.device();
    if (step.adapter_tiles.num_tiles == 0 || !lora.is_used()) return absl::OkStatus();
    const auto first = static_cast<int32_t>(static_cast<const CudaEmbedding&>(table).first_token());
    return lora_.AddToEmbedded(lora, step.adapter_tiles, step.token_ids, first, out, stream_);
  }

  absl::Status RopeAndAppendKv(MatrixView qkv, const AttentionShape& shape, const HeadNorms& norms,
                               KvCache& cache, int64_t layer) override {
    kernels::RopeKvParams params;
    params.qkv = qkv.data;
    params.qkv_stride = qkv.stride;
    params.q_norm = norms.q == nullptr ? nullptr : Floats(*norms.q);
    params.k_norm = norms.k == nullptr ? nullptr : Floats(*norms.k);
    params.norm_eps = norms.eps;
    params.cos = arrays_.device().cos;
    params.sin = arrays_.device().sin;
    params.q_out = qkv.data;
    params.q_out_stride = qkv.stride;
    params.kv = static_cast<CudaKvCache&>(cache).View(layer);
    params.slots = arrays_.device().slots;
    params.num_tokens = static_cast<int32_t>(qkv.rows);
    params.num_q_heads = static_cast<int32_t>(shape.num_heads);
    PINGTI_RETURN_IF_CUDA_ERROR(kernels::LaunchRopeKv(params, stream_));
    return absl::OkStatus();
  }

  absl::Status Attention(MatrixView qkv, const AttentionShape& shape, const KvCache& cache,
                         int64_t layer, const Operand& out) override {
    PINGTI_RETURN_IF_ERROR(attention_.Run(arrays_.device(), qkv, shape,
                                          static_cast<const CudaKvCache&>(cache), layer, out.values,
                                          stream_));
    return WriteQuantized(out, stream_);
  }

  absl::Status HeadLinear(const LinearWeight& weight, const HeadsView& x, const HeadsView& out,
                          const QuantizedView& form) override {
    PINGTI_RETURN_IF_ERROR(
        linear_->RunHeads(static_cast<const CudaLinearWeight&>(weight), x, out, stream_));
    return WriteQuantized({out.matrix, form}, stream_);
  }

  absl::Status RopeAndAppendLatent(const HeadsView& q, MatrixView kv,
                                   const LatentAttentionShape& shape,
                                   const DeviceBuffer& norm_weight, float eps, KvCache& cache,
                                   int64_t layer, const HeadsView& out) override {
    return latent_.RopeAndAppend(arrays_.device(), q, kv, shape, Floats(norm_weight), eps,
                                 static_cast<const CudaKvCache&>(cache), layer, out, stream_);
  }

  absl::Status LatentAttention(MatrixView q, const LatentAttentionShape& shape,
                               const KvCache& cache, int64_t layer, MatrixView out) override {
    return latent_.Run(arrays_.device(), q, shape, static_cast<const CudaKvCache&>(cache), layer,
                       out, stream_);
  }

  absl::Status ActivateGated(ActivationFunction f, MatrixView gate_up,
                             const Operand& out) override {
    return RunActivation(KernelKind(f), true, gate_up, out, nullptr);
  }

  absl::Status Activate(ActivationFunction f, MatrixView x, const Operand& out) override {
    return RunActivation(KernelKind(f), false, x, out, nullptr);
  }

  absl::Status RouteExperts(MatrixView logits, const ExpertRouting& routing,
                            const DeviceBuffer* bias, DeviceBuffer* counts) override {
    return experts_.Route(
        logits, routing, bias == nullptr ? nullptr : Floats(*bias),
        {counts == nullptr ? nullptr : static_cast<float*>(counts->data()), arrays_.device().slots},
        stream_);
  }

  absl::Status ExpertLinear(const LinearWeight& weight, const Operand& x, RowOrder order,
                            MatrixView out) override {
    return experts_.Linear(static_cast<const CudaLinearWeight&>(weight), x, order, out, stream_);
  }

  absl::Status ActivateExperts(ActivationFunction f, MatrixView gate_up,
                               const Operand& out) override {
    return RunActivation(KernelKind(f), true, gate_up, out, experts_.num_rows());
  }

  absl::Status CombineExperts(MatrixView rows, const SharedExpert& shared,
                              MatrixView out) override {
    return experts_.Combine(rows, shared, out, stream_);
  }

  absl::Status Copy(MatrixView x, MatrixView out) override {
    const auto bytes = static_cast<size_t>(BlockBytes(x.dtype));
    const size_t width = static_cast<size_t>(x.cols) * bytes;
    if (width == 0 || x.rows == 0) return absl::OkStatus();
    PINGTI_RETURN_IF_CUDA_ERROR(cudaMemcpy2DAsync(out.data, static_cast<size_t>(out.stride) * bytes,
                                                  x.data, static_cast<size_t>(x.stride) * bytes,
                                                  width, static_cast<size_t>(x.rows),
                                                  cudaMemcpyDeviceToDevice, stream_));
    return absl::OkStatus();
  }

  absl::Status GatherColumns(MatrixView x, const DeviceBuffer& columns, MatrixView out) override {
    kernels::GatherColumnsParams params;
    params.x = static_cast<const float*>(x.data);
    params.x_stride = x.stride;
    params.columns = Floats(columns);
    params.out = static_cast<float*>(out.data);
    params.out_stride = out.stride;
    params.rows = static_cast<int32_t>(out.rows);
    params.cols = static_cast<int32_t>(out.cols);
    PINGTI_RETURN_IF_CUDA_ERROR(kernels::LaunchGatherColumns(params, stream_));
    return absl::OkStatus();
  }

  absl::Status GatherRows(MatrixView x, std::span<const int32_t> rows, MatrixView out) override {
    if (rows.empty()) return absl::OkStatus();
    // From pageable memory: the call returns when the list was taken.
    PINGTI_RETURN_IF_CUDA_ERROR(cudaMemcpyAsync(rows_->data(), rows.data(), rows.size_bytes(),
                                                cudaMemcpyHostToDevice, stream_));
    return GatherByList(x, rows_->as<const int32_t>(), out);
  }

  absl::Status GatherStepRows(MatrixView x, MatrixView out) override {
    return GatherByList(x, arrays_.device().rows, out);
  }

  absl::Status GatherLastRows(MatrixView x, MatrixView out) override {
    return GatherByList(x, arrays_.device().last_rows, out);
  }

  absl::Status HighestOfRows(MatrixView x, MatrixView best) override {
    kernels::HighestOfRowsParams params;
    params.x = static_cast<const float*>(x.data);
    params.x_stride = x.stride;
    params.best = static_cast<float*>(best.data);
    params.best_stride = best.stride;
    params.rows = static_cast<int32_t>(x.rows);
    params.cols = static_cast<int32_t>(x.cols);
    PINGTI_RETURN_IF_CUDA_ERROR(kernels::LaunchHighestOfRows(params, stream_));
    return absl::OkStatus();
  }

  absl::Status Sample(MatrixView logits, std::span<const SamplingRow> rows,
                      std::span<SampledToken> sampled) override {
    return sampler_.Sample(logits, rows, sampled, stream_);
  }

  absl::Status Logprobs(MatrixView logits, std::span<const LogprobRequest> requests,
                        std::span<SampledToken> results) override {
    return sampler_.Logprobs(logits, requests, results, stream_);
  }

  absl::Status SampleParts(MatrixView logits, int64_t first_token,
                           std::span<const SamplingRow> rows, const PartsLayout& layout,
                           MatrixView records) override {
    return part_sampler_.SampleParts(logits, first_token, rows, layout, records, stream_);
  }

 private:
  explicit CudaBackend(const CudaBackendOptions& options) : options_(options) {}

  WeightUpload* Upload() {
    if (!upload_.has_value()) upload_.emplace(stream_);
    return &*upload_;
  }

  // `rows`: on the device, one for each row of out.
  absl::Status GatherByList(MatrixView x, const int32_t* rows, MatrixView out) {
    kernels::EmbeddingParams params;
    params.token_ids = rows;
    params.table = x.data;
    params.table_stride = x.stride;
    params.num_rows = static_cast<int32_t>(x.rows);
    return Gather(params, out);
  }

  absl::Status Gather(kernels::EmbeddingParams params, MatrixView out) {
    params.out = out.data;
    params.out_stride = out.stride;
    params.num_tokens = static_cast<int32_t>(out.rows);
    params.width = static_cast<int32_t>(out.cols);
    PINGTI_RETURN_IF_CUDA_ERROR(kernels::LaunchEmbedding(params, stream_));
    return absl::OkStatus();
  }

  absl::Status Normalise(MatrixView x, const MatrixView* residual, const DeviceBuffer& weight,
                         float eps, const Operand& out) {
    const auto params = NormParams<kernels::RmsNormParams>(x, residual, weight, eps, out);
    PINGTI_RETURN_IF_CUDA_ERROR(kernels::LaunchRmsNorm(params, stream_));
    return absl::OkStatus();
  }

  absl::Status LayerNormalise(MatrixView x, const MatrixView* residual, const DeviceBuffer& weight,
                              const DeviceBuffer* bias, float eps, const Operand& out) {
    auto params = NormParams<kernels::LayerNormParams>(x, residual, weight, eps, out);
    params.bias = bias == nullptr ? nullptr : Floats(*bias);
    PINGTI_RETURN_IF_CUDA_ERROR(kernels::LaunchLayerNorm(params, stream_));
    return absl::OkStatus();
  }

  // `num_rows`: on the device, how many rows there are; null: all.
  absl::Status RunActivation(kernels::ActivationKind kind, bool gated, MatrixView x,
                             const Operand& out, const int32_t* num_rows) {
    PINGTI_CHECK(HasFormOfKernels(out));
    kernels::ActivationParams params;
    params.kind = kind;
    params.gated = gated;
    params.x = x.data;
    params.x_stride = x.stride;
    params.out = out.values.data;
    params.out_stride = out.values.stride;
    params.quantized = static_cast<int8_t*>(out.quantized.values);
    params.quantized_stride = out.quantized.stride;
    params.scales = out.quantized.scales;
    params.num_tokens = static_cast<int32_t>(out.values.rows);
    params.row_limit = num_rows;
    params.width = static_cast<int32_t>(out.values.cols);
    PINGTI_RETURN_IF_CUDA_ERROR(kernels::LaunchActivation(params, stream_));
    return absl::OkStatus();
  }

  const CudaBackendOptions options_;
  cudaStream_t stream_ = nullptr;
  std::unique_ptr<CudaLinear> linear_;
  CudaLora lora_;
  std::span<const int32_t> step_query_start_;  // the caller's, see StepInputs
  std::span<const int32_t> step_adapter_slots_;
  std::optional<WeightUpload> upload_;  // while loading
  StepLimits limits_;                   // of the workspace
  StepArrays arrays_;
  CudaAttention attention_;
  CudaLatent latent_;
  CudaExperts experts_;
  CudaSampler sampler_;
  CudaPartSampler part_sampler_;
  KvTransfer transfer_;
  StepGraphs graphs_;
  std::unique_ptr<CudaBuffer> rows_;  // int32 [max_tokens], of GatherRows
};

absl::StatusOr<cudaDeviceProp> FindDevice(int device) {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess || count == 0) {
    cudaGetLastError();
    return absl::NotFoundError(Concat("no CUDA device", error == cudaSuccess ? "" : ": ",
                                      error == cudaSuccess ? "" : cudaGetErrorString(error)));
  }
  if (device < 0 || device >= count) {
    return absl::InvalidArgumentError(Concat("gpu_index is ", device, ": this process sees ", count,
                                             " CUDA devices; expected 0 to ", count - 1));
  }
  cudaDeviceProp facts{};
  PINGTI_RETURN_IF_CUDA_ERROR(cudaGetDeviceProperties(&facts, device));
  if (facts.major * 10 + facts.minor < kMinComputeCapability) {
    return absl::UnimplementedError(Concat("CUDA device '", std::string(facts.name),
                                           "' has compute capability ", facts.major, ".",
                                           facts.minor, "; expected at least 8.0"));
  }
  return facts;
}

}  // namespace
}  // namespace cuda

absl::StatusOr<std::unique_ptr<Backend>> MakeCudaBackend(const CudaBackendOptions& options) {
  PINGTI_RETURN_IF_ERROR(cuda::FindDevice(options.device).status());
  return cuda::CudaBackend::Make(options);
}

absl::StatusOr<CudaDeviceFacts> ReadCudaDevice(int device) {
  PINGTI_ASSIGN_OR_RETURN(const cudaDeviceProp facts, cuda::FindDevice(device));
  PINGTI_RETURN_IF_CUDA_ERROR(cudaSetDevice(device));
  size_t free = 0;
  size_t total = 0;
  PINGTI_RETURN_IF_CUDA_ERROR(cudaMemGetInfo(&free, &total));
  return CudaDeviceFacts{facts.name, static_cast<int64_t>(total), static_cast<int64_t>(free)};
}

}  // namespace pingti::worker
