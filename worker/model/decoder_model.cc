#include "worker/model/decoder_model.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/model/recorded_shapes.h"
#include "worker/model/rope_spec.h"

namespace pingti::worker {
namespace {

constexpr int64_t kLogitRowsAtOnce = 64;  // by which memory for many rows grows
constexpr int64_t kMaxSpareBlocks = 8;    // of a sequence, of a draft head

struct SlotImage : AdapterImage {
  explicit SlotImage(std::shared_ptr<const LoraImage> image) : lora(std::move(image)) {}
  const std::shared_ptr<const LoraImage> lora;
};

}  // namespace

DecoderModel::DecoderModel(const DecoderSpec& spec, WeightFormat format, KvFormat kv_format,
                           Backend* backend, std::unique_ptr<Communicator> comm,
                           DecoderBlocks blocks, std::unique_ptr<HeadRunner> head,
                           bool finishes_rows)
    : hidden_size_(spec.hidden_size),
      vocab_size_(spec.vocab_size),
      head_(spec.vocabulary_share.value_or(VocabularyShare{0, spec.vocab_size, spec.vocab_size})),
      max_context_(spec.max_context),
      format_(format),
      kv_format_(kv_format),
      backend_(backend),
      comm_(std::move(comm)),
      sampler_(head_, vocab_size_, backend, comm_.get()),
      blocks_(std::move(blocks)),
      expert_counts_(&blocks_),
      draft_head_(std::move(head)),
      finishes_rows_(finishes_rows),
      rotary_(MakeRotarySpec(spec)) {
  blocks_.DeclareColumns(&plan_);
  for (const WeightSpec& weight : DeclaredWeights(spec)) {
    max_in_features_ = std::max(max_in_features_, weight.cols);
  }
  if (draft_head_ != nullptr)
    max_in_features_ = std::max(max_in_features_, draft_head_->max_in_features());
}

DecoderModel::~DecoderModel() = default;

KvCacheShape DecoderModel::CacheShape(int64_t num_blocks, int64_t block_tokens) const {
  KvCacheShape shape{{}, num_blocks, block_tokens, format_, kv_format_};
  for (const DecoderLayer& layer : blocks_.layers()) shape.layers.push_back(layer.kv_shape());
  return shape;
}

int64_t DecoderModel::KvBytesPerBlock(int32_t kv_block_tokens) const {
  return backend_->KvBytesPerBlock(CacheShape(1, kv_block_tokens)) +
         (draft_head_ == nullptr ? 0 : draft_head_->KvBytesPerBlock(kv_block_tokens));
}

StepLimits DecoderModel::Limits(int64_t max_tokens, int64_t max_seqs) const {
  StepLimits limits;
  limits.max_tokens = max_tokens;
  limits.max_seqs = max_seqs;
  limits.max_in_features = max_in_features_;
  // A sequence may hold a block more than its tokens fill: the one that it is about to write.
  limits.max_blocks_per_seq =
      num_blocks_ == 0
          ? 0
          : std::min(num_blocks_, (max_context_ + block_tokens_ - 1) / block_tokens_) + 1;
  if (draft_head_ != nullptr) limits.max_blocks_per_seq += kMaxSpareBlocks;
  for (const DecoderLayer& layer : blocks_.layers()) layer.NeedLimits(&limits);
  limits.vocab_size = vocab_size_;
  limits.part_rows = sampler_.PartRows(max_tokens, max_seqs);
  limits.max_adapters = adapters_.max_adapters;
  return limits;
}

int64_t DecoderModel::WorkspaceBytes(int32_t max_batch_tokens, int32_t max_batch_size) const {
  return plan_.Bytes(backend_->activation_dtype(), max_batch_tokens) +
         max_batch_size * sampler_.row_stride() * int64_t{sizeof(float)} +
         sampler_.WorkspaceBytes(max_batch_tokens, max_batch_size) +
         backend_->WorkspaceBytes(Limits(max_batch_tokens, max_batch_size)) +
         (draft_head_ == nullptr ? 0
                                 : draft_head_->WorkspaceBytes(max_batch_tokens, max_batch_size));
}

absl::Status DecoderModel::AllocateAdapters(const AdapterLimits& limits) {
  PINGTI_CHECK(adapted_.empty());
  std::vector<LoraShape> shapes;
  std::vector<const LoraWeights**> places;
  for (DeclaredWeight& declared : blocks_.DeclareWeights()) {
    if (declared.lora == nullptr) continue;
    const LoraShape shape = LoraShapeOf(declared.spec, limits);
    // Few adapters have the vocabulary's ends: a model can do without.
    if (const absl::Status fits = backend_->CheckLora(shape);
        !fits.ok() && shape.use != LoraUse::kRows) {
      not_adapted_.emplace_back(std::move(declared.spec), fits);
      continue;
    }
    shapes.push_back(shape);
    places.push_back(declared.lora);
    adapted_.push_back(std::move(declared.spec));
  }
  PINGTI_ASSIGN_OR_RETURN(lora_slots_, backend_->AllocateLora(shapes));
  for (size_t i = 0; i < places.size(); ++i) *places[i] = &lora_slots_->product(i);
  adapters_ = limits;
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<const AdapterImage>> DecoderModel::PrepareAdapter(
    const Adapter& adapter) const {
  if (lora_slots_ == nullptr) return Model::PrepareAdapter(adapter);
  for (const auto& [weight, why] : not_adapted_) {
    if (!LoraMatricesOf(weight, adapter).empty()) return why;
  }
  PINGTI_ASSIGN_OR_RETURN(std::unique_ptr<LoraImage> image, lora_slots_->NewImage());
  for (size_t i = 0; i < adapted_.size(); ++i) {
    const LoraMatrices matrices = LoraMatricesOf(adapted_[i], adapter);
    if (matrices.empty()) continue;
    PINGTI_RETURN_IF_ERROR(lora_slots_->Fill(i, matrices, image.get()));
  }
  return std::make_shared<const SlotImage>(std::move(image));
}

absl::Status DecoderModel::SetAdapter(int32_t slot,
                                      const std::shared_ptr<const AdapterImage>& image) {
  PINGTI_CHECK(slot >= 0 && slot < adapters_.max_adapters && image != nullptr);
  return backend_->SetLora(*lora_slots_, slot, static_cast<const SlotImage&>(*image).lora);
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
  PINGTI_RETURN_IF_ERROR(backend_->AllocateWorkspace(Limits(max_tokens_, max_seqs_)));
  PINGTI_ASSIGN_OR_RETURN(activations_,
                          AllocateActivations(backend_, plan_, max_tokens_, &buffers_));
  const auto rope_values = static_cast<size_t>(max_tokens_ * rotary_.half_dim());
  rope_cos_.resize(rope_values);
  rope_sin_.resize(rope_values);
  const int64_t rows = std::min(max_tokens_, max_seqs_);
  const int64_t stride = sampler_.row_stride();
  PINGTI_ASSIGN_OR_RETURN(std::unique_ptr<DeviceBuffer> logits,
                          backend_->Allocate(rows * stride * int64_t{sizeof(float)}));
  seq_logits_ = {logits->data(), DType::kF32, rows, vocab_size_, stride};
  buffers_.push_back(std::move(logits));
  PINGTI_RETURN_IF_ERROR(sampler_.Allocate(max_tokens_, max_seqs_));
  if (draft_head_ == nullptr) return absl::OkStatus();
  return draft_head_->Allocate(num_blocks, kv_block_tokens, max_batch_tokens, max_batch_size,
                               Limits(max_tokens_, max_seqs_).max_blocks_per_seq);
}

// More rows than sequences (drafts, log-probabilities of prompts) are not paid for up front: they
// get memory of their own when they come up. Recorded steps hold its address.
absl::Status DecoderModel::PlaceLogits(int64_t rows) {
  if (rows <= seq_logits_.rows) {
    logits_ = seq_logits_.Rows(0, rows);
    return absl::OkStatus();
  }
  const int64_t row_bytes = sampler_.row_stride() * int64_t{sizeof(float)};
  if (many_logits_ == nullptr || many_logits_->bytes() < rows * row_bytes) {
    backend_->ForgetRecords();
    const int64_t with_reserve =
        (rows + kLogitRowsAtOnce - 1) / kLogitRowsAtOnce * kLogitRowsAtOnce;
    PINGTI_ASSIGN_OR_RETURN(many_logits_, backend_->Allocate(with_reserve * row_bytes));
  }
  logits_ = {many_logits_->data(), DType::kF32, rows, vocab_size_, sampler_.row_stride()};
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
  PINGTI_CHECK(batch.adapter_slots.empty() ||
               batch.adapter_slots.size() == batch.context_len.size());
  PINGTI_CHECK(std::all_of(
      batch.adapter_slots.begin(), batch.adapter_slots.end(),
      [&](int32_t slot) { return slot >= kNoAdapterSlot && slot < adapters_.max_adapters; }));
  for (int32_t s = 0; s < batch.num_seqs(); ++s) {
    const auto i = static_cast<size_t>(s);
    const int32_t last = batch.query_start[i + 1] - 1;
    PINGTI_CHECK(last >= batch.query_start[i] && last < batch.num_tokens());
    PINGTI_CHECK(batch.positions[static_cast<size_t>(last)] + 1 == batch.context_len[i] &&
                 batch.context_len[i] <= max_context_);
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
          static_cast<int32_t>(block_tokens_),
          std::nullopt,
          batch.adapter_slots};
}

absl::Status DecoderModel::Forward(const ForwardBatch& batch, std::span<const BlockCopy> copies) {
  PINGTI_RETURN_IF_ERROR(CheckBatch(batch));
  logits_.rows = 0;
  const auto rows = static_cast<int64_t>(batch.logit_tokens.size());
  highest_only_ = batch.highest_only && comm_->size() > 1;
  if (draft_head_ != nullptr) {
    PINGTI_RETURN_IF_ERROR(draft_head_->BeforeStep(batch.num_tokens(), copies));
  }
  StepInputs step = MakeStep(batch);
  step.padded = ShapeOf(batch);
  PINGTI_RETURN_IF_ERROR(backend_->BeginStep(step));
  PINGTI_RETURN_IF_ERROR(backend_->CopyBlocks(*cache_, copies));
  if (draft_head_ != nullptr) PINGTI_RETURN_IF_ERROR(draft_head_->CopyBlocks(copies));
  if (batch.num_tokens() == 0) return absl::OkStatus();
  const Activations act =
      activations_.Rows(step.padded.has_value() ? step.padded->num_tokens : batch.num_tokens());
  PINGTI_RETURN_IF_ERROR(PlaceLogits(step.padded.has_value() ? step.padded->num_tokens : rows));
  const auto operations = [&]() -> absl::Status {
    PINGTI_RETURN_IF_ERROR(
        blocks_.Embed(*backend_, *comm_, act.Values(Activation::kResidual, hidden_size_)));
    const int64_t tokens = act.Values(Activation::kResidual, hidden_size_).rows;
    PINGTI_RETURN_IF_ERROR(RunLayers(act, tokens));
    PINGTI_RETURN_IF_ERROR(ComputeLogits(batch, act));
    return MakeHeadStates(act, tokens);
  };
  // By reference: a copy of the lambda would not fit into a std::function without an allocation.
  const absl::Status status = backend_->Issue(step.padded, std::cref(operations));
  logits_.rows = rows;
  expert_counts_.AddTokens(batch.num_tokens());
  if (draft_head_ == nullptr || !status.ok()) return status;
  return draft_head_->KeepStates(batch.num_tokens());
}

absl::Status DecoderModel::RunLayers(const Activations& act, int64_t tokens) {
  const std::vector<DecoderLayer>& layers = blocks_.layers();
  for (size_t i = 0; i < layers.size(); ++i) {
    const MatrixView begins_with = HeadsPlaceFor(static_cast<int64_t>(i), tokens);
    PINGTI_RETURN_IF_ERROR(layers[i].Forward(*backend_, *comm_, *cache_, act, begins_with));
  }
  return absl::OkStatus();
}

MatrixView DecoderModel::HeadsPlaceFor(int64_t layer, int64_t tokens) const {
  if (draft_head_ == nullptr) return {};
  const std::vector<int64_t>& layers = draft_head_->spec().target_layers;
  const auto found = std::find(layers.begin(), layers.end(), layer);
  if (found == layers.end()) return {};
  return draft_head_->JoinedPlace(static_cast<size_t>(found - layers.begin()), tokens);
}

absl::Status DecoderModel::MakeHeadStates(const Activations& act, int64_t tokens) {
  if (draft_head_ == nullptr) return absl::OkStatus();
  const auto num_layers = static_cast<int64_t>(blocks_.layers().size());
  const MatrixView finished = HeadsPlaceFor(num_layers, tokens);
  if (finished.cols > 0) {
    PINGTI_RETURN_IF_ERROR(
        backend_->Copy(act.Values(Activation::kResidual, hidden_size_), finished));
  }
  return draft_head_->MakeStates(tokens);
}

std::optional<StepShape> DecoderModel::ShapeOf(const ForwardBatch& batch) const {
  // Fewer rows are gathered by a list that is not among the step's arrays.
  const bool all_rows = batch.logit_tokens.size() == batch.token_ids.size();
  if (!comm_->promises().can_be_recorded || !all_rows || batch.num_tokens() == 0) {
    return std::nullopt;
  }
  StepShape shape;
  shape.num_seqs = batch.num_seqs();
  shape.num_tokens = batch.num_tokens();
  shape.highest_only = highest_only_;
  shape.adapters = !batch.adapter_slots.empty();
  for (size_t s = 0; s < batch.context_len.size(); ++s) {
    shape.query_len = std::max(shape.query_len, batch.query_start[s + 1] - batch.query_start[s]);
  }
  shape.uniform = shape.num_seqs * shape.query_len == shape.num_tokens;
  return backend_->Padded(shape);
}

std::vector<StepShape> DecoderModel::RecordedSteps(int32_t max_tokens,
                                                   int32_t max_query_len) const {
  if (!comm_->promises().can_be_recorded) return {};
  const ShapeRange range{
      .max_seqs = static_cast<int32_t>(max_seqs_),
      .min_query_len = 2,
      .max_query_len = max_query_len,
      .max_tokens = static_cast<int32_t>(std::min<int64_t>(max_tokens, max_tokens_))};
  RecordedShapes shapes(backend_);
  shapes.Add(range, {});
  if (comm_->size() > 1) shapes.Add(range, {.highest_only = true});
  std::vector<StepShape> steps = shapes.Examples();
  std::stable_sort(steps.begin(), steps.end(), [](const StepShape& a, const StepShape& b) {
    return a.num_tokens > b.num_tokens;
  });
  return steps;
}

absl::Status DecoderModel::ComputeLogits(const ForwardBatch& batch, const Activations& act) {
  const int64_t rows = logits_.rows;
  if (rows == 0 && !finishes_rows_) return absl::OkStatus();
  MatrixView delta = act.Values(Activation::kDelta, hidden_size_);
  MatrixView residual = act.Values(Activation::kResidual, hidden_size_);
  std::span<const int32_t> tokens;  // that the rows are of; empty: all
  if (rows < residual.rows) {
    // Only the rows that are asked for are finished: of a prompt, that is one. The layers are done
    // with kNormed.
    const MatrixView all_delta =
        std::exchange(delta, act.Values(Activation::kNormed, hidden_size_).Rows(0, rows));
    const MatrixView all_residual =
        std::exchange(residual, act.Values(Activation::kGathered, hidden_size_).Rows(0, rows));
    PINGTI_RETURN_IF_ERROR(backend_->GatherRows(all_delta, batch.logit_tokens, delta));
    PINGTI_RETURN_IF_ERROR(backend_->GatherRows(all_residual, batch.logit_tokens, residual));
    if (finishes_rows_) PINGTI_RETURN_IF_ERROR(blocks_.Finish(*comm_, all_delta, all_residual));
    if (rows == 0) return absl::OkStatus();
    tokens = batch.logit_tokens;
  }
  const Operand normed{act.Values(Activation::kDelta, hidden_size_).Rows(0, rows),
                       act.Form(Activation::kFinal, hidden_size_)};
  PINGTI_RETURN_IF_ERROR(blocks_.Logits(*backend_, *comm_, tokens, delta, residual, normed,
                                        logits_.Columns(head_.first, head_.rows)));
  return sampler_.EndStep(logits_, highest_only_);
}

absl::Status DecoderModel::Sample(std::span<const SamplingRow> rows,
                                  std::span<SampledToken> sampled) {
  PINGTI_CHECK(static_cast<int64_t>(rows.size()) == logits_.rows && rows.size() == sampled.size());
  if (rows.empty()) return absl::OkStatus();
  if (!highest_only_) return sampler_.Sample(logits_, rows, sampled);
  PINGTI_CHECK(std::all_of(rows.begin(), rows.end(), TakesHighest));
  return sampler_.SampleHighest(sampled);
}

absl::Status DecoderModel::Logprobs(std::span<const LogprobRequest> requests,
                                    std::span<SampledToken> results) {
  PINGTI_CHECK(requests.size() == results.size());
  if (requests.empty()) return absl::OkStatus();
  PINGTI_CHECK(!highest_only_);
  return sampler_.Logprobs(logits_, requests, results);
}

absl::Status DecoderModel::HiddenStates(std::span<float> values) {
  // Where ComputeLogits leaves them, also when it ran from a record.
  const MatrixView rows =
      activations_.Values(Activation::kDelta, hidden_size_).Rows(0, logits_.rows);
  PINGTI_CHECK(static_cast<int64_t>(values.size()) == logits_.rows * rows.cols);
  if (values.empty()) return absl::OkStatus();
  return backend_->CopyToHost(rows, values);
}

}  // namespace pingti::worker
