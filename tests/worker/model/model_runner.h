// Drives a Model in tests the way the engine does, without one: blocks are handed out in a
// scattered order, so that a mistake in the use of block tables shows.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/model/model.h"

namespace pingti::worker::testing {

struct RunnerOptions {
  int32_t block_tokens = 16;
  int32_t num_blocks = 256;
  int32_t max_batch_tokens = 512;
  int32_t max_batch_size = 32;
  bool highest_only = false;  // of every Step, which then AllLogprobs may not follow
  // Of each sequence's adapter; those beyond have none, as all have where this is empty.
  std::vector<int32_t> adapter_slots{};
};

// What a model thinks of a token that it was made to take.
struct JudgedToken {
  int32_t likeliest = -1;
  float logprob = 0.0f;  // of the token that was taken
  float gap = 0.0f;      // how far that lies below the likeliest one's, in nats
};

// Several sequences that advance together.
class ModelRunner {
 public:
  // Allocates the model's cache and workspace.
  ModelRunner(Model* model, const RunnerOptions& options);

  // Of sequence `s`, in order.
  const std::vector<int32_t>& blocks(int32_t s) const { return blocks_[static_cast<size_t>(s)]; }
  // Sequence `s`, empty so far, has `length` tokens from now on, in blocks of its own that the
  // caller fills.
  void Adopt(int32_t s, int32_t length);

  // One step: tokens[s] are appended to sequence s (which begins empty); empty for sequences that
  // sit out. Returns for each sequence with tokens its greedy next token, -1 for the others.
  absl::StatusOr<std::vector<int32_t>> Step(const std::vector<std::vector<int32_t>>& tokens);

  // Log-probabilities of every token of the vocabulary after the last token of step's row `row`
  // (rows are the sequences that had tokens, in order). For small vocabularies: asks once a token,
  // as a GPU lists only few of the likeliest at once.
  absl::StatusOr<std::vector<float>> AllLogprobs(int32_t row);

  // Prefills `prompt` in chunks of `chunk` tokens, then decodes greedily. Sequence `s` must be
  // empty.
  absl::StatusOr<std::vector<int32_t>> Greedy(int32_t s, const std::vector<int32_t>& prompt,
                                              int32_t num_tokens, int32_t chunk = 1 << 20);

  // The same for many sequences at once, which decode in one batch.
  absl::StatusOr<std::vector<std::vector<int32_t>>> GreedyBatch(
      const std::vector<std::vector<int32_t>>& prompts, int32_t num_tokens);

  // Feeds prompts[s], in chunks of `chunk` tokens, then answers[s] a token a step, whatever the
  // model would have said; [s][i] judges answers[s][i]. So that two ways of computing can be
  // compared to the end, however they decide a near tie. All sequences must be empty.
  absl::StatusOr<std::vector<std::vector<JudgedToken>>> Judge(
      const std::vector<std::vector<int32_t>>& prompts,
      const std::vector<std::vector<int32_t>>& answers, int32_t chunk = 1 << 20);

 private:
  int32_t TakeBlock();

  Model* const model_;
  const RunnerOptions options_;
  std::vector<std::vector<int32_t>> blocks_;  // per sequence
  std::vector<int32_t> lengths_;
  std::vector<int32_t> free_;
};

}  // namespace pingti::worker::testing
