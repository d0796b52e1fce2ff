#include "tools/quantize/layer_runner.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>
#include <variant>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "tools/quantize/int8_rows.h"
#include "worker/comm/communicator.h"
#include "worker/model/decoder_blocks.h"
#include "worker/model/load_model.h"
#include "worker/model/rope_spec.h"

namespace pingti::tools {
namespace {

using worker::DType;
using worker::MatrixView;
using worker::WeightFormat;

constexpr int64_t kSequenceTokens = 512;
constexpr int64_t kBlockTokens = 16;
constexpr int64_t kSampleRows = 256;  // the text's last rows, by which errors are measured

// Rows that are in host memory at a time.
constexpr int64_t kHostRows = 32;

// Row `r` of a dense matrix in host memory.
std::span<float> RowOf(std::vector<float>* values, int64_t r, int64_t cols) {
  return std::span(*values).subspan(static_cast<size_t>(r * cols), static_cast<size_t>(cols));
}

// A dense matrix in the memory of another.
MatrixView Reshaped(MatrixView memory, int64_t rows, int64_t cols) {
  return {memory.data, memory.dtype, rows, cols, cols};
}

size_t NumValues(MatrixView matrix) { return static_cast<size_t>(matrix.rows * matrix.cols); }

// The up projection's rows were divided by what the down projection's columns are multiplied with.
void MultiplyUp(const LayerPlan& plan, std::span<float> gate_up) {
  const std::vector<float>& by = plan.smoothing[static_cast<size_t>(LinearGroup::kDown)];
  const std::span<float> up = gate_up.subspan(gate_up.size() / 2);
  for (size_t c = 0; c < by.size(); ++c) up[c] *= by[c];
}

// The prepared weight of the group's product.
const worker::LinearWeight& WeightOf(worker::DecoderLayer* layer, LinearGroup group) {
  worker::Declarations declarations;
  layer->DeclareWeights(&declarations);
  const auto found = std::find_if(
      declarations.begin(), declarations.end(),
      [group](const worker::DeclaredWeight& d) { return d.spec.role == RoleOf(group); });
  PINGTI_CHECK(found != declarations.end());
  return **std::get<std::unique_ptr<worker::LinearWeight>*>(found->place);
}

}  // namespace

LayerRunner::LayerRunner(const worker::Checkpoint& checkpoint, worker::Backend* backend)
    : checkpoint_(checkpoint), spec_(checkpoint.spec()), backend_(backend) {
  const worker::TensorView* embedding = checkpoint_.Find(spec_.embedding + ".weight");
  PINGTI_CHECK(embedding != nullptr);
  const bool f32 = embedding->dtype == DType::kF32 && backend_->activation_dtype() == DType::kF32;
  format_ = f32 ? WeightFormat::kF32 : WeightFormat::kBf16;
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
  const auto longest = static_cast<size_t>(std::min(kSequenceTokens, spec_.max_context));
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
  const DType dtype = backend_->activation_dtype();
  PINGTI_ASSIGN_OR_RETURN(std::unique_ptr<worker::DeviceBuffer> buffer,
                          backend_->Allocate(rows * cols * worker::BlockBytes(dtype)));
  *matrix = {buffer->data(), dtype, rows, cols, cols};
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
  // All layers use what is allocated in turn, whatever their window.
  worker::StepLimits limits;
  worker::ActivationPlan plan;
  for (const worker::LayerSpec& layer : spec_.layers) {
    const worker::DecoderLayer block(layer, spec_.hidden_size, 0);
    block.NeedLimits(&limits);
    block.DeclareColumns(&plan);
  }
  worker::KvLayerShape kv =
      worker::DecoderLayer(spec_.layers.front(), spec_.hidden_size, 0).kv_shape();
  kv.window = 0;
  const worker::KvCacheShape cache{{kv}, num_seqs * blocks_per_seq, kBlockTokens, format_};
  PINGTI_ASSIGN_OR_RETURN(cache_, backend_->AllocateKvCache(cache));
  PINGTI_RETURN_IF_ERROR(AllocateSamples());

  limits.max_tokens = rows;
  limits.max_seqs = num_seqs;
  for (int64_t i = 0; i < spec_.num_layers(); ++i) {
    for (const SampleShape& shape : SampleShapes(i)) {
      limits.max_in_features = std::max(limits.max_in_features, shape.x_cols);
    }
  }
  limits.max_blocks_per_seq = blocks_per_seq;
  limits.vocab_size = spec_.vocab_size;
  limits.plain_operands = true;
  PINGTI_RETURN_IF_ERROR(backend_->AllocateWorkspace(limits));

  PINGTI_ASSIGN_OR_RETURN(activations_,
                          worker::AllocateActivations(backend_, plan, rows, &buffers_));
  original_ = activations_.Values(worker::Activation::kResidual, spec_.hidden_size);
  return AllocateMatrix(rows, spec_.hidden_size, &quantized_);
}

int64_t LayerRunner::sampled_tokens() const {
  return std::min(static_cast<int64_t>(token_ids_.size()) - calibration_rows_, kSampleRows);
}

PerGroup<LayerRunner::SampleShape> LayerRunner::SampleShapes(int64_t layer) const {
  PerGroup<SampleShape> shapes;
  const auto& experts = spec_.layers[static_cast<size_t>(layer)].experts;
  for (const worker::WeightSpec& weight : worker::DeclaredLayerWeights(spec_, layer)) {
    for (size_t g = 0; g < kNumGroups; ++g) {
      if (weight.role != RoleOf(static_cast<LinearGroup>(g))) continue;
      SampleShape& shape = shapes[g];
      shape = {sampled_tokens(), weight.cols, sampled_tokens(), weight.rows()};
      if (weight.experts == 0) continue;
      shape.y_cols /= weight.experts;
      shape.y_rows *= experts->routing.experts_per_token;
      if (weight.role == worker::WeightRole::kExpertsOut) shape.x_rows = shape.y_rows;
    }
  }
  return shapes;
}

absl::Status LayerRunner::AllocateSamples() {
  PerGroup<int64_t> x{};  // values of the largest layer
  PerGroup<int64_t> y{};
  for (int64_t layer = 0; layer < spec_.num_layers(); ++layer) {
    const PerGroup<SampleShape> shapes = SampleShapes(layer);
    for (size_t g = 0; g < kNumGroups; ++g) {
      x[g] = std::max(x[g], shapes[g].x_rows * shapes[g].x_cols);
      y[g] = std::max(y[g], shapes[g].y_rows * shapes[g].y_cols);
    }
  }
  for (size_t g = 0; g < kNumGroups; ++g) {
    if (x[g] == 0) continue;
    PINGTI_RETURN_IF_ERROR(AllocateMatrix(1, x[g], &sample_memory_[g].x));
    PINGTI_RETURN_IF_ERROR(AllocateMatrix(1, y[g], &sample_memory_[g].y));
  }
  PINGTI_RETURN_IF_ERROR(
      AllocateMatrix(1, *std::max_element(x.begin(), x.end()), &sample_in_memory_));
  return AllocateMatrix(1, *std::max_element(y.begin(), y.end()), &sample_out_memory_);
}

void LayerRunner::PlaceSamples(int64_t layer) {
  const PerGroup<SampleShape> shapes = SampleShapes(layer);
  for (size_t g = 0; g < kNumGroups; ++g) {
    const SampleShape& shape = shapes[g];
    samples_[g] = {};
    if (shape.x_rows == 0) continue;
    samples_[g].x = Reshaped(sample_memory_[g].x, shape.x_rows, shape.x_cols);
    samples_[g].y = Reshaped(sample_memory_[g].y, shape.y_rows, shape.y_cols);
  }
}

absl::Status LayerRunner::EmbedTokens() {
  worker::RotaryTable rotary(worker::MakeRotarySpec(spec_));
  const size_t rope_values = positions_.size() * static_cast<size_t>(rotary.half_dim());
  rope_cos_.resize(rope_values);
  rope_sin_.resize(rope_values);
  rotary.Fill(positions_, rope_cos_, rope_sin_);
  step_ = {token_ids_,   positions_,   query_start_,
           context_len_, block_table_, static_cast<int32_t>(kSequenceTokens / kBlockTokens),
           rope_cos_,    rope_sin_,    static_cast<int32_t>(kBlockTokens)};
  std::unique_ptr<worker::EmbeddingTable> table;
  worker::LoadOptions load;
  load.format = format_;
  PINGTI_RETURN_IF_ERROR(
      worker::LoadWeights(checkpoint_, backend_, load, {{worker::EmbeddingWeight(spec_), &table}}));
  PINGTI_RETURN_IF_ERROR(backend_->BeginStep(step_));
  PINGTI_RETURN_IF_ERROR(backend_->Embed(*table, original_));
  return backend_->Embed(*table, quantized_);
}

// The layer is the only one of its cache, and what it leaves to be added joins the residual at
// once.
absl::Status LayerRunner::RunLayer(const worker::DecoderLayer& layer, MatrixView residual) {
  worker::Activations act = activations_;
  act.Set(worker::Activation::kResidual, residual);
  const MatrixView delta = act.Values(worker::Activation::kDelta, spec_.hidden_size);
  worker::SingleRankCommunicator comm(backend_);
  PINGTI_RETURN_IF_ERROR(backend_->BeginStep(step_));
  PINGTI_RETURN_IF_ERROR(layer.Forward(*backend_, comm, *cache_, act));
  return backend_->Add(delta, residual);
}

absl::Status LayerRunner::CopyRows(MatrixView from, MatrixView to) {
  std::vector<int32_t> rows(static_cast<size_t>(from.rows));
  std::iota(rows.begin(), rows.end(), 0);
  return backend_->GatherRows(from, rows, to);
}

absl::Status LayerRunner::FindLargest(MatrixView matrix, std::vector<float>* largest) {
  largest->assign(static_cast<size_t>(matrix.cols), 0.0f);
  std::vector<float> values;
  for (int64_t first = 0; first < matrix.rows; first += kHostRows) {
    const MatrixView rows = matrix.Rows(first, std::min(kHostRows, matrix.rows - first));
    values.resize(NumValues(rows));
    PINGTI_RETURN_IF_ERROR(backend_->CopyToHost(rows, values));
    for (int64_t r = 0; r < rows.rows; ++r) {
      UpdateLargest(RowOf(&values, r, rows.cols), *largest);
    }
  }
  return absl::OkStatus();
}

absl::Status LayerRunner::Product(worker::DecoderLayer* layer, LinearGroup group, MatrixView x,
                                  MatrixView y) {
  const worker::LinearWeight& weight = WeightOf(layer, group);
  if (group == LinearGroup::kExpertsIn) {
    return backend_->ExpertLinear(weight, x, worker::RowOrder::kByToken, y);
  }
  if (group == LinearGroup::kExpertsOut) {
    return backend_->ExpertLinear(weight, x, worker::RowOrder::kByExpert, y);
  }
  return backend_->Linear(weight, x, y);
}

absl::Status LayerRunner::TakeSample(worker::DecoderLayer* layer, LinearGroup group,
                                     MatrixView input) {
  PINGTI_RETURN_IF_ERROR(
      FindLargest(input.Rows(0, calibration_rows_), &largest_[static_cast<size_t>(group)]));
  const Sample& sample = samples_[static_cast<size_t>(group)];
  PINGTI_RETURN_IF_ERROR(CopyRows(input.Rows(input.rows - sample.x.rows, sample.x.rows), sample.x));
  return Product(layer, group, sample.x, sample.y);
}

absl::Status LayerRunner::RouteSample(worker::DecoderLayer* layer) {
  if (layer->experts() == nullptr) return absl::OkStatus();
  const int64_t experts = layer->experts()->routing().num_experts;
  const MatrixView logits = activations_.Values(worker::Activation::kRouterLogits, experts);
  return layer->experts()->Route(*backend_,
                                 logits.Rows(logits.rows - sampled_tokens(), sampled_tokens()));
}

absl::Status LayerRunner::TakeExpertSamples(worker::DecoderLayer* layer, MatrixView normed) {
  const Sample& in = samples_[static_cast<size_t>(LinearGroup::kExpertsIn)];
  const Sample& out = samples_[static_cast<size_t>(LinearGroup::kExpertsOut)];
  PINGTI_RETURN_IF_ERROR(RouteSample(layer));
  PINGTI_RETURN_IF_ERROR(CopyRows(normed.Rows(normed.rows - in.x.rows, in.x.rows), in.x));
  PINGTI_RETURN_IF_ERROR(Product(layer, LinearGroup::kExpertsIn, in.x, in.y));
  PINGTI_RETURN_IF_ERROR(backend_->ActivateGated(layer->experts()->function(), in.y, out.x));
  return Product(layer, LinearGroup::kExpertsOut, out.x, out.y);
}

absl::Status LayerRunner::TakeSamplesBehind(worker::DecoderLayer* layer) {
  struct Source {
    LinearGroup group;
    worker::Activation input;
  };
  for (const Source& source : {Source{LinearGroup::kQueryUp, worker::Activation::kQueryLatent},
                               Source{LinearGroup::kO, worker::Activation::kContext},
                               Source{LinearGroup::kGateUp, worker::Activation::kNormed},
                               Source{LinearGroup::kDown, worker::Activation::kInner}}) {
    const Sample& sample = samples_[static_cast<size_t>(source.group)];
    if (sample.x.rows == 0) continue;
    PINGTI_RETURN_IF_ERROR(
        TakeSample(layer, source.group, activations_.Values(source.input, sample.x.cols)));
  }
  if (layer->experts() == nullptr) return absl::OkStatus();
  return TakeExpertSamples(layer,
                           activations_.Values(worker::Activation::kNormed, spec_.hidden_size));
}

absl::Status LayerRunner::RunOriginal(int64_t index, worker::DecoderLayer* layer) {
  PlaceSamples(index);
  const MatrixView normed = activations_.Values(worker::Activation::kNormed, spec_.hidden_size);
  PINGTI_RETURN_IF_ERROR(backend_->BeginStep(step_));
  PINGTI_RETURN_IF_ERROR(layer->attention_norm().Apply(*backend_, original_, normed));
  PINGTI_RETURN_IF_ERROR(TakeSample(layer, LinearGroup::kQkv, normed));
  PINGTI_RETURN_IF_ERROR(RunLayer(*layer, original_));
  // The layer leaves the inputs of its other products in the activations.
  return TakeSamplesBehind(layer);
}

absl::StatusOr<MatrixView> LayerRunner::SmoothedInput(LinearGroup group, const LayerPlan& plan) {
  const MatrixView x = samples_[static_cast<size_t>(group)].x;
  const std::vector<float>& by = plan.smoothing[static_cast<size_t>(group)];
  if (by.empty()) return x;
  const MatrixView smoothed = Reshaped(sample_in_memory_, x.rows, x.cols);
  std::vector<float> values;
  for (int64_t first = 0; first < x.rows; first += kHostRows) {
    const int64_t count = std::min(kHostRows, x.rows - first);
    values.resize(NumValues(x.Rows(first, count)));
    PINGTI_RETURN_IF_ERROR(backend_->CopyToHost(x.Rows(first, count), values));
    for (int64_t r = 0; r < count; ++r) {
      const std::span<float> row = RowOf(&values, r, x.cols);
      for (size_t c = 0; c < by.size(); ++c) row[c] /= by[c];
    }
    PINGTI_RETURN_IF_ERROR(backend_->CopyFromHost(values, smoothed.Rows(first, count)));
  }
  return smoothed;
}

absl::StatusOr<double> LayerRunner::ErrorOf(LinearGroup group, const LayerPlan& plan,
                                            MatrixView y) {
  const MatrixView expected = samples_[static_cast<size_t>(group)].y;
  RelativeErrorSum sum;
  std::vector<float> a;
  std::vector<float> b;
  for (int64_t first = 0; first < y.rows; first += kHostRows) {
    const int64_t count = std::min(kHostRows, y.rows - first);
    a.resize(NumValues(y.Rows(first, count)));
    b.resize(a.size());
    PINGTI_RETURN_IF_ERROR(backend_->CopyToHost(expected.Rows(first, count), a));
    PINGTI_RETURN_IF_ERROR(backend_->CopyToHost(y.Rows(first, count), b));
    for (int64_t r = 0; r < count; ++r) {
      if (group == LinearGroup::kGateUp) MultiplyUp(plan, RowOf(&b, r, y.cols));
      sum.Add(RowOf(&a, r, y.cols), RowOf(&b, r, y.cols));
    }
  }
  return sum.Value();
}

absl::StatusOr<PerGroup<std::optional<double>>> LayerRunner::Errors(worker::DecoderLayer* layer,
                                                                    const LayerPlan& plan) {
  PerGroup<std::optional<double>> errors;
  PINGTI_RETURN_IF_ERROR(backend_->BeginStep(step_));
  PINGTI_RETURN_IF_ERROR(RouteSample(layer));
  for (size_t g = 0; g < kNumGroups; ++g) {
    const auto group = static_cast<LinearGroup>(g);
    const Sample& sample = samples_[g];
    if (sample.x.rows == 0) continue;
    PINGTI_ASSIGN_OR_RETURN(const MatrixView x, SmoothedInput(group, plan));
    const MatrixView y = Reshaped(sample_out_memory_, sample.y.rows, sample.y.cols);
    PINGTI_RETURN_IF_ERROR(Product(layer, group, x, y));
    PINGTI_ASSIGN_OR_RETURN(errors[g], ErrorOf(group, plan, y));
  }
  return errors;
}

absl::Status LayerRunner::RunQuantized(const worker::DecoderLayer& layer) {
  return RunLayer(layer, quantized_);
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
