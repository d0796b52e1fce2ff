// A Model that does what another one does: the base of tests' models that change one thing of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "worker/model/model.h"

namespace pingti::worker::testing {

class ForwardingModel : public Model {
 public:
  // `model` must outlive this object.
  explicit ForwardingModel(Model* model) : model_(model) {}

  int32_t vocab_size() const override { return model_->vocab_size(); }
  int32_t max_context_tokens() const override { return model_->max_context_tokens(); }
  int32_t hidden_size() const override { return model_->hidden_size(); }
  int64_t KvBytesPerBlock(int32_t kv_block_tokens) const override {
    return model_->KvBytesPerBlock(kv_block_tokens);
  }
  int64_t WorkspaceBytes(int32_t max_batch_tokens, int32_t max_batch_size) const override {
    return model_->WorkspaceBytes(max_batch_tokens, max_batch_size);
  }
  absl::Status Allocate(int32_t num_blocks, int32_t kv_block_tokens, int32_t max_batch_tokens,
                        int32_t max_batch_size) override {
    return model_->Allocate(num_blocks, kv_block_tokens, max_batch_tokens, max_batch_size);
  }
  const KvBlockLayout& kv_block_layout() const override { return model_->kv_block_layout(); }
  absl::Status ExportBlocks(std::span<const int32_t> blocks, std::span<std::byte> out) override {
    return model_->ExportBlocks(blocks, out);
  }
  absl::Status ImportBlocks(std::span<const int32_t> blocks,
                            std::span<const std::byte> in) override {
    return model_->ImportBlocks(blocks, in);
  }
  absl::Status Forward(const ForwardBatch& batch, std::span<const BlockCopy> copies) override {
    return model_->Forward(batch, copies);
  }
  absl::Status Sample(std::span<const SamplingRow> rows, std::span<SampledToken> sampled) override {
    return model_->Sample(rows, sampled);
  }
  absl::Status Logprobs(std::span<const LogprobRequest> requests,
                        std::span<SampledToken> results) override {
    return model_->Logprobs(requests, results);
  }
  absl::Status HiddenStates(std::span<float> values) override {
    return model_->HiddenStates(values);
  }
  DraftHead* draft_head() override { return model_->draft_head(); }

 private:
  Model* const model_;
};

}  // namespace pingti::worker::testing
