#include "worker/backend/cpu/cpu_backend.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include "common/base/check.h"
#include "common/base/processors.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/backend/cpu/aligned_buffer.h"
#include "worker/backend/cpu/cpu_attention.h"
#include "worker/backend/cpu/cpu_experts.h"
#include "worker/backend/cpu/cpu_kernels.h"
#include "worker/backend/cpu/cpu_kv_cache.h"
#include "worker/backend/cpu/cpu_latent.h"
#include "worker/backend/cpu/cpu_linear.h"
#include "worker/backend/cpu/cpu_lora.h"
#include "worker/backend/cpu/cpu_part_sampler.h"
#include "worker/backend/cpu/cpu_sampler.h"
#include "worker/backend/cpu/step_tokens.h"
#include "worker/backend/cpu/thread_pool.h"
#include "worker/quant/source_rows.h"

namespace pingti::worker {
namespace cpu {
namespace {

class CpuBuffer : public DeviceBuffer {
 public:
  explicit CpuBuffer(AlignedBuffer buffer) : buffer_(std::move(buffer)) {}
  void* data() override { return buffer_.as<void>(); }
  const void* data() const override { return buffer_.as<void>(); }
  int64_t bytes() const override { return buffer_.bytes(); }

 private:
  AlignedBuffer buffer_;
};

// Rows are converted as they are looked up: a step needs few, and the file keeps them small. The
// source's memory must outlive the table.
class CpuEmbedding : public EmbeddingTable {
 public:
  explicit CpuEmbedding(EmbeddingSource source) : source_(std::move(source)) {}
  int64_t bytes() const override { return source_.rows.tensor.bytes; }
  int64_t vocab_size() const { return source_.vocab_size == 0 ? rows() : source_.vocab_size; }
  int64_t first_token() const { return source_.first_token; }
  void Lookup(int64_t token, float* out) const {
    const int64_t row = token - source_.first_token;
    if (row >= 0 && row < rows()) {
      SourceRows(source_.rows).ReadF32(row, row + 1, out);
    } else {
      std::fill_n(out, source_.rows.tensor.shape[1], 0.0f);
    }
  }

 private:
  int64_t rows() const { return source_.rows.tensor.shape[0]; }

  const EmbeddingSource source_;
};

float* Row(MatrixView matrix, int64_t row) {
  return static_cast<float*>(matrix.data) + row * matrix.stride;
}

const float* Floats(const DeviceBuffer& buffer) { return static_cast<const float*>(buffer.data()); }

class CpuBackend : public Backend {
 public:
  CpuBackend(int num_threads, const CpuKernels* kernels)
      : kernels_(kernels),
        pool_(num_threads),
        attention_(kernels, &pool_),
        latent_(kernels, &pool_),
        experts_(kernels, &pool_) {}

  std::string_view name() const override { return "cpu"; }
  DType activation_dtype() const override { return DType::kF32; }

  absl::StatusOr<std::unique_ptr<DeviceBuffer>> Allocate(int64_t bytes) override {
    PINGTI_ASSIGN_OR_RETURN(AlignedBuffer buffer, AlignedBuffer::Make(bytes));
    return std::make_unique<CpuBuffer>(std::move(buffer));
  }

  absl::StatusOr<std::unique_ptr<DeviceBuffer>> UploadF32(std::span<const float> values) override {
    PINGTI_ASSIGN_OR_RETURN(AlignedBuffer buffer,
                            AlignedBuffer::Make(static_cast<int64_t>(values.size_bytes())));
    std::copy(values.begin(), values.end(), buffer.as<float>());
    return std::make_unique<CpuBuffer>(std::move(buffer));
  }

  absl::StatusOr<std::unique_ptr<LinearWeight>> PrepareLinear(const LinearSource& source) override {
    return CpuLinearWeight::Make(source, &pool_);
  }

  absl::StatusOr<std::unique_ptr<LoraSlots>> AllocateLora(
      std::span<const LoraShape> products) override {
    for (const LoraShape& shape : products) PINGTI_RETURN_IF_ERROR(lora_stage_.Grow(shape));
    return std::make_unique<CpuLoraSlots>(products);
  }

  absl::Status CheckLora(const LoraShape& /*shape*/) const override { return absl::OkStatus(); }

