// Logits to tokens, one launch for a batch, no full sort: logit bias, penalties, grammar mask,
// temperature, top_k, top_p, min_p, draw, log-probabilities, and the tokens that beams may go on
// with. Host only.
// Next: kernels/sampling/sample.cu.
//
// Order on a row: bias, repetition penalty, presence and frequency penalty, allowed mask;
// temperature 0 (or top_k 1): argmax, lowest id on ties; else temperature, top_k, top_p, min_p,
// draw. The draw is the kept token of the highest logit * (1 / temperature) + noise, the lowest id
// on ties (Gumbel, "Statistical Theory of Extreme Values", 1954: it follows the softmax). 1 /
// temperature is at most 1e30.
//
// A token's noise is a pure function of (seed, position, token), so that a sequence draws the same
// whatever shares its batch, on any backend: Philox 4x32 with 10 rounds (Salmon et al., SC 2011;
// multipliers 0xD2511F53, 0xCD9E8D57, key increments 0x9E3779B9, 0xBB67AE85),
//   key = (low, high 32 bits of seed),
//   counter = (low, high 32 bits of position, token / 4, 0),
//   v = (output word token % 4 + 1/2) * 2^-32 in float arithmetic, at most 1 - 2^-24,
//   noise = -log(-log(1 - v)).
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

namespace pingti::kernels {

inline constexpr int kMaxTopLogprobs = 64;
inline constexpr int kMaxRankedTokens = 64;

// How often a token occurs in a sequence. A token appears once in a row's range.
struct SamplingTokenCount {
  int32_t token_id;
  int32_t prompt_count;
  int32_t output_count;
};

// A token appears once in a row's range.
struct SamplingTokenBias {
  int32_t token_id;
  float bias;
};

struct SamplingRowParams {
  float temperature = 1.0f;  // <= 0: argmax
  float top_p = 1.0f;        // >= 1: off
  float min_p = 0.0f;        // <= 0: off; relative to the most likely token's weight
  int32_t top_k = 0;         // <= 0: off
  float presence_penalty = 0.0f;
  float frequency_penalty = 0.0f;
  float repetition_penalty = 1.0f;  // > 0
  int32_t num_top_logprobs = -1;    // -1: no logprobs; at most SampleParams::max_top_logprobs
  // > 0: so many tokens of the highest adjusted log-probabilities, at most
  // SampleParams::max_ranked; bias, penalties and mask are then applied to log-probabilities, which
  // are not normalised again. REQUIRES: temperature 0, num_top_logprobs >= 0.
  int32_t num_ranked = 0;
  // Of LaunchSampleParts alone: the part's best tokens that the record tells.
  int32_t num_candidates = 1;
  uint64_t seed = 0;
  uint64_t position = 0;
  int32_t counts_begin = 0;  // range in SampleParams::token_counts
  int32_t counts_end = 0;
  int32_t biases_begin = 0;  // range in SampleParams::token_biases
  int32_t biases_end = 0;
  int32_t mask_row = -1;  // row of SampleParams::allowed_masks; < 0: all tokens
};

// All pointers are device memory.
struct SampleParams {
  const float* logits = nullptr;                     // [num_rows, vocab_size], not changed
  int64_t logits_stride = 0;                         // elements
  const SamplingRowParams* rows = nullptr;           // [num_rows]
  const SamplingTokenCount* token_counts = nullptr;  // ids in [0, vocab_size); others are ignored
  const SamplingTokenBias* token_biases = nullptr;
  const uint32_t* allowed_masks = nullptr;  // bit t % 32 of word t / 32: token t may be drawn
  int64_t allowed_mask_stride = 0;          // words
  void* workspace = nullptr;                // SampleWorkspaceBytes, 16-byte aligned
  int32_t* token_ids =
      nullptr;  // [num_rows]; -1: the adjusted row holds a NaN or has no finite maximum
  // Of the raw logits. For rows that ask for them; others are not written.
  float* logprobs = nullptr;      // [num_rows], of the drawn token; null if no row asks
  int32_t* top_ids = nullptr;     // [num_rows, max_top_logprobs], descending, ties lower id first
  float* top_logprobs = nullptr;  // [num_rows, max_top_logprobs]
  int32_t max_top_logprobs = 0;   // 0..kMaxTopLogprobs
  // Of rows that ask for them, descending, ties lower id first; id -1: there are no more tokens.
  int32_t* ranked_ids = nullptr;       // [num_rows, max_ranked]
  float* ranked_logprobs = nullptr;    // [num_rows, max_ranked], of the raw logits
  float* adjusted_logprobs = nullptr;  // [num_rows, max_ranked], what they are ranked by
  int32_t max_ranked = 0;              // 0..kMaxRankedTokens
  int32_t num_rows = 0;
  int32_t vocab_size = 0;  // 1..360448
};

// Workspace for up to `num_rows` rows on the current device (0 on sm_90, whose clusters keep a row
// in shared memory).
cudaError_t SampleWorkspaceBytes(int num_rows, int vocab_size, size_t* bytes);

// Deterministic. cudaErrorInvalidValue: a null pointer or a size outside the ranges above;
// cudaErrorNotSupported: a device older than sm_80.
cudaError_t LaunchSample(const SampleParams& params, cudaStream_t stream);

}  // namespace pingti::kernels
