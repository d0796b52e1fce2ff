// A model without weights whose every answer depends on the whole context, read through the block
// table: a wrong block, position, copy or stale cache entry changes what it says.
//
// Each token's KV cell holds a hash of the cell before it, the token and its position; the logits
// of a token are a hash over all cells of its context. Unwritten cells are poisoned. Deterministic,
// and independent of batch and chunking, as a real model should be. Confined to the engine thread,
// but for the fault switches.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "common/base/mutex.h"
#include "worker/model/model.h"

namespace pingti::testing {

struct FakeModelOptions {
  int32_t vocab_size = 64;
  int32_t max_context_tokens = 1024;
  int64_t kv_bytes_per_block = 1024;
  // Not 0: no context is read and no logits are made; every row draws this token.
  int32_t constant_token = 0;
  // Logits of the eos token are lowered by this, so that outputs get some length.
  int32_t eos_token_id = 2;
  float eos_penalty = 0.0f;
  // Sequences whose context holds this token get NaN logits. -1: none.
  int32_t nan_token = -1;
};

class FakeModel : public worker::Model {
 public:
  explicit FakeModel(FakeModelOptions options = {}) : options_(options) {}

  int32_t vocab_size() const override { return options_.vocab_size; }
  int32_t max_context_tokens() const override { return options_.max_context_tokens; }
  // Hidden states are the logits.
  int32_t hidden_size() const override { return options_.vocab_size; }
  int64_t KvBytesPerBlock(int32_t) const override { return options_.kv_bytes_per_block; }
  int64_t WorkspaceBytes(int32_t, int32_t) const override { return 0; }
  absl::Status Allocate(int32_t num_blocks, int32_t kv_block_tokens, int32_t max_batch_tokens,
                        int32_t max_batch_size) override;
  // A block is its tokens' cells.
  const worker::KvBlockLayout& kv_block_layout() const override { return layout_; }
  absl::Status ExportBlocks(std::span<const int32_t> blocks, std::span<std::byte> out) override;
  absl::Status ImportBlocks(std::span<const int32_t> blocks,
                            std::span<const std::byte> in) override;
  absl::Status Forward(const worker::ForwardBatch& batch,
                       std::span<const worker::BlockCopy> copies) override;
  absl::Status Sample(std::span<const worker::SamplingRow> rows,
                      std::span<worker::SampledToken> sampled) override;
  absl::Status Logprobs(std::span<const worker::LogprobRequest> requests,
                        std::span<worker::SampledToken> results) override;
  absl::Status HiddenStates(std::span<float> values) override;

  // The logits after `context`, without any cache: what batched answers are held against.
  std::vector<float> LogitsOf(std::span<const int32_t> context) const;
  // One draw as the sampler's contract describes it.
  worker::SampledToken Draw(std::span<const float> logits, const worker::SamplingRow& row) const;

  // ---- faults; thread-safe
  // The next `count` forward passes fail with `message`.
  void FailForward(int count, std::string message);
  // From now on every forward pass fails with DataLoss and `message`.
  void LoseDevice(const std::string& message);
  // Forward blocks until Release, or throws.
  void Stall();
  void Release();
  // Returns once a forward pass stands in Stall.
  void WaitUntilStalled();
  // "stalled" while a forward pass stands there.
  std::string Unfinished() const override;
  void ThrowOnForward() { throw_ = true; }

  // ---- what happened
  int64_t num_forwards() const { return num_forwards_; }
  int64_t num_tokens_computed() const { return num_tokens_; }
  int64_t num_copies() const { return num_copies_; }
  int32_t most_tokens_in_a_step() const { return most_tokens_; }
  int32_t most_rows_in_a_step() const { return most_rows_; }

 private:
  absl::Status CheckBatch(const worker::ForwardBatch& batch) const;
  void WaitWhileStalled();
  std::vector<float> LogitsFrom(uint64_t hash, bool poisoned) const;

  const FakeModelOptions options_;
  int32_t block_tokens_ = 0;
  int32_t max_batch_tokens_ = 0;
  int32_t max_batch_size_ = 0;
  worker::KvBlockLayout layout_;
  std::vector<uint64_t> cells_;  // [num_blocks, block_tokens]; 0: never written
  std::vector<std::vector<float>> logits_;
  int32_t num_rows_ = 0;
  bool highest_only_ = false;  // of the last Forward

  mutable Mutex mutex_;
  CondVar released_;
  bool stalled_ PINGTI_GUARDED_BY(mutex_) = false;
  bool standing_ PINGTI_GUARDED_BY(mutex_) = false;
  int failures_left_ PINGTI_GUARDED_BY(mutex_) = 0;
  std::string failure_ PINGTI_GUARDED_BY(mutex_);
  absl::Status device_ PINGTI_GUARDED_BY(mutex_);
  std::atomic<bool> throw_{false};
  std::atomic<int64_t> num_forwards_{0};
  std::atomic<int64_t> num_tokens_{0};
  std::atomic<int64_t> num_copies_{0};
  std::atomic<int32_t> most_tokens_{0};
  std::atomic<int32_t> most_rows_{0};
};

}  // namespace pingti::testing