  absl::Status SetLora(LoraSlots& slots, int32_t slot,
                       std::shared_ptr<const LoraImage> image) override {
    static_cast<CpuLoraSlots&>(slots).Set(slot, std::move(image));
    return absl::OkStatus();
  }

  absl::StatusOr<std::unique_ptr<EmbeddingTable>> PrepareEmbedding(
      const EmbeddingSource& source) override {
    PINGTI_RETURN_IF_ERROR(CheckMatrixSource(source.rows));
    return std::make_unique<CpuEmbedding>(source);
  }

  int64_t KvBytesPerBlock(const KvCacheShape& shape) const override {
    return CpuKvCache::BytesPerBlock(shape);
  }

  absl::StatusOr<std::unique_ptr<KvCache>> AllocateKvCache(const KvCacheShape& shape) override {
    return CpuKvCache::Make(shape, kernels_);
  }

  // The activations of products in another form, and the choice of experts.
  int64_t WorkspaceBytes(const StepLimits& limits) const override {
    return ActivationStage::BytesFor(limits) + CpuExperts::BytesFor(limits);
  }

  absl::Status AllocateWorkspace(const StepLimits& limits) override {
    PINGTI_RETURN_IF_ERROR(stage_.Allocate(limits));
    PINGTI_RETURN_IF_ERROR(experts_.Allocate(limits));
    return attention_.Allocate(limits.max_tokens, limits.max_seqs);
  }

  absl::Status CopyToHost(MatrixView matrix, std::span<float> values) override {
    PINGTI_CHECK(static_cast<int64_t>(values.size()) == matrix.rows * matrix.cols);
    for (int64_t r = 0; r < matrix.rows; ++r) {
      std::copy_n(Row(matrix, r), matrix.cols, values.data() + r * matrix.cols);
    }
    return absl::OkStatus();
  }

  absl::Status CopyFromHost(std::span<const float> values, MatrixView matrix) override {
    PINGTI_CHECK(static_cast<int64_t>(values.size()) == matrix.rows * matrix.cols);
    for (int64_t r = 0; r < matrix.rows; ++r) {
      std::copy_n(values.data() + r * matrix.cols, matrix.cols, Row(matrix, r));
    }
    return absl::OkStatus();
  }

  absl::Status ExportBlocks(const KvCache& cache, std::span<const int32_t> blocks,
                            std::span<std::byte> out) override {
    const auto& from = static_cast<const CpuKvCache&>(cache);
    PINGTI_RETURN_IF_ERROR(
        CheckBlocks(from.shape().num_blocks, from.block_layout(), blocks, out.size()));
    for (const int32_t block : blocks) {
      from.ExportBlock(block, out.data());
      out = out.subspan(static_cast<size_t>(from.block_layout().bytes));
    }
    return absl::OkStatus();
  }

  absl::Status ImportBlocks(KvCache& cache, std::span<const int32_t> blocks,
                            std::span<const std::byte> in) override {
    auto& to = static_cast<CpuKvCache&>(cache);
    PINGTI_RETURN_IF_ERROR(
        CheckBlocks(to.shape().num_blocks, to.block_layout(), blocks, in.size()));
    PINGTI_RETURN_IF_ERROR(CheckDistinct(to.shape().num_blocks, blocks));
    for (const int32_t block : blocks) {
      to.ImportBlock(block, in.data());
      in = in.subspan(static_cast<size_t>(to.block_layout().bytes));
    }
    return absl::OkStatus();
  }

  absl::Status BeginStep(const StepInputs& inputs) override {
    step_ = inputs;
    return absl::OkStatus();
  }

  absl::Status CopyBlocks(KvCache& cache, std::span<const BlockCopy> copies) override {
    for (const BlockCopy& copy : copies) static_cast<CpuKvCache&>(cache).CopyBlock(copy);
    return absl::OkStatus();
  }

  absl::Status Embed(const EmbeddingTable& table, MatrixView out) override {
    const auto& embedding = static_cast<const CpuEmbedding&>(table);
    for (int64_t t = 0; t < out.rows; ++t) {
      const int32_t id = step_.token_ids[static_cast<size_t>(t)];
      if (id < 0 || id >= embedding.vocab_size()) {
        return absl::InvalidArgumentError(
            Concat("token id ", id, "; expected 0 to ", embedding.vocab_size() - 1));
      }
    }
    pool_.RunRows(out.rows, [&](int64_t t) {
      embedding.Lookup(step_.token_ids[static_cast<size_t>(t)], Row(out, t));
    });
    return absl::OkStatus();
  }

