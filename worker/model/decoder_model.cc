#include "worker/model/decoder_model.h"

#include <algorithm>
#include <functional>
#include <initializer_list>
#include <utility>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"

namespace pingti::worker {

DecoderModel::DecoderModel(ModelConfig config, WeightFormat format, KvFormat kv_format,
                           Backend* backend, std::unique_ptr<Communicator> comm,
                           DecoderWeights weights, RotarySpec rotary)
    : config_(std::move(config)),
      format_(format),
      kv_format_(kv_format),
      backend_(backend),
      comm_(std::move(comm)),
      weights_(std::move(weights)),
      rotary_(std::move(rotary)) {}

DecoderModel::~DecoderModel() = default;

KvCacheShape DecoderModel::CacheShape(int64_t num_blocks, int64_t block_tokens) const {
  KvCacheShape shape{{}, num_blocks, block_tokens, format_, kv_format_};
  for (const int64_t window : config_.window) {
    shape.layers.push_back(KeyValueLayer(config_.num_kv_heads, config_.head_dim, window));
  }
  return shape;
}

int64_t DecoderModel::KvBytesPerBlock(int32_t kv_block_tokens) const {
  return backend_->KvBytesPerBlock(CacheShape(1, kv_block_tokens));
}

StepLimits DecoderModel::Limits(int64_t max_tokens, int64_t max_seqs) const {
  StepLimits limits;
  limits.max_tokens = max_tokens;
  limits.max_seqs = max_seqs;
  limits.max_in_features = std::max(
      {config_.hidden_size, config_.num_heads * config_.head_dim, config_.intermediate_size});
  // A sequence may hold a block more than its tokens fill: the one that it is about to write.
  limits.max_blocks_per_seq =
      num_blocks_ == 0
          ? 0
          : std::min(num_blocks_, (config_.max_context + block_tokens_ - 1) / block_tokens_) + 1;
  limits.num_heads = config_.num_heads;
  limits.num_kv_heads = config_.num_kv_heads;
  limits.head_dim = config_.head_dim;
  limits.vocab_size = config_.vocab_size;
  return limits;
}

int64_t DecoderModel::WorkspaceBytes(int32_t max_batch_tokens, int32_t max_batch_size) const {
  const int64_t heads = config_.num_heads * config_.head_dim;
  const int64_t kv = config_.num_kv_heads * config_.head_dim;
  const int64_t row = 4 * config_.hidden_size + 2 * heads + 2 * kv + 3 * config_.intermediate_size;
  int64_t quantized = 0;
  for (const QuantizedColumn& column : QuantizedColumns()) {
    quantized += QuantizedBytes(column.type, max_batch_tokens, column.cols);
  }
  return max_batch_tokens * row * BlockBytes(backend_->activation_dtype()) + quantized +
         max_batch_size * config_.vocab_size * int64_t{sizeof(float)} +
         backend_->WorkspaceBytes(Limits(max_batch_tokens, max_batch_size));
}

OperandType DecoderModel::OperandTypeOf(
    std::initializer_list<std::unique_ptr<LinearWeight> DecoderLayerWeights::*> readers) const {
  for (const DecoderLayer& layer : weights_.layers) {
    for (const auto reader : readers) {
      const OperandType type = (layer.weights().*reader)->operand_type();
      if (type.quant != QuantType::kNone) return type;
    }
  }
  return {};
}

std::array<DecoderModel::QuantizedColumn, 4> DecoderModel::QuantizedColumns() const {
  using Weights = DecoderLayerWeights;
  const int64_t hidden = config_.hidden_size;
  return {{{OperandTypeOf({&Weights::qkv, &Weights::gate_up}), hidden},
           {OperandTypeOf({&Weights::o}), config_.num_heads * config_.head_dim},
           {OperandTypeOf({&Weights::down}), config_.intermediate_size},
           {weights_.lm_head->operand_type(), hidden}}};
}

absl::Status DecoderModel::AllocateQuantized() {
  const std::array<QuantizedView*, 4> views{&activations_.normed.quantized,
                                            &activations_.context.quantized,
                                            &activations_.hidden.quantized, &final_quantized_};
  const std::array<QuantizedColumn, 4> columns = QuantizedColumns();
  for (size_t i = 0; i < columns.size(); ++i) {
    const auto [type, cols] = columns[i];
    PINGTI_ASSIGN_OR_RETURN(std::unique_ptr<DeviceBuffer> buffer,
                            backend_->Allocate(QuantizedBytes(type, max_tokens_, cols)));
    *views[i] = PlaceQuantized(type, buffer->data(), max_tokens_, cols);
    buffers_.push_back(std::move(buffer));
  }
  return absl::OkStatus();
}

absl::Status DecoderModel::AllocateMatrix(int64_t rows, int64_t cols, DType dtype,
                                          MatrixView* matrix) {
  PINGTI_ASSIGN_OR_RETURN(std::unique_ptr<DeviceBuffer> buffer,
                          backend_->Allocate(rows * cols * BlockBytes(dtype)));
  *matrix = {buffer->data(), dtype, rows, cols, cols};
  buffers_.push_back(std::move(buffer));
  return absl::OkStatus();
}

absl::Status DecoderModel::Allocate(int32_t num_blocks, int32_t kv_block_tokens,
                                    int32_t max_batch_tokens, int32_t max_batch_size) {
  if (num_blocks < 1 || kv_block_tokens < 1 || max_batch_tokens < 1 || max_batch_size < 1) {
    return absl::InvalidArgumentError(
        Concat("KV blocks ", num_blocks, ", tokens per block ", kv_block_tokens, ", batch tokens ",
               max_batch_tokens, ", batch size ", max_batch_size, "; expected at least 1 of each"));
  }
  num_blocks_ = num_blocks;
  block_tokens_ = kv_block_tokens;
  max_tokens_ = max_batch_tokens;
  max_seqs_ = max_batch_size;
  buffers_.clear();
  PINGTI_ASSIGN_OR_RETURN(cache_,
                          backend_->AllocateKvCache(CacheShape(num_blocks, kv_block_tokens)));
  const int64_t heads = config_.num_heads * config_.head_dim;
  const int64_t qkv = heads + 2 * config_.num_kv_heads * config_.head_dim;
  PINGTI_RETURN_IF_ERROR(backend_->AllocateWorkspace(Limits(max_tokens_, max_seqs_)));
  struct Wanted {
    MatrixView* matrix;
    int64_t cols;
  };
  const Wanted wanted[] = {
      {&activations_.residual, config_.hidden_size},
      {&activations_.delta, config_.hidden_size},
      {&activations_.normed.values, config_.hidden_size},
      {&activations_.qkv, qkv},
      {&activations_.context.values, heads},
      {&activations_.gate_up, 2 * config_.intermediate_size},
      {&activations_.hidden.values, config_.intermediate_size},
      {&gathered_, config_.hidden_size},
  };
  for (const Wanted& want : wanted) {
    PINGTI_RETURN_IF_ERROR(
        AllocateMatrix(max_tokens_, want.cols, backend_->activation_dtype(), want.matrix));
  }
  PINGTI_RETURN_IF_ERROR(AllocateQuantized());
  const auto rope_values = static_cast<size_t>(max_tokens_ * config_.head_dim / 2);
  rope_cos_.resize(rope_values);
  rope_sin_.resize(rope_values);
  return AllocateMatrix(std::min(max_tokens_, max_seqs_), config_.vocab_size, DType::kF32,
                        &seq_logits_);
}

// More rows than sequences are rare (prompt log-probabilities), so they are not paid for up front;
// they get memory of their own, since recorded steps hold the address of the usual rows.
absl::Status DecoderModel::PlaceLogits(int64_t rows) {
  if (rows <= seq_logits_.rows) {
    logits_ = seq_logits_.Rows(0, rows);
    return absl::OkStatus();
  }
  const int64_t bytes = rows * config_.vocab_size * int64_t{sizeof(float)};
  if (many_logits_ == nullptr || many_logits_->bytes() < bytes) {
    PINGTI_ASSIGN_OR_RETURN(many_logits_, backend_->Allocate(bytes));
  }
  logits_ = {many_logits_->data(), DType::kF32, rows, config_.vocab_size, config_.vocab_size};
  return absl::OkStatus();
}

absl::Status DecoderModel::CheckBatch(const ForwardBatch& batch) const {
  PINGTI_CHECK_MSG(cache_ != nullptr, "Allocate comes before Forward");
  if (batch.num_tokens() > max_tokens_ || batch.num_seqs() > max_seqs_) {
    return absl::InvalidArgumentError(Concat("batch of ", batch.num_tokens(), " tokens of ",
                                             batch.num_seqs(), " sequences; allocated for ",
                                             max_tokens_, " and ", max_seqs_));
  }
  PINGTI_CHECK(batch.query_start.size() == batch.context_len.size() + 1 &&
               batch.positions.size() == batch.token_ids.size() &&
               batch.block_table.size() ==
                   batch.context_len.size() * static_cast<size_t>(batch.max_blocks_per_seq));
  for (int32_t s = 0; s < batch.num_seqs(); ++s) {
    const auto i = static_cast<size_t>(s);
    const int32_t last = batch.query_start[i + 1] - 1;
    PINGTI_CHECK(last >= batch.query_start[i] && last < batch.num_tokens());
    PINGTI_CHECK(batch.positions[static_cast<size_t>(last)] + 1 == batch.context_len[i] &&
                 batch.context_len[i] <= config_.max_context);
    const int64_t blocks = (batch.context_len[i] + block_tokens_ - 1) / block_tokens_;
    PINGTI_CHECK(blocks <= batch.max_blocks_per_seq);
    for (int64_t b = 0; b < blocks; ++b) {
      const int32_t block = batch.block_table[i * static_cast<size_t>(batch.max_blocks_per_seq) +
                                              static_cast<size_t>(b)];
      PINGTI_CHECK(block >= 0 && block < num_blocks_);
    }
  }
  return absl::OkStatus();
}

StepInputs DecoderModel::MakeStep(const ForwardBatch& batch) {
  const size_t rope_values = batch.positions.size() * static_cast<size_t>(rotary_.half_dim());
  const std::span<float> cos = std::span(rope_cos_).first(rope_values);
  const std::span<float> sin = std::span(rope_sin_).first(rope_values);
  rotary_.Fill(batch.positions, cos, sin);
  return {batch.token_ids,
          batch.positions,
          batch.query_start,
          batch.context_len,
          batch.block_table,
          batch.max_blocks_per_seq,
          cos,
          sin,
          static_cast<int32_t>(block_tokens_)};
}

absl::Status DecoderModel::Forward(const ForwardBatch& batch, std::span<const BlockCopy> copies) {
  PINGTI_RETURN_IF_ERROR(CheckBatch(batch));
  logits_.rows = 0;
  PINGTI_RETURN_IF_ERROR(backend_->BeginStep(MakeStep(batch)));
  PINGTI_RETURN_IF_ERROR(backend_->CopyBlocks(*cache_, copies));
  const int64_t tokens = batch.num_tokens();
  if (tokens == 0) return absl::OkStatus();
  DecoderActivations act = activations_;
  for (MatrixView* matrix : {&act.residual, &act.delta, &act.qkv, &act.gate_up}) {
    *matrix = matrix->Rows(0, tokens);
  }
  for (Operand* operand : {&act.normed, &act.context, &act.hidden}) {
    *operand = operand->Rows(0, tokens);
  }
  const auto rows = static_cast<int64_t>(batch.logit_tokens.size());
  PINGTI_RETURN_IF_ERROR(PlaceLogits(rows));
  const auto operations = [&]() -> absl::Status {
    PINGTI_RETURN_IF_ERROR(backend_->Embed(*weights_.embedding, act.residual));
    for (const DecoderLayer& layer : weights_.layers) {
      PINGTI_RETURN_IF_ERROR(layer.Forward(*backend_, *comm_, *cache_, act));
    }
    return ComputeLogits(batch, act);
  };
  // By reference: a copy of the lambda would not fit into a std::function without an allocation.
  return backend_->Issue(ShapeOf(batch), std::cref(operations));
}

std::optional<StepShape> DecoderModel::ShapeOf(const ForwardBatch& batch) const {
  const StepShape shape{batch.num_seqs(), batch.query_start[1],
                        static_cast<int32_t>(batch.logit_tokens.size())};
  for (int32_t s = 0; s <= shape.num_seqs; ++s) {
    if (batch.query_start[static_cast<size_t>(s)] != s * shape.query_len) return std::nullopt;
  }
  // Fewer rows are gathered by a list that is not among the step's arrays; more rows than
  // sequences lie in memory that may move.
  if (shape.num_rows != shape.num_tokens() || shape.num_rows > seq_logits_.rows) {
    return std::nullopt;
  }
  return shape;
}

absl::Status DecoderModel::ComputeLogits(const ForwardBatch& batch, const DecoderActivations& act) {
  const int64_t rows = logits_.rows;
  if (rows == 0) return absl::OkStatus();
  MatrixView delta = act.delta;
  MatrixView residual = act.residual;
  if (rows < batch.num_tokens()) {
    // Only the rows that are asked for are finished: of a prompt, that is one.
    delta = act.normed.values.Rows(0, rows);  // the layers are done with it
    residual = gathered_.Rows(0, rows);
    PINGTI_RETURN_IF_ERROR(backend_->GatherRows(act.delta, batch.logit_tokens, delta));
    PINGTI_RETURN_IF_ERROR(backend_->GatherRows(act.residual, batch.logit_tokens, residual));
  }
  const Operand normed{act.delta.Rows(0, rows), final_quantized_};
  PINGTI_RETURN_IF_ERROR(backend_->AddRmsNorm(delta, residual, *weights_.final_norm,
                                              static_cast<float>(config_.rms_norm_eps), normed));
  return backend_->Linear(*weights_.lm_head, normed, logits_);
}

absl::Status DecoderModel::Sample(std::span<const SamplingRow> rows,
                                  std::span<SampledToken> sampled) {
  PINGTI_CHECK(static_cast<int64_t>(rows.size()) == logits_.rows && rows.size() == sampled.size());
  if (rows.empty()) return absl::OkStatus();
  return backend_->Sample(logits_, rows, sampled);
}

absl::Status DecoderModel::Logprobs(std::span<const LogprobRequest> requests,
                                    std::span<SampledToken> results) {
  PINGTI_CHECK(requests.size() == results.size());
  if (requests.empty()) return absl::OkStatus();
  return backend_->Logprobs(logits_, requests, results);
}

}  // namespace pingti::worker
