#include "worker/model/head_runner.h"

#include <algorithm>
#include <functional>
#include <unordered_map>
#include <utility>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "worker/model/recorded_shapes.h"
#include "worker/model/rope_spec.h"

namespace pingti::worker {
namespace {

// So many states are read at once, so that the activations stay small; and as soon as there are so
// many, so that the first drafts after a pause do not wait for more.
constexpr int64_t kMaxTokens = 1024;
// Positions behind a sequence's own blocks that drafts may need keys and values for.
constexpr int64_t kMostAhead = 8;

int64_t TokensAtOnce(int64_t max_batch_tokens, int64_t max_batch_size) {
  return std::min(max_batch_tokens, std::max(max_batch_size, kMaxTokens));
}

}  // namespace

HeadRunner::HeadRunner(LoadedHead head, WeightFormat format, KvFormat kv_format, Backend* backend)
    : head_(std::move(head)),
      format_(format),
      kv_format_(kv_format),
      backend_(backend),
      comm_(backend),
      rotary_(MakeRotarySpec(head_.spec.decoder)) {
  head_.layers->DeclareColumns(&plan_);
  for (const DeclaredWeight& declared : head_.layers->DeclareWeights()) {
    max_in_features_ = std::max(max_in_features_, declared.spec.cols);
  }
}

KvCacheShape HeadRunner::CacheShape(int64_t num_blocks, int64_t block_tokens) const {
  return {{kv_shape()}, num_blocks, block_tokens, format_, kv_format_};
}

int64_t HeadRunner::KvBytesPerBlock(int64_t block_tokens) const {
  return backend_->KvBytesPerBlock(CacheShape(1, block_tokens));
}

int64_t HeadRunner::WorkspaceBytes(int64_t max_batch_tokens, int64_t max_batch_size) const {
  const DType dtype = backend_->activation_dtype();
  constexpr int64_t kLargeBlock = 64;  // a spare one of so many tokens
  const int64_t own_logits = head_.own_token == nullptr ? 0 : spec().own_vocabulary;
  return plan_.Bytes(dtype, TokensAtOnce(max_batch_tokens, max_batch_size)) +
         (max_batch_tokens * (spec().joined() + 2 * spec().hidden()) +
          TokensAtOnce(max_batch_tokens, max_batch_size) * spec().hidden()) *
             BlockBytes(dtype) +
         max_batch_size * (2 * spec().hidden() * BlockBytes(dtype) +
                           (own_logits + spec().decoder.vocab_size) * int64_t{sizeof(float)} +
                           KvBytesPerBlock(kLargeBlock));
}

absl::StatusOr<MatrixView> HeadRunner::AllocateMatrix(DType dtype, int64_t rows, int64_t cols) {
  PINGTI_ASSIGN_OR_RETURN(std::unique_ptr<DeviceBuffer> buffer,
                          backend_->Allocate(rows * cols * BlockBytes(dtype)));
  buffers_.push_back(std::move(buffer));
  return MatrixView{buffers_.back()->data(), dtype, rows, cols, cols};
}

absl::Status HeadRunner::Allocate(int32_t num_blocks, int32_t block_tokens,
                                  int32_t max_batch_tokens, int32_t max_batch_size,
                                  int64_t max_blocks_per_seq) {
  num_blocks_ = num_blocks;
  block_tokens_ = block_tokens;
  spare_blocks_ = static_cast<int32_t>((kMostAhead + block_tokens - 1) / block_tokens);
  max_tokens_ = static_cast<int32_t>(TokensAtOnce(max_batch_tokens, max_batch_size));
  max_blocks_per_seq_ = max_blocks_per_seq;
  unread_ = UnreadTokens(num_blocks, block_tokens);
  first_kept_ = num_kept_ = 0;
  buffers_.clear();
  const int64_t blocks = num_blocks + int64_t{spare_blocks_} * max_batch_size;
  PINGTI_ASSIGN_OR_RETURN(cache_, backend_->AllocateKvCache(CacheShape(blocks, block_tokens)));
  PINGTI_ASSIGN_OR_RETURN(activations_,
                          AllocateActivations(backend_, plan_, max_tokens_, &buffers_));
  const DType dtype = backend_->activation_dtype();
  const auto place = [&](MatrixView* view, DType type, int64_t rows, int64_t cols) -> absl::Status {
    PINGTI_ASSIGN_OR_RETURN(*view, AllocateMatrix(type, rows, cols));
    return absl::OkStatus();
  };
  PINGTI_RETURN_IF_ERROR(place(&joined_, dtype, max_batch_tokens, spec().joined()));
  PINGTI_RETURN_IF_ERROR(place(&model_states_, dtype, max_batch_tokens, spec().hidden()));
  PINGTI_RETURN_IF_ERROR(
      place(&kept_states_, dtype, int64_t{max_batch_tokens} + max_tokens_, spec().hidden()));
  PINGTI_RETURN_IF_ERROR(place(&own_states_, dtype, max_batch_size, spec().hidden()));
  PINGTI_RETURN_IF_ERROR(place(&deltas_, dtype, max_batch_size, spec().hidden()));
  if (head_.own_token != nullptr) {
    PINGTI_RETURN_IF_ERROR(place(&own_logits_, DType::kF32, max_batch_size, spec().own_vocabulary));
  }
  PINGTI_RETURN_IF_ERROR(place(&logits_, DType::kF32, max_batch_size, spec().decoder.vocab_size));
  const auto rope_values = static_cast<size_t>(max_tokens_ * rotary_.half_dim());
  rope_cos_.resize(rope_values);
  rope_sin_.resize(rope_values);
  return absl::OkStatus();
}

MatrixView HeadRunner::JoinedPlace(size_t index, int64_t tokens) const {
  return joined_.Rows(0, tokens).Columns(static_cast<int64_t>(index) * spec().target_hidden,
                                         spec().target_hidden);
}

absl::Status HeadRunner::BeforeStep(int32_t num_tokens, std::span<const BlockCopy> copies) {
  const bool is_copied = std::any_of(copies.begin(), copies.end(), [&](const BlockCopy& copy) {
    return unread_.AnyIn(copy.from) || unread_.AnyIn(copy.to);
  });
  const bool are_many = static_cast<int32_t>(unread_.all().size()) >= max_tokens_ ||
                        num_kept_ + num_tokens > kept_states_.rows;
  if (is_copied || are_many) PINGTI_RETURN_IF_ERROR(ReadAll());
  if (unread_.empty()) num_kept_ = 0;
  first_kept_ = num_kept_;
  return absl::OkStatus();
}

absl::Status HeadRunner::MakeStates(int64_t tokens) {
  return head_.layers->FirstStates(*backend_, joined_.Rows(0, tokens),
                                   model_states_.Rows(0, tokens));
}

absl::Status HeadRunner::KeepStates(int64_t tokens) {
  num_kept_ += static_cast<int32_t>(tokens);
  return backend_->Copy(model_states_.Rows(0, tokens), kept_states_.Rows(first_kept_, tokens));
}

void HeadRunner::Note(std::span<const UnreadToken> tokens) {
  for (UnreadToken token : tokens) {
    token.state += first_kept_;
    PINGTI_CHECK(token.state < num_kept_);
    unread_.Add(token);
  }
}

absl::Status HeadRunner::ReadAll() {
  absl::Status status;
  for (std::span<const UnreadToken> left = unread_.all(); !left.empty() && status.ok();) {
    const absl::StatusOr<size_t> count = ReadSome(left);
    status = count.status();
    if (status.ok()) left = left.subspan(*count);
  }
  unread_.Clear();
  return status;
}

absl::StatusOr<size_t> HeadRunner::ReadSome(std::span<const UnreadToken> tokens) {
  // They are one sequence, whose block table names their blocks in any order.
  std::vector<int32_t> ids, places, positions, blocks;
  std::unordered_map<int32_t, int32_t> entry_of_block;
  states_.clear();
  for (const UnreadToken& token :
       tokens.first(std::min(tokens.size(), static_cast<size_t>(max_tokens_)))) {
    const auto [entry, is_new] =
        entry_of_block.try_emplace(token.block, static_cast<int32_t>(blocks.size()));
    if (is_new && static_cast<int64_t>(blocks.size()) == max_blocks_per_seq_) break;
    if (is_new) blocks.push_back(token.block);
    ids.push_back(token.next_token);
    places.push_back(entry->second * block_tokens_ + token.offset);
    positions.push_back(token.position);
    states_.push_back(token.state);
  }
  const auto width = static_cast<int32_t>(blocks.size());
  const std::vector<int32_t> start{0, static_cast<int32_t>(ids.size())};
  const std::vector<int32_t> context{width * block_tokens_};
  PINGTI_RETURN_IF_ERROR(
      BeginStep({ids, places, start, context, blocks, width, states_}, positions, std::nullopt));
  const Activations act = activations_.Rows(static_cast<int64_t>(ids.size()));
  PINGTI_RETURN_IF_ERROR(
      backend_->GatherStepRows(kept_states_, act.Values(Activation::kResidual, spec().hidden())));
  PINGTI_RETURN_IF_ERROR(head_.layers->AppendKv(*backend_, *cache_, act));
  num_read_ += static_cast<int64_t>(ids.size());
  return ids.size();
}

bool HeadRunner::NeedsUnread(const HeadBatch& batch) {
  const auto table = [&](int32_t seq, int32_t entry) {
    return batch.block_table[static_cast<size_t>(seq * batch.max_blocks_per_seq + entry)];
  };
  bool any = false;
  for (int32_t s = 0; s < batch.num_seqs(); ++s) {
    for (int32_t t = batch.query_start[s]; t < batch.query_start[s + 1]; ++t) {
      const int32_t position = batch.positions[static_cast<size_t>(t)];
      unread_.Remove(table(s, position / block_tokens_), position % block_tokens_);
    }
    for (int32_t entry = 0; entry * block_tokens_ < batch.context_len[s]; ++entry) {
      any = any || unread_.AnyIn(table(s, entry));
    }
  }
  return any;
}

absl::Status HeadRunner::BeginStep(const HeadBatch& batch, std::span<const int32_t> positions,
                                   const std::optional<StepShape>& padded) {
  const size_t rope_values = positions.size() * static_cast<size_t>(rotary_.half_dim());
  const std::span<float> cos = std::span(rope_cos_).first(rope_values);
  const std::span<float> sin = std::span(rope_sin_).first(rope_values);
  rotary_.Fill(positions, cos, sin);
  StepInputs step;
  step.token_ids = batch.token_ids;
  step.positions = batch.positions;
  step.query_start = batch.query_start;
  step.context_len = batch.context_len;
  step.block_table = batch.block_table;
  step.max_blocks_per_seq = batch.max_blocks_per_seq;
  step.rope_cos = cos;
  step.rope_sin = sin;
  step.block_tokens = block_tokens_;
  step.padded = padded;
  step.rows = states_;
  return backend_->BeginStep(step);
}

absl::Status HeadRunner::Forward(const HeadBatch& batch) {
  PINGTI_CHECK(batch.num_tokens() <= max_tokens_ && batch.num_seqs() <= logits_.rows &&
               batch.states.size() == batch.token_ids.size());
  num_rows_ = batch.num_seqs();
  if (num_rows_ == 0) return absl::OkStatus();
  if (!batch.is_chain && NeedsUnread(batch)) PINGTI_RETURN_IF_ERROR(ReadAll());
  states_.assign(batch.states.begin(), batch.states.end());
  if (!batch.is_chain) {
    for (int32_t& state : states_) state += first_kept_;
  }
  const std::optional<StepShape> padded = ShapeOf(batch);
  PINGTI_RETURN_IF_ERROR(BeginStep(batch, batch.positions, padded));
  const Activations act =
      activations_.Rows(padded.has_value() ? padded->num_tokens : batch.num_tokens());
  const MatrixView from = batch.is_chain ? own_states_ : kept_states_;
  const int64_t seqs = padded.has_value() ? padded->num_seqs : num_rows_;
  const auto operations = [&]() -> absl::Status {
    PINGTI_RETURN_IF_ERROR(
        backend_->GatherStepRows(from, act.Values(Activation::kResidual, spec().hidden())));
    PINGTI_RETURN_IF_ERROR(head_.layers->Forward(*backend_, comm_, *cache_, act));
    return ComputeLogits(seqs, act);
  };
  return backend_->Issue(padded, std::cref(operations));
}

std::optional<StepShape> HeadRunner::ShapeOf(const HeadBatch& batch) const {
  StepShape shape;
  shape.num_seqs = batch.num_seqs();
  shape.num_tokens = batch.num_tokens();
  for (size_t s = 0; s < batch.context_len.size(); ++s) {
    shape.query_len = std::max(shape.query_len, batch.query_start[s + 1] - batch.query_start[s]);
  }
  shape.uniform = false;  // even where it is: few records then serve all
  shape.work = batch.is_chain ? StepWork::kHeadChain : StepWork::kHeadDrafts;
  const StepShape padded = backend_->Padded(shape);
  return backend_->Records(padded) ? std::optional(padded) : std::nullopt;
}

std::vector<StepShape> HeadRunner::RecordedBatches(int32_t max_query_len) const {
  ShapeRange range{.max_seqs = static_cast<int32_t>(own_states_.rows), .max_tokens = max_tokens_};
  RecordedShapes shapes(backend_);
  shapes.Add(range, {.uniform = false, .work = StepWork::kHeadChain});
  range.max_query_len = max_query_len;
  shapes.Add(range, {.uniform = false, .work = StepWork::kHeadDrafts});
  return shapes.Examples();
}

absl::Status HeadRunner::ComputeLogits(int64_t num_seqs, const Activations& act) {
  const int64_t hidden = spec().hidden();
  const MatrixView deltas = deltas_.Rows(0, num_seqs);
  const MatrixView states = own_states_.Rows(0, num_seqs);
  PINGTI_RETURN_IF_ERROR(backend_->GatherLastRows(act.Values(Activation::kDelta, hidden), deltas));
  PINGTI_RETURN_IF_ERROR(
      backend_->GatherLastRows(act.Values(Activation::kResidual, hidden), states));
  // Padded, they may be more than the tokens.
  const Operand normed{activations_.Values(Activation::kBranch, hidden).Rows(0, num_seqs),
                       activations_.Form(Activation::kFinal, hidden)};
  const bool is_part = head_.own_token != nullptr;
  const MatrixView own_logits = (is_part ? own_logits_ : logits_).Rows(0, num_seqs);
  PINGTI_RETURN_IF_ERROR(
      head_.layers->Logits(*backend_, comm_, deltas, states, normed, own_logits));
  if (!is_part) return absl::OkStatus();
  return backend_->GatherColumns(own_logits, *head_.own_token, logits_.Rows(0, num_seqs));
}

absl::Status HeadRunner::Sample(std::span<const SamplingRow> rows,
                                std::span<SampledToken> sampled) {
  PINGTI_CHECK(static_cast<int64_t>(rows.size()) == num_rows_ && rows.size() == sampled.size());
  if (rows.empty()) return absl::OkStatus();
  return backend_->Sample(logits_.Rows(0, num_rows_), rows, sampled);
}

}  // namespace pingti::worker