  absl::Status RmsNorm(MatrixView x, const DeviceBuffer& weight, float eps,
                       const Operand& out) override {
    pool_.RunRows(x.rows, [&](int64_t t) {
      kernels_->rms_norm(Row(x, t), Floats(weight), eps, x.cols, Row(out.values, t));
      WriteForms(out, t);
    });
    return absl::OkStatus();
  }

  absl::Status AddRmsNorm(MatrixView delta, MatrixView residual, const DeviceBuffer& weight,
                          float eps, const Operand& out) override {
    pool_.RunRows(delta.rows, [&](int64_t t) {
      kernels_->add_in_place(Row(residual, t), Row(delta, t), delta.cols);
      kernels_->rms_norm(Row(residual, t), Floats(weight), eps, delta.cols, Row(out.values, t));
      WriteForms(out, t);
    });
    return absl::OkStatus();
  }

  absl::Status LayerNorm(MatrixView x, const DeviceBuffer& weight, const DeviceBuffer* bias,
                         float eps, const Operand& out) override {
    const float* offset = bias == nullptr ? nullptr : Floats(*bias);
    pool_.RunRows(x.rows, [&](int64_t t) {
      kernels_->layer_norm(Row(x, t), Floats(weight), offset, eps, x.cols, Row(out.values, t));
      WriteForms(out, t);
    });
    return absl::OkStatus();
  }

  absl::Status AddLayerNorm(MatrixView delta, MatrixView residual, const DeviceBuffer& weight,
                            const DeviceBuffer* bias, float eps, const Operand& out) override {
    PINGTI_RETURN_IF_ERROR(Add(delta, residual));
    return LayerNorm(residual, weight, bias, eps, out);
  }

  absl::Status Add(MatrixView delta, MatrixView sum) override {
    pool_.RunRows(delta.rows, [&](int64_t t) {
      kernels_->add_in_place(Row(sum, t), Row(delta, t), delta.cols);
    });
    return absl::OkStatus();
  }

  absl::Status Linear(const LinearWeight& weight, const Operand& x, MatrixView out) override {
    return RunLinear(static_cast<const CpuLinearWeight&>(weight), x, out, *kernels_, &pool_,
                     &stage_);
  }

  absl::Status AdaptedLogits(const LinearWeight& weight, const LoraWeights& adapters,
                             const Operand& x, std::span<const int32_t> tokens,
                             MatrixView logits) override {
    PINGTI_RETURN_IF_ERROR(Linear(weight, x, logits));
    return RunLora(static_cast<const CpuLoraWeights&>(adapters), step_, tokens, x.values, logits,
                   *kernels_, &pool_, &lora_stage_);
  }

  absl::Status AdaptedEmbed(const EmbeddingTable& table, const LoraWeights& adapters,
                            MatrixView out) override {
    PINGTI_RETURN_IF_ERROR(Embed(table, out));
    return EmbedLora(static_cast<const CpuLoraWeights&>(adapters), step_,
                     static_cast<const CpuEmbedding&>(table).first_token(), out, *kernels_, &pool_,
                     &lora_stage_);
  }

  absl::Status AdaptedLinear(const LinearWeight& weight, const LoraWeights& adapters,
                             const Operand& x, MatrixView out) override {
    PINGTI_RETURN_IF_ERROR(Linear(weight, x, out));
    return RunLora(static_cast<const CpuLoraWeights&>(adapters), step_, {}, x.values, out,
                   *kernels_, &pool_, &lora_stage_);
  }

  absl::Status RopeAndAppendKv(MatrixView qkv, const AttentionShape& shape, const HeadNorms& norms,
                               KvCache& cache, int64_t layer) override {
    auto& cpu_cache = static_cast<CpuKvCache&>(cache);
    PINGTI_CHECK(Fits(shape, cpu_cache.shape().layers[static_cast<size_t>(layer)]));
    ForEachToken(step_, &pool_, [&](int64_t seq, int64_t token) {
      AppendToken(qkv, shape, norms, cpu_cache, layer, seq, token);
    });
    return absl::OkStatus();
  }

