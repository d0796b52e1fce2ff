// See fake_model.h.
#include "tests/testing/fake_model.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <stdexcept>

#include "common/base/block_hash.h"
#include "common/base/strings.h"
#include "tests/testing/await.h"
#include "worker/backend/sampling_rng.h"

namespace pingti::testing {
namespace {

using worker::SampledToken;
using worker::SamplingRow;
using worker::TopLogprob;

uint64_t Cell(uint64_t previous, int32_t token, int32_t position) {
  const int32_t pair[] = {token, position};
  return ChainBlockHash(previous, pair);
}

float LogSumExp(std::span<const float> logits) {
  const float most = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit - most));
  return most + static_cast<float>(std::log(sum));
}

void FillLogprobs(std::span<const float> logits, int32_t token, int32_t num_top,
                  SampledToken* out) {
  const float norm = LogSumExp(logits);
  out->logprob = logits[token] - norm;
  out->top.clear();
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int32_t a, int32_t b) { return logits[a] > logits[b]; });
  const size_t count = std::min(order.size(), static_cast<size_t>(num_top));
  for (size_t i = 0; i < count; ++i) out->top.push_back({order[i], logits[order[i]] - norm});
}

}  // namespace

absl::Status FakeModel::Allocate(int32_t num_blocks, int32_t kv_block_tokens,
                                 int32_t max_batch_tokens, int32_t max_batch_size) {
  block_tokens_ = kv_block_tokens;
  max_batch_tokens_ = max_batch_tokens;
  max_batch_size_ = max_batch_size;
  cells_.assign(static_cast<size_t>(num_blocks) * kv_block_tokens, 0);
  worker::KvPlaneLayout cells;
  cells.kind = worker::KvPlaneKind::kLatent;
  cells.dtype = worker::DType::kI64;
  cells.heads = cells.head_dim = cells.token_stride = cells.dim_stride = 1;
  cells.head_stride = kv_block_tokens;
  layout_ = {kv_block_tokens, kv_block_tokens * int64_t{sizeof(uint64_t)}, {cells}};
  logits_.resize(max_batch_tokens);
  return absl::OkStatus();
}

absl::Status FakeModel::ExportBlocks(std::span<const int32_t> blocks, std::span<std::byte> out) {
  const auto num_blocks = static_cast<int64_t>(cells_.size()) / block_tokens_;
  if (absl::Status status = worker::CheckBlocks(num_blocks, layout_, blocks, out.size());
      !status.ok()) {
    return status;
  }
  for (size_t i = 0; i < blocks.size(); ++i) {
    std::memcpy(out.data() + i * layout_.bytes,
                &cells_[static_cast<size_t>(blocks[i]) * block_tokens_], layout_.bytes);
  }
  return absl::OkStatus();
}

absl::Status FakeModel::ImportBlocks(std::span<const int32_t> blocks,
                                     std::span<const std::byte> in) {
  const auto num_blocks = static_cast<int64_t>(cells_.size()) / block_tokens_;
  if (absl::Status status = worker::CheckBlocks(num_blocks, layout_, blocks, in.size());
      !status.ok()) {
    return status;
  }
  if (absl::Status status = worker::CheckDistinct(num_blocks, blocks); !status.ok()) return status;
  for (size_t i = 0; i < blocks.size(); ++i) {
    std::memcpy(&cells_[static_cast<size_t>(blocks[i]) * block_tokens_],
                in.data() + i * layout_.bytes, layout_.bytes);
  }
  return absl::OkStatus();
}

absl::Status FakeModel::CheckBatch(const worker::ForwardBatch& batch) const {
  if (batch.num_tokens() > max_batch_tokens_ || batch.num_seqs() > max_batch_size_ ||
      batch.logit_tokens.size() > batch.token_ids.size()) {
    return absl::InvalidArgumentError(
        Concat("a batch of ", batch.num_tokens(), " tokens, ", batch.num_seqs(), " sequences and ",
               batch.logit_tokens.size(), " rows: more than was allocated for"));
  }
  if (!std::is_sorted(batch.logit_tokens.begin(), batch.logit_tokens.end())) {
    return absl::InvalidArgumentError("logit_tokens are not ascending");
  }
  for (int32_t s = 0; s < batch.num_seqs(); ++s) {
    const int32_t count = batch.query_start[s + 1] - batch.query_start[s];
    const int32_t last = batch.positions[batch.query_start[s + 1] - 1];
    if (count <= 0 || last + 1 != batch.context_len[s]) {
      return absl::InvalidArgumentError(Concat("sequence ", s, " has wrong positions"));
    }
  }
  return absl::OkStatus();
}

