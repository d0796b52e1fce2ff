// A loaded model as the engine sees it: token ids in, sampled token ids out, over a paged KV cache.
//
// Confined to the engine thread, but for the const getters. DataLoss from any call: the device is
// lost (see IsDeviceLost in worker/backend/backend.h). One implementation serves every family
// and every backend (see decoder_model.h); the engine's tests use a fake.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/backend/backend.h"
#include "worker/backend/block_copy.h"
#include "worker/backend/kv_block_layout.h"
#include "worker/backend/lora.h"
#include "worker/backend/sampling_params.h"

namespace pingti::worker {

struct Adapter;
class AdapterImage;

// One step's tokens of all scheduled sequences, flattened: sequence s owns tokens
// [query_start[s], query_start[s + 1]). All arrays are owned by the caller and reused between
// steps.
struct ForwardBatch {
  std::span<const int32_t> token_ids;    // [num_tokens]
  std::span<const int32_t> positions;    // [num_tokens], index within the sequence
  std::span<const int32_t> query_start;  // [num_seqs + 1]
  std::span<const int32_t> context_len;  // [num_seqs], KV length after this step
  std::span<const int32_t> block_table;  // [num_seqs, max_blocks_per_seq], row-major
  int32_t max_blocks_per_seq = 0;
  // Which tokens need logits, as indices into token_ids, ascending. One row of logits each.
  std::span<const int32_t> logit_tokens;  // [num_rows]
  // A promise: only Sample follows, and only with rows that TakesHighest. Ranks that share a model
  // then exchange the highest of their logits within the step, and nothing else later.
  bool highest_only = false;
  // The slot of each sequence's adapter, or kNoAdapterSlot; empty: no sequence has one. [num_seqs]
  std::span<const int32_t> adapter_slots{};

  int32_t num_seqs() const { return static_cast<int32_t>(context_len.size()); }
  int32_t num_tokens() const { return static_cast<int32_t>(token_ids.size()); }
};

class DraftHead;

class Model {
 public:
  virtual ~Model() = default;

  virtual int32_t vocab_size() const = 0;
  virtual int32_t max_context_tokens() const = 0;
  virtual int32_t hidden_size() const = 0;
  // Bytes of KV for one block of `kv_block_tokens` tokens, over all layers and local heads.
  virtual int64_t KvBytesPerBlock(int32_t kv_block_tokens) const = 0;

  // Bytes that Allocate takes beside the KV cache.
  virtual int64_t WorkspaceBytes(int32_t max_batch_tokens, int32_t max_batch_size) const = 0;

  // Allocates the KV cache and the workspace for the largest batch, once, before the first step.
  // Errors: ResourceExhausted with the arithmetic.
  virtual absl::Status Allocate(int32_t num_blocks, int32_t kv_block_tokens,
                                int32_t max_batch_tokens, int32_t max_batch_size) = 0;

  // ---- blocks in host memory, between steps; after Allocate

  // Where an exported block's bytes lie. The same model elsewhere, with an equal layout, may take
  // them.
  virtual const KvBlockLayout& kv_block_layout() const = 0;
  // See Backend::ExportBlocks and ImportBlocks.
  virtual absl::Status ExportBlocks(std::span<const int32_t> blocks, std::span<std::byte> out) = 0;
  virtual absl::Status ImportBlocks(std::span<const int32_t> blocks,
                                    std::span<const std::byte> in) = 0;

  // ---- adapters, between steps

  // Sequences may name adapter slots below this.
  virtual int32_t num_adapter_slots() const { return 0; }
  // An adapter (worker/adapters/adapter.h) in the form that the slots have, with all that takes
  // time: reading every value, rounding it, and bringing it into the order of the model's products.
  // Any thread, also while steps run; the image must not outlive the model. REQUIRES: the model
  // takes the adapter, see CheckAdapter. Errors: Unimplemented without slots; ResourceExhausted.
  virtual absl::StatusOr<std::shared_ptr<const AdapterImage>> PrepareAdapter(
      const Adapter& /*adapter*/) const {
    return absl::UnimplementedError("the model has no slots for adapters");
  }
  // Puts an adapter into a slot, in place of the one that was there: issues one copy, or takes the
  // image as it is. REQUIRES: an image that this model made. Errors: Unimplemented without slots.
  virtual absl::Status SetAdapter(int32_t /*slot*/,
                                  const std::shared_ptr<const AdapterImage>& /*image*/) {
    return absl::UnimplementedError("the model has no slots for adapters");
  }

  // ---- each step

  // Runs the batch and writes its tokens' K and V into their blocks. Logits of `logit_tokens` stay
  // inside the model until the next Forward. Copies of blocks are done before anything is read.
  virtual absl::Status Forward(const ForwardBatch& batch, std::span<const BlockCopy> copies) = 0;

  // An example of each kind of step with several tokens per sequence of which the device makes a
  // record when it comes up: of at most `max_tokens` tokens, `max_query_len` per sequence; largest
  // first. After Allocate.
  virtual std::vector<StepShape> RecordedSteps(int32_t /*max_tokens*/,
                                               int32_t /*max_query_len*/) const {
    return {};
  }

  // Draws one token per row of the last Forward's logits; rows[i] belongs to logit_tokens[i].
  virtual absl::Status Sample(std::span<const SamplingRow> rows,
                              std::span<SampledToken> sampled) = 0;

  // Log-probabilities of given tokens at rows of the last Forward.
  virtual absl::Status Logprobs(std::span<const LogprobRequest> requests,
                                std::span<SampledToken> results) = 0;

  // The final hidden states of the last Forward's rows, as the output projection reads them: behind
  // the last norm. values[i] belongs to logit_tokens[i]: [num_rows, hidden_size()] in f32. Waits
  // for the device; costs nothing unless it is called.
  virtual absl::Status HiddenStates(std::span<float> values) = 0;

  // How unevenly tokens fell on experts since this last told: the choices of the busiest expert of
  // a layer as a multiple of that layer's mean, in the layer where it is highest. None: the model
  // has no experts, or there were too few tokens yet to tell it from chance. Waits for the device.
  virtual absl::StatusOr<std::optional<double>> TakeExpertImbalance() { return std::nullopt; }

  // The head that drafts for the model, if it was loaded with one; else null. See draft_head.h.
  virtual DraftHead* draft_head() { return nullptr; }

  // Who has not come back from the call in progress, for the message about one that hangs: "rank 1
  // of 2". Empty: nothing more is known. Any thread.
  virtual std::string Unfinished() const { return {}; }

  // Whether what the model runs on still works, as far as it is known without waiting: what is lost
  // while nothing runs shows here. Any thread.
  virtual absl::Status Health() const { return absl::OkStatus(); }
};

}  // namespace pingti::worker