  absl::Status Attention(MatrixView qkv, const AttentionShape& shape, const KvCache& cache,
                         int64_t layer, const Operand& out) override {
    const auto& cpu_cache = static_cast<const CpuKvCache&>(cache);
    PINGTI_CHECK(Fits(shape, cpu_cache.shape().layers[static_cast<size_t>(layer)]));
    PINGTI_RETURN_IF_ERROR(attention_.Run(step_, qkv, shape, cpu_cache, layer, out.values));
    if (out.quantized.type.quant == QuantType::kNone) return absl::OkStatus();
    pool_.RunRows(out.values.rows, [&](int64_t t) { WriteForms(out, t); });
    return absl::OkStatus();
  }

  absl::Status HeadLinear(const LinearWeight& weight, const HeadsView& x, const HeadsView& out,
                          const QuantizedView& form) override {
    PINGTI_RETURN_IF_ERROR(latent_.Linear(static_cast<const CpuLinearWeight&>(weight), x, out));
    if (form.type.quant == QuantType::kNone) return absl::OkStatus();
    pool_.RunRows(out.matrix.rows, [&](int64_t t) { WriteForms({out.matrix, form}, t); });
    return absl::OkStatus();
  }

  absl::Status RopeAndAppendLatent(const HeadsView& q, MatrixView kv,
                                   const LatentAttentionShape& shape,
                                   const DeviceBuffer& norm_weight, float eps, KvCache& cache,
                                   int64_t layer, const HeadsView& out) override {
    auto& cpu_cache = static_cast<CpuKvCache&>(cache);
    PINGTI_CHECK(Fits(shape, cpu_cache.shape().layers[static_cast<size_t>(layer)]));
    return latent_.RopeAndAppend(step_, q, kv, shape, Floats(norm_weight), eps, &cpu_cache, layer,
                                 out);
  }

  absl::Status LatentAttention(MatrixView q, const LatentAttentionShape& shape,
                               const KvCache& cache, int64_t layer, MatrixView out) override {
    const auto& cpu_cache = static_cast<const CpuKvCache&>(cache);
    PINGTI_CHECK(Fits(shape, cpu_cache.shape().layers[static_cast<size_t>(layer)]));
    return attention_.RunLatent(step_, q, shape, cpu_cache, layer, out);
  }

  absl::Status ActivateGated(ActivationFunction f, MatrixView gate_up,
                             const Operand& out) override {
    ActivateGatedRows(f, gate_up, out, out.values.rows);
    return absl::OkStatus();
  }

  absl::Status Activate(ActivationFunction f, MatrixView x, const Operand& out) override {
    pool_.RunRows(x.rows, [&](int64_t t) {
      kernels_->activate(f, Row(x, t), x.cols, Row(out.values, t));
      WriteForms(out, t);
    });
    return absl::OkStatus();
  }

  absl::Status RouteExperts(MatrixView logits, const ExpertRouting& routing,
                            const DeviceBuffer* bias, DeviceBuffer* counts) override {
    experts_.Route(logits, routing, bias == nullptr ? nullptr : Floats(*bias),
                   counts == nullptr ? nullptr : static_cast<float*>(counts->data()));
    return absl::OkStatus();
  }

  absl::Status ExpertLinear(const LinearWeight& weight, const Operand& x, RowOrder order,
                            MatrixView out) override {
    return experts_.Linear(static_cast<const CpuLinearWeight&>(weight), x, order, out, &stage_);
  }

  absl::Status AdaptedExpertLinear(const LinearWeight& weight, const LoraWeights& adapters,
                                   const Operand& x, RowOrder order, MatrixView out) override {
    PINGTI_RETURN_IF_ERROR(ExpertLinear(weight, x, order, out));
    return RunExpertLora(static_cast<const CpuLoraWeights&>(adapters), step_, experts_.rows(),
                         order, x.values, out, *kernels_, &pool_, &lora_stage_);
  }

  absl::Status ActivateExperts(ActivationFunction f, MatrixView gate_up,
                               const Operand& out) override {
    PINGTI_CHECK(experts_.num_rows() <= out.values.rows);
    ActivateGatedRows(f, gate_up, out, experts_.num_rows());
    return absl::OkStatus();
  }

  absl::Status CombineExperts(MatrixView rows, const SharedExpert& shared,
                              MatrixView out) override {
    experts_.Combine(rows, shared, out);
    return absl::OkStatus();
  }

