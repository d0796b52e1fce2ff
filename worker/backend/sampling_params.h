// What the sampler needs to know of one row of logits. Plain data: the engine fills it, every
// backend reads it. Semantics follow the OpenAI reference and, for top_k, min_p and
// repetition_penalty, Hugging Face transformers' logits processors.
//
// Order of operations on a row: bias, repetition penalty, presence and frequency penalty, allowed
// mask, (temperature 0: argmax, lowest id on ties), temperature, top_k, top_p, min_p, draw.
// top_k, top_p and min_p each keep a prefix of the tokens in descending probability (ties: lower id
// first). The draw is the kept token of the highest logit * InverseTemperature + noise, the lowest
// id on ties, with the noise of sampling_rng.h keyed by (seed, position, token): it depends on
// nothing else in the batch.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

namespace pingti::worker {

// The most alternatives, and the most ranked tokens, that every backend gives for one row.
inline constexpr int32_t kMaxTopLogprobs = 64;
inline constexpr int32_t kMaxRankedTokens = 64;

struct TokenCount {
  int32_t token_id;
  int32_t prompt_count;
  int32_t output_count;
};

struct TokenBias {
  int32_t token_id;
  float bias;
};

struct SamplingRow {
  float temperature = 1.0f;
  float top_p = 1.0f;
  int32_t top_k = 0;  // 0: off
  float min_p = 0.0f;
  float presence_penalty = 0.0f;
  float frequency_penalty = 0.0f;
  float repetition_penalty = 1.0f;
  uint64_t seed = 0;
  // Index of the token to draw within the whole sequence (prompt length + output so far).
  uint64_t position = 0;
  // Tokens the penalties look at; empty when no penalty is set.
  std::span<const TokenCount> token_counts;
  std::span<const TokenBias> logit_bias;
  // Bit t of the mask: token t may be drawn. Empty: all. [ceil(vocab / 32)]
  std::span<const uint32_t> allowed_mask;
  // -1: no logprobs; k >= 0: the drawn token's and the k most likely ones'. Logprobs are of the raw
  // logits (before penalties and temperature), as OpenAI-compatible servers report them.
  int32_t num_top_logprobs = -1;
  // More than 0: so many tokens of the highest adjusted log-probabilities are given, for a beam to
  // go on with. Bias, penalties and mask are then applied to the log-probabilities, as
  // transformers' beam search does with its logits processors, and nothing normalises them again.
  // REQUIRES: temperature 0; the first of them is what the row draws.
  int32_t num_ranked = 0;
};

// At most 1e30, so that no product with a logit overflows.
inline float InverseTemperature(const SamplingRow& row) {
  return std::min(1.0f / row.temperature, 1e30f);
}

// Whether the row's token is drawn, and not the one of the highest adjusted logit.
inline bool Draws(const SamplingRow& row) { return row.temperature > 0.0f && row.top_k != 1; }

// Whether the highest logit is all that a row's draw depends on.
inline bool TakesHighest(const SamplingRow& row) {
  return !Draws(row) && row.token_counts.empty() && row.logit_bias.empty() &&
         row.allowed_mask.empty() && row.num_top_logprobs < 0 && row.num_ranked == 0;
}

struct TopLogprob {
  int32_t token_id;
  float logprob;
};

struct RankedToken {
  int32_t token_id;
  float logprob;
  float adjusted_logprob;
};

struct SampledToken {
  int32_t token_id = -1;
  float logprob = 0.0f;         // valid when logprobs were asked for
  std::vector<TopLogprob> top;  // descending
  // Descending, ties lower id first; as many as were asked for, or all that may come next.
  std::vector<RankedToken> ranked;
  bool logits_not_finite = false;  // the row held a NaN or only -inf: the sequence fails alone
};

// Log-probability of a given token at a row, for prompt logprobs.
struct LogprobRequest {
  int32_t row;
  int32_t token_id;
  int32_t num_top;
};

}  // namespace pingti::worker