absl::Status FakeModel::Forward(const worker::ForwardBatch& batch,
                                std::span<const worker::BlockCopy> copies) {
  WaitWhileStalled();
  if (throw_) throw std::runtime_error("as asked");
  {
    MutexLock lock(&mutex_);
    if (!device_.ok()) return device_;
    if (failures_left_ > 0) {
      --failures_left_;
      return absl::InternalError(failure_);
    }
  }
  ++num_forwards_;
  num_tokens_ += batch.num_tokens();
  num_copies_ += static_cast<int64_t>(copies.size());
  most_tokens_ = std::max<int32_t>(most_tokens_, batch.num_tokens());
  most_rows_ = std::max<int32_t>(most_rows_, static_cast<int32_t>(batch.logit_tokens.size()));
  num_rows_ = static_cast<int32_t>(batch.logit_tokens.size());
  highest_only_ = batch.highest_only;
  if (options_.constant_token != 0) return absl::OkStatus();
  if (absl::Status status = CheckBatch(batch); !status.ok()) return status;

  for (const worker::BlockCopy& copy : copies) {
    std::copy_n(cells_.begin() + static_cast<ptrdiff_t>(copy.from) * block_tokens_, block_tokens_,
                cells_.begin() + static_cast<ptrdiff_t>(copy.to) * block_tokens_);
  }
  size_t row = 0;
  for (int32_t s = 0; s < batch.num_seqs(); ++s) {
    const int32_t* table =
        batch.block_table.data() + static_cast<ptrdiff_t>(s) * batch.max_blocks_per_seq;
    const auto cell = [&](int32_t position) -> uint64_t& {
      return cells_[static_cast<size_t>(table[position / block_tokens_]) * block_tokens_ +
                    position % block_tokens_];
    };
    for (int32_t t = batch.query_start[s]; t < batch.query_start[s + 1]; ++t) {
      const int32_t position = batch.positions[t];
      const uint64_t previous = position == 0 ? 1 : cell(position - 1);
      const bool poisoned = previous == 0 || batch.token_ids[t] == options_.nan_token;
      cell(position) = poisoned ? 0 : Cell(previous, batch.token_ids[t], position);
      if (row >= batch.logit_tokens.size() || batch.logit_tokens[row] != t) continue;
      uint64_t hash = 0;
      bool hole = false;
      for (int32_t p = 0; p <= position; ++p) {
        hole = hole || cell(p) == 0;
        hash = MixBits(hash + cell(p));
      }
      logits_[row++] = LogitsFrom(hash, hole);
    }
  }
  return absl::OkStatus();
}

std::vector<float> FakeModel::LogitsFrom(uint64_t hash, bool poisoned) const {
  std::vector<float> logits(options_.vocab_size);
  for (int32_t token = 0; token < options_.vocab_size; ++token) {
    const uint64_t bits = MixBits(hash + static_cast<uint64_t>(token) * 0x9e37u + 1);
    logits[token] = static_cast<float>(bits >> 40) * 0x1p-24f * 8.0f - 4.0f;
    if (poisoned) logits[token] = std::numeric_limits<float>::quiet_NaN();
  }
  if (options_.eos_token_id >= 0 && options_.eos_token_id < options_.vocab_size) {
    logits[options_.eos_token_id] -= options_.eos_penalty;
  }
  return logits;
}

std::vector<float> FakeModel::LogitsOf(std::span<const int32_t> context) const {
  uint64_t cell = 1;
  uint64_t hash = 0;
  bool poisoned = false;
  for (size_t p = 0; p < context.size(); ++p) {
    poisoned = poisoned || context[p] == options_.nan_token;
    cell = Cell(cell, context[p], static_cast<int32_t>(p));
    hash = MixBits(hash + cell);
  }
  return LogitsFrom(hash, poisoned);
}