  absl::Status Copy(MatrixView x, MatrixView out) override {
    for (int64_t r = 0; r < x.rows; ++r) std::copy_n(Row(x, r), x.cols, Row(out, r));
    return absl::OkStatus();
  }

  absl::Status GatherColumns(MatrixView x, const DeviceBuffer& columns, MatrixView out) override {
    const float* const column = Floats(columns);
    pool_.RunRows(out.rows, [&](int64_t r) {
      for (int64_t c = 0; c < out.cols; ++c) {
        Row(out, r)[c] = column[c] < 0.0f ? -std::numeric_limits<float>::infinity()
                                          : Row(x, r)[static_cast<int64_t>(column[c])];
      }
    });
    return absl::OkStatus();
  }

  absl::Status GatherRows(MatrixView x, std::span<const int32_t> rows, MatrixView out) override {
    for (size_t i = 0; i < rows.size(); ++i) {
      std::memcpy(Row(out, static_cast<int64_t>(i)), Row(x, rows[i]),
                  static_cast<size_t>(x.cols) * sizeof(float));
    }
    return absl::OkStatus();
  }

  absl::Status GatherStepRows(MatrixView x, MatrixView out) override {
    PINGTI_CHECK(static_cast<size_t>(out.rows) == step_.rows.size());
    return GatherRows(x, step_.rows, out);
  }

  absl::Status GatherLastRows(MatrixView x, MatrixView out) override {
    PINGTI_CHECK(static_cast<size_t>(out.rows) == step_.context_len.size());
    for (int64_t s = 0; s < out.rows; ++s) {
      const int64_t last = step_.query_start[static_cast<size_t>(s) + 1] - 1;
      std::memcpy(Row(out, s), Row(x, last), static_cast<size_t>(x.cols) * sizeof(float));
    }
    return absl::OkStatus();
  }

  absl::Status HighestOfRows(MatrixView x, MatrixView best) override {
    pool_.RunRows(x.rows, [&](int64_t r) {
      float value = -std::numeric_limits<float>::infinity();
      int64_t at = 0;
      bool has_nan = false;
      if (x.cols > 0) {
        at = kernels_->argmax(Row(x, r), x.cols, &has_nan);
        value = Row(x, r)[at];
      }
      Row(best, r)[0] = has_nan ? std::numeric_limits<float>::infinity() : value;
      Row(best, r)[1] = static_cast<float>(at);
    });
    return absl::OkStatus();
  }

  absl::Status Sample(MatrixView logits, std::span<const SamplingRow> rows,
                      std::span<SampledToken> sampled) override {
    PINGTI_CHECK(logits.rows == static_cast<int64_t>(rows.size()) && rows.size() == sampled.size());
    EnsureSamplers(logits.cols);
    pool_.Run(logits.rows, [&](int64_t r, int thread) {
      const auto i = static_cast<size_t>(r);
      samplers_[static_cast<size_t>(thread)].Sample(Row(logits, r), rows[i], &sampled[i]);
    });
    return absl::OkStatus();
  }

  absl::Status SampleParts(MatrixView logits, int64_t first_token,
                           std::span<const SamplingRow> rows, const PartsLayout& layout,
                           MatrixView records) override {
    PINGTI_CHECK(logits.rows == static_cast<int64_t>(rows.size()) && records.rows == logits.rows &&
                 records.cols == layout.cols());
    if (part_samplers_.empty() || part_size_ != logits.cols) {
      part_samplers_.clear();
      for (int i = 0; i < pool_.num_threads(); ++i) {
        part_samplers_.emplace_back(kernels_, logits.cols);
      }
      part_size_ = logits.cols;
    }
    pool_.Run(logits.rows, [&](int64_t r, int thread) {
      part_samplers_[static_cast<size_t>(thread)].Describe(
          {Row(logits, r), static_cast<size_t>(logits.cols)}, first_token,
          rows[static_cast<size_t>(r)], layout, Row(records, r));
    });
    return absl::OkStatus();
  }

