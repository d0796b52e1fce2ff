// A head that drafts for a model out of the model's own hidden states, as the source of drafts sees
// it (worker/speculation/head_drafts.h). Its keys and values lie in blocks of the same numbers as
// the model's, so that a prefix that is reused, copied or freed is that of both.
//
// Confined to the engine thread, as the model.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "worker/backend/sampling_params.h"
#include "worker/model/model.h"
#include "worker/model/unread_tokens.h"

namespace pingti::worker {

// As ForwardBatch; each sequence's last token gets a row of logits. token_ids[i] is the token
// behind positions[i], whose state the head reads beside it. Block tables may name spare blocks.
struct HeadBatch {
  std::span<const int32_t> token_ids;    // [num_tokens]
  std::span<const int32_t> positions;    // [num_tokens]
  std::span<const int32_t> query_start;  // [num_seqs + 1]
  std::span<const int32_t> context_len;  // [num_seqs], in positions
  std::span<const int32_t> block_table;  // [num_seqs, max_blocks_per_seq]
  int32_t max_blocks_per_seq = 0;
  // Where each token's state is, [num_tokens]: a row of the model's last Forward; or, of a chain,
  // what the head made at a row of logits of its own last Forward.
  std::span<const int32_t> states;
  bool is_chain = false;

  int32_t num_seqs() const { return static_cast<int32_t>(context_len.size()); }
  int32_t num_tokens() const { return static_cast<int32_t>(token_ids.size()); }
};

class DraftHead {
 public:
  virtual ~DraftHead() = default;

  // Of one Forward; at least as many as a step's sequences.
  virtual int32_t max_tokens() const = 0;
  virtual int32_t block_tokens() const = 0;
  // Blocks [first_spare_block, + spare_blocks_per_seq * max_batch_size) are the head's alone: for
  // drafts behind a sequence's own blocks.
  virtual int32_t first_spare_block() const = 0;
  virtual int32_t spare_blocks_per_seq() const = 0;

  // Tokens of the model's last Forward, whose `state` is a row of it, for the head's keys and
  // values. Costs nothing by itself: the head reads many of them at once, when a Forward needs some
  // of them, a block that holds some is copied, or there are enough.
  virtual void Note(std::span<const UnreadToken> tokens) = 0;

  // Tokens that were noted and read so far, apart from any batch.
  virtual int64_t num_read() const = 0;

  // An example of each kind of batch of which the device makes a record when it comes up, of at
  // most `max_query_len` tokens per sequence; `work` says whether it is a chain. After Allocate.
  virtual std::vector<StepShape> RecordedBatches(int32_t max_query_len) const = 0;
  // Runs the batch, and what was noted in its blocks before it. Until the model's next Forward, the
  // model's states can be read by it.
  virtual absl::Status Forward(const HeadBatch& batch) = 0;
  // As Model::Sample, of the last Forward's rows; tokens are the model's.
  virtual absl::Status Sample(std::span<const SamplingRow> rows,
                              std::span<SampledToken> sampled) = 0;
};

}  // namespace pingti::worker