SampledToken FakeModel::Draw(std::span<const float> raw, const SamplingRow& row) const {
  SampledToken out;
  if (std::isnan(raw[0])) {
    out.logits_not_finite = true;
    return out;
  }
  std::vector<float> logits(raw.begin(), raw.end());
  const float norm = row.num_ranked > 0 ? LogSumExp(raw) : 0.0f;
  for (float& logit : logits) logit -= norm;
  for (const auto& bias : row.logit_bias) logits[bias.token_id] += bias.bias;
  for (const auto& count : row.token_counts) {
    float& logit = logits[count.token_id];
    logit = logit > 0 ? logit / row.repetition_penalty : logit * row.repetition_penalty;
    logit -= count.output_count > 0 ? row.presence_penalty : 0.0f;
    logit -= static_cast<float>(count.output_count) * row.frequency_penalty;
  }
  const int32_t vocab = static_cast<int32_t>(logits.size());
  std::vector<std::pair<float, int32_t>> kept;
  for (int32_t t = 0; t < vocab; ++t) {
    const bool allowed =
        row.allowed_mask.empty() || ((row.allowed_mask[t / 32] >> (t % 32)) & 1u) != 0;
    if (allowed) kept.push_back({logits[t], t});
  }
  std::stable_sort(kept.begin(), kept.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  if (kept.empty()) {
    out.logits_not_finite = true;
    return out;
  }
  out.token_id = kept[0].second;
  for (size_t i = 0; i < kept.size() && i < static_cast<size_t>(row.num_ranked); ++i) {
    const auto [adjusted, token] = kept[i];
    out.ranked.push_back({token, raw[token] - norm, adjusted});
  }
  if (row.temperature > 0.0f) {
    if (row.top_k > 0 && static_cast<size_t>(row.top_k) < kept.size()) kept.resize(row.top_k);
    std::vector<double> weights;
    double total = 0;
    for (const auto& [logit, token] : kept) {
      weights.push_back(std::exp(static_cast<double>((logit - kept[0].first) / row.temperature)));
      total += weights.back();
    }
    double mass = 0;
    size_t num_kept = 0;
    while (num_kept < kept.size() && mass < row.top_p * total &&
           weights[num_kept] >= row.min_p * weights[0]) {
      mass += weights[num_kept++];
    }
    float highest = -std::numeric_limits<float>::infinity();
    for (size_t i = 0; i < num_kept; ++i) {
      const auto [logit, token] = kept[i];
      const float score = logit * worker::InverseTemperature(row) +
                          worker::TokenNoise(row.seed, row.position, token);
      if (score > highest) {
        highest = score;
        out.token_id = token;
      }
    }
  }
  if (row.num_top_logprobs >= 0) FillLogprobs(raw, out.token_id, row.num_top_logprobs, &out);
  return out;
}

absl::Status FakeModel::Sample(std::span<const SamplingRow> rows, std::span<SampledToken> sampled) {
  if (static_cast<int32_t>(rows.size()) != num_rows_ || sampled.size() != rows.size()) {
    return absl::InvalidArgumentError(
        Concat(rows.size(), " rows to sample, the step had ", num_rows_));
  }
  if (highest_only_ && !std::all_of(rows.begin(), rows.end(), worker::TakesHighest)) {
    return absl::InvalidArgumentError("a row needs more than the highest logits it was promised");
  }
  for (size_t i = 0; i < rows.size(); ++i) {
    if (options_.constant_token != 0) {
      sampled[i].token_id = options_.constant_token;
    } else {
      sampled[i] = Draw(logits_[i], rows[i]);
    }
  }
  return absl::OkStatus();
}

absl::Status FakeModel::Logprobs(std::span<const worker::LogprobRequest> requests,
                                 std::span<SampledToken> results) {
  if (highest_only_ && !requests.empty()) {
    return absl::InvalidArgumentError("log-probabilities of a step of highest logits alone");
  }
  for (size_t i = 0; i < requests.size(); ++i) {
    results[i].token_id = requests[i].token_id;
    FillLogprobs(logits_[requests[i].row], requests[i].token_id, requests[i].num_top, &results[i]);
  }
  return absl::OkStatus();
}

absl::Status FakeModel::HiddenStates(std::span<float> values) {
  const size_t width = static_cast<size_t>(options_.vocab_size);
  if (values.size() != static_cast<size_t>(num_rows_) * width) {
    return absl::InvalidArgumentError(
        Concat(values.size(), " values, the step has ", num_rows_, " rows of ", width));
  }
  for (size_t row = 0; row < static_cast<size_t>(num_rows_); ++row) {
    std::copy(logits_[row].begin(), logits_[row].end(),
              values.begin() + static_cast<ptrdiff_t>(row * width));
  }
  return absl::OkStatus();
}

void FakeModel::FailForward(int count, std::string message) {
  MutexLock lock(&mutex_);
  failures_left_ = count;
  failure_ = std::move(message);
}

void FakeModel::LoseDevice(const std::string& message) {
  MutexLock lock(&mutex_);
  device_ = absl::DataLossError(message);
}

void FakeModel::Stall() {
  MutexLock lock(&mutex_);
  stalled_ = true;
}

void FakeModel::Release() {
  MutexLock lock(&mutex_);
  stalled_ = false;
  released_.NotifyAll();
}

void FakeModel::WaitWhileStalled() {
  MutexLock lock(&mutex_);
  standing_ = stalled_;
  released_.NotifyAll();
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (stalled_) {
    if (!released_.WaitUntil(&mutex_, deadline)) DieWaiting("Release() of a stalled model");
  }
  standing_ = false;
}

void FakeModel::WaitUntilStalled() {
  MutexLock lock(&mutex_);
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (!standing_) {
    if (!released_.WaitUntil(&mutex_, deadline)) DieWaiting("a step of the model to stall");
  }
}

std::string FakeModel::Unfinished() const {
  MutexLock lock(&mutex_);
  return standing_ ? "stalled" : "";
}

}  // namespace pingti::testing