  absl::Status Logprobs(MatrixView logits, std::span<const LogprobRequest> requests,
                        std::span<SampledToken> results) override {
    PINGTI_CHECK(requests.size() == results.size());
    for (const LogprobRequest& request : requests) {
      if (request.row < 0 || request.row >= logits.rows || request.token_id < 0 ||
          request.token_id >= logits.cols) {
        return absl::InvalidArgumentError(Concat("log-probability of token ", request.token_id,
                                                 " at row ", request.row, " of logits [",
                                                 logits.rows, ", ", logits.cols, "]"));
      }
    }
    EnsureSamplers(logits.cols);
    pool_.Run(static_cast<int64_t>(requests.size()), [&](int64_t r, int thread) {
      const auto i = static_cast<size_t>(r);
      results[i].logits_not_finite = false;
      samplers_[static_cast<size_t>(thread)].Logprobs(
          Row(logits, requests[i].row), requests[i].token_id, requests[i].num_top, &results[i]);
    });
    return absl::OkStatus();
  }

 private:
  // The other forms of a row whose values were written.
  void WriteForms(const Operand& out, int64_t row) {
    if (out.quantized.type.quant != QuantType::kNone) QuantizeOperandRow(out, row, *kernels_);
  }

  // The first `rows` rows.
  void ActivateGatedRows(ActivationFunction f, MatrixView gate_up, const Operand& out,
                         int64_t rows) {
    const int64_t width = out.values.cols;
    pool_.RunRows(rows, [&](int64_t t) {
      const float* gate = Row(gate_up, t);
      kernels_->activate_gated(f, gate, gate + width, width, Row(out.values, t));
      WriteForms(out, t);
    });
  }

  void AppendToken(MatrixView qkv, const AttentionShape& shape, const HeadNorms& norms,
                   CpuKvCache& cache, int64_t layer, int64_t seq, int64_t token) {
    const int64_t dim = shape.head_dim;
    const int64_t half = dim / 2;
    const float* cos = step_.rope_cos.data() + token * half;
    const float* sin = step_.rope_sin.data() + token * half;
    float* heads = Row(qkv, token);
    for (int64_t h = 0; h < shape.num_heads + shape.num_kv_heads; ++h) {
      float* head = heads + h * dim;
      const DeviceBuffer* norm = h < shape.num_heads ? norms.q : norms.k;
      if (norm != nullptr) kernels_->rms_norm(head, Floats(*norm), norms.eps, dim, head);
      kernels_->rope(head, cos, sin, half);
    }
    const CachePlace place = PlaceOf(step_, seq, token, cache.shape().block_tokens);
    const float* keys = heads + shape.num_heads * dim;
    const float* values = keys + shape.num_kv_heads * dim;
    for (int64_t h = 0; h < shape.num_kv_heads; ++h) {
      cache.Append(layer, place.block, place.offset, h, keys + h * dim, values + h * dim);
    }
  }

  void EnsureSamplers(int64_t vocab_size) {
    if (!samplers_.empty() && samplers_vocab_ == vocab_size) return;
    samplers_.clear();
    for (int i = 0; i < pool_.num_threads(); ++i) samplers_.emplace_back(kernels_, vocab_size);
    samplers_vocab_ = vocab_size;
  }

  const CpuKernels* const kernels_;
  ThreadPool pool_;
  ActivationStage stage_;
  LoraStage lora_stage_;
  CpuAttention attention_;
  CpuLatent latent_;
  CpuExperts experts_;
  std::vector<CpuSampler> samplers_;
  int64_t samplers_vocab_ = 0;
  std::vector<CpuPartSampler> part_samplers_;
  int64_t part_size_ = 0;
  StepInputs step_;
};

}  // namespace
}  // namespace cpu

absl::StatusOr<std::unique_ptr<Backend>> MakeCpuBackend(const CpuBackendOptions& options) {
  constexpr int kMaxThreads = 1024;
  if (options.num_threads < 0 || options.num_threads > kMaxThreads) {
    return absl::InvalidArgumentError(
        Concat("CPU backend: ", options.num_threads, " threads; expected 0 to ", kMaxThreads));
  }
  const cpu::CpuKernels* kernels =
      options.kernels.empty() ? cpu::BestKernels() : cpu::KernelsByName(options.kernels);
  if (kernels == nullptr) {
    return absl::UnimplementedError(
        Concat("CPU kernels '", options.kernels, "' do not exist or do not run on this processor"));
  }
  const int threads = options.num_threads > 0 ? options.num_threads : AvailableProcessors();
  return std::make_unique<cpu::CpuBackend>(threads, kernels);
}

}  // namespace pingti::worker
