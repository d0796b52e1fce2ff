#include "tools/quantize/layer_runner.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "tools/quantize/int8_rows.h"
#include "worker/comm/communicator.h"
#include "worker/model/rope_spec.h"

namespace pingti::tools {
namespace {

using worker::DType;
using worker::MatrixView;
using worker::WeightFormat;

constexpr int64_t kSequenceTokens = 512;
constexpr int64_t kBlockTokens = 16;
constexpr int64_t kSampleRows = 256;  // the text's last rows, by which errors are measured

std::span<float> RowOf(MatrixView matrix, int64_t r) {
  return {static_cast<float*>(matrix.data) + r * matrix.stride, static_cast<size_t>(matrix.cols)};
}

void CopyRows(MatrixView from, MatrixView to) {
  for (int64_t r = 0; r < from.rows; ++r) {
    const std::span<float> source = RowOf(from, r);
    std::copy(source.begin(), source.end(), RowOf(to, r).begin());
  }
}

void DivideColumns(std::span<const float> by, MatrixView matrix) {
  for (int64_t r = 0; r < matrix.rows; ++r) {
    const std::span<float> row = RowOf(matrix, r);
    for (size_t c = 0; c < by.size(); ++c) row[c] /= by[c];
  }
}

const worker::LinearWeight& WeightOf(const worker::DecoderLayerWeights& weights,
                                     LinearGroup group) {
  switch (group) {
    case LinearGroup::kQkv:
      return *weights.qkv;
    case LinearGroup::kO:
      return *weights.o;
    case LinearGroup::kGateUp:
      return *weights.gate_up;
    case LinearGroup::kDown:
      break;
  }
  return *weights.down;
}

}  // namespace

LayerRunner::LayerRunner(const worker::Checkpoint& checkpoint, worker::Backend* backend)
    : checkpoint_(checkpoint), config_(checkpoint.config()), backend_(backend) {
  PINGTI_CHECK(backend_->activation_dtype() == DType::kF32);
  const worker::TensorView* embedding = checkpoint_.Find("model.embed_tokens.weight");
  PINGTI_CHECK(embedding != nullptr);
  format_ = embedding->dtype == DType::kF32 ? WeightFormat::kF32 : WeightFormat::kBf16;
}

absl::StatusOr<std::unique_ptr<LayerRunner>> LayerRunner::Make(const worker::Checkpoint& checkpoint,
                                                               worker::Backend* backend,
                                                               std::span<const int32_t> calibration,
                                                               std::span<const int32_t> text) {
  std::unique_ptr<LayerRunner> runner(new LayerRunner(checkpoint, backend));
  runner->AddSequences(calibration);
  runner->calibration_rows_ = static_cast<int64_t>(calibration.size());
  runner->AddSequences(text);
  PINGTI_RETURN_IF_ERROR(runner->Allocate());
  PINGTI_RETURN_IF_ERROR(runner->EmbedTokens());
  return runner;
}

void LayerRunner::AddSequences(std::span<const int32_t> ids) {
  const auto longest = static_cast<size_t>(std::min(kSequenceTokens, config_.max_context));
  for (size_t begin = 0; begin < ids.size(); begin += longest) {
    const size_t count = std::min(longest, ids.size() - begin);
    for (size_t i = 0; i < count; ++i) {
      token_ids_.push_back(ids[begin + i]);
      positions_.push_back(static_cast<int32_t>(i));
    }
    query_start_.push_back(static_cast<int32_t>(token_ids_.size()));
    context_len_.push_back(static_cast<int32_t>(count));
  }
}

absl::Status LayerRunner::AllocateMatrix(int64_t rows, int64_t cols, MatrixView* matrix) {
  PINGTI_ASSIGN_OR_RETURN(std::unique_ptr<worker::DeviceBuffer> buffer,
                          backend_->Allocate(rows * cols * int64_t{sizeof(float)}));
  *matrix = {buffer->data(), DType::kF32, rows, cols, cols};
  buffers_.push_back(std::move(buffer));
  return absl::OkStatus();
}

absl::Status LayerRunner::Allocate() {
  const auto rows = static_cast<int64_t>(token_ids_.size());
  const auto num_seqs = static_cast<int64_t>(context_len_.size());
  const int64_t blocks_per_seq = kSequenceTokens / kBlockTokens;
  for (int64_t b = 0; b < num_seqs * blocks_per_seq; ++b) {
    block_table_.push_back(static_cast<int32_t>(b));
  }
  const worker::KvCacheShape cache{
      1, config_.num_kv_heads, config_.head_dim, num_seqs * blocks_per_seq, kBlockTokens, format_};
  PINGTI_ASSIGN_OR_RETURN(cache_, backend_->AllocateKvCache(cache));

  const int64_t hidden = config_.hidden_size;
  const int64_t inner = config_.intermediate_size;
  const int64_t heads = config_.num_heads * config_.head_dim;
  const int64_t qkv = heads + 2 * config_.num_kv_heads * config_.head_dim;
  worker::StepLimits limits{rows,
                            num_seqs,
                            std::max({hidden, heads, inner}),
                            blocks_per_seq,
                            config_.num_heads,
                            config_.num_kv_heads,
                            config_.head_dim,
                            config_.vocab_size};
  PINGTI_RETURN_IF_ERROR(backend_->AllocateWorkspace(limits));

  worker::DecoderActivations& act = activations_;
  const int64_t sampled = std::min(rows - calibration_rows_, kSampleRows);
  const std::array<std::pair<MatrixView*, int64_t>, 8> by_token = {{{&original_, hidden},
                                                                    {&quantized_, hidden},
                                                                    {&act.delta, hidden},
                                                                    {&act.normed, hidden},
                                                                    {&act.qkv, qkv},
                                                                    {&act.context, heads},
                                                                    {&act.gate_up, 2 * inner},
                                                                    {&act.hidden, inner}}};
  for (const auto& [matrix, cols] : by_token) {
    PINGTI_RETURN_IF_ERROR(AllocateMatrix(rows, cols, matrix));
  }
  const PerGroup<std::pair<int64_t, int64_t>> shapes = {
      {{hidden, qkv}, {heads, hidden}, {hidden, 2 * inner}, {inner, hidden}}};
  for (size_t g = 0; g < kNumGroups; ++g) {
    PINGTI_RETURN_IF_ERROR(AllocateMatrix(sampled, shapes[g].first, &samples_[g].x));
    PINGTI_RETURN_IF_ERROR(AllocateMatrix(sampled, shapes[g].second, &samples_[g].y));
  }
  PINGTI_RETURN_IF_ERROR(AllocateMatrix(sampled, std::max({hidden, heads, inner}), &sample_in_));
  return AllocateMatrix(sampled, std::max({qkv, hidden, 2 * inner}), &sample_out_);
}

absl::Status LayerRunner::EmbedTokens() {
  worker::RotaryTable rotary(worker::MakeRotarySpec(config_));
  const size_t rope_values = positions_.size() * static_cast<size_t>(rotary.half_dim());
  rope_cos_.resize(rope_values);
  rope_sin_.resize(rope_values);
  rotary.Fill(positions_, rope_cos_, rope_sin_);
  step_ = {token_ids_,   positions_,   query_start_,
           context_len_, block_table_, static_cast<int32_t>(kSequenceTokens / kBlockTokens),
           rope_cos_,    rope_sin_,    static_cast<int32_t>(kBlockTokens)};
  worker::MatrixSource source;
  source.tensor = *checkpoint_.Find("model.embed_tokens.weight");
  PINGTI_ASSIGN_OR_RETURN(const auto table, backend_->PrepareEmbedding(source, format_));
  checkpoint_.Release(source.tensor);
  PINGTI_RETURN_IF_ERROR(backend_->BeginStep(step_));
  PINGTI_RETURN_IF_ERROR(backend_->Embed(*table, original_));
  CopyRows(original_, quantized_);
  return absl::OkStatus();
}

worker::AttentionShape LayerRunner::Attention(int64_t layer) const {
  return {config_.num_heads, config_.num_kv_heads, config_.head_dim,
          static_cast<float>(1.0 / std::sqrt(static_cast<double>(config_.head_dim))),
          config_.window[static_cast<size_t>(layer)]};
}

// The layer is the only one of its cache, and its MLP's output joins the residual at once.
absl::Status LayerRunner::RunLayer(const worker::DecoderLayer& layer, MatrixView residual) {
  worker::DecoderActivations act = activations_;
  act.residual = residual;
  worker::SingleRankCommunicator comm;
  PINGTI_RETURN_IF_ERROR(backend_->BeginStep(step_));
  PINGTI_RETURN_IF_ERROR(layer.Forward(*backend_, comm, *cache_, act));
  for (int64_t r = 0; r < residual.rows; ++r) {
    const std::span<float> out = RowOf(residual, r);
    const std::span<float> delta = RowOf(act.delta, r);
    for (size_t c = 0; c < out.size(); ++c) out[c] += delta[c];
  }
  return absl::OkStatus();
}

worker::DecoderLayer LayerRunner::MakeLayer(worker::DecoderLayerWeights weights,
                                            int64_t layer) const {
  return {0, std::move(weights), Attention(layer), static_cast<float>(config_.rms_norm_eps)};
}

absl::Status LayerRunner::TakeSample(const worker::DecoderLayerWeights& weights, LinearGroup group,
                                     MatrixView input) {
  std::vector<float>& largest = largest_[static_cast<size_t>(group)];
  largest.assign(static_cast<size_t>(input.cols), 0.0f);
  for (int64_t r = 0; r < calibration_rows_; ++r) UpdateLargest(RowOf(input, r), largest);
  const Sample& sample = samples_[static_cast<size_t>(group)];
  CopyRows(input.Rows(input.rows - sample.x.rows, sample.x.rows), sample.x);
  return backend_->Linear(WeightOf(weights, group), sample.x, sample.y);
}

absl::Status LayerRunner::RunOriginal(worker::DecoderLayerWeights weights, int64_t layer) {
  const worker::DecoderActivations& act = activations_;
  const worker::DecoderLayer block = MakeLayer(std::move(weights), layer);
  PINGTI_RETURN_IF_ERROR(backend_->BeginStep(step_));
  PINGTI_RETURN_IF_ERROR(backend_->RmsNorm(original_, *block.weights().input_norm,
                                           static_cast<float>(config_.rms_norm_eps), act.normed));
  PINGTI_RETURN_IF_ERROR(TakeSample(block.weights(), LinearGroup::kQkv, act.normed));
  PINGTI_RETURN_IF_ERROR(RunLayer(block, original_));
  // The layer leaves the inputs of its other products in the activations.
  PINGTI_RETURN_IF_ERROR(TakeSample(block.weights(), LinearGroup::kO, act.context));
  PINGTI_RETURN_IF_ERROR(TakeSample(block.weights(), LinearGroup::kGateUp, act.normed));
  return TakeSample(block.weights(), LinearGroup::kDown, act.hidden);
}

absl::StatusOr<PerGroup<double>> LayerRunner::Errors(const worker::DecoderLayerWeights& weights,
                                                     const LayerPlan& plan) {
  PerGroup<double> errors{};
  PINGTI_RETURN_IF_ERROR(backend_->BeginStep(step_));
  for (size_t g = 0; g < kNumGroups; ++g) {
    const auto group = static_cast<LinearGroup>(g);
    MatrixView x = sample_in_.Columns(0, samples_[g].x.cols);
    MatrixView y = sample_out_.Columns(0, samples_[g].y.cols);
    CopyRows(samples_[g].x, x);
    DivideColumns(plan.smoothing[g], x);
    PINGTI_RETURN_IF_ERROR(backend_->Linear(WeightOf(weights, group), x, y));
    if (group == LinearGroup::kGateUp) MultiplyUp(plan, y);
    RelativeErrorSum sum;
    for (int64_t r = 0; r < y.rows; ++r) sum.Add(RowOf(samples_[g].y, r), RowOf(y, r));
    errors[g] = sum.Value();
  }
  return errors;
}

// The up projection's rows are divided by what the down projection's columns are multiplied with.
void LayerRunner::MultiplyUp(const LayerPlan& plan, MatrixView gate_up) const {
  const std::vector<float>& by = plan.smoothing[static_cast<size_t>(LinearGroup::kDown)];
  for (int64_t r = 0; r < gate_up.rows; ++r) {
    const std::span<float> up = RowOf(gate_up, r).subspan(static_cast<size_t>(gate_up.cols / 2));
    for (size_t c = 0; c < by.size(); ++c) up[c] *= by[c];
  }
}

absl::Status LayerRunner::RunQuantized(worker::DecoderLayerWeights weights, int64_t layer) {
  return RunLayer(MakeLayer(std::move(weights), layer), quantized_);
}

absl::StatusOr<TextQuality> LayerRunner::CompareLogits() {
  LogitComparison comparison{checkpoint_, backend_, format_, original_, quantized_, {}};
  // A row predicts the token after it, if that is in the same sequence.
  for (size_t s = 0; s + 1 < query_start_.size(); ++s) {
    if (query_start_[s] < calibration_rows_) continue;
    for (int32_t row = query_start_[s]; row + 1 < query_start_[s + 1]; ++row) {
      comparison.targets.push_back({row, token_ids_[static_cast<size_t>(row) + 1]});
    }
  }
  return Compare(comparison);
}

}  // namespace pingti::tools
