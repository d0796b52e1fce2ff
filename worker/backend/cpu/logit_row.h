// What the CPU's samplers do to a row of logits, whole or a part: the logits of the tokens from
// `first_token` on, a multiple of kTokensPerDraw. Pure functions.
// Next: cpu_sampler.h, cpu_part_sampler.h.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "worker/backend/sampling_params.h"

namespace pingti::worker::cpu {

struct TokenLogit {
  float logit;
  int32_t token_id;
};

struct ScoredToken {
  int32_t token_id;
  float score;
};

// What a draw takes the highest of.
inline float Score(float logit, float inverse_temperature, float noise) {
  return logit * inverse_temperature + noise;
}

bool HasProcessors(const SamplingRow& row);
// Bias, penalties and mask of the tokens that are there.
void ApplyProcessors(const SamplingRow& row, int64_t first_token, std::span<float> logits);
// top = the `count` highest, or all that there are; descending, ties lower id first.
void SelectTop(std::span<const float> logits, int64_t first_token, int32_t count,
               std::vector<TokenLogit>* top);
// The token of the highest score. `best`: the place of the highest logit, which is finite.
ScoredToken DrawFromAll(std::span<const float> logits, int64_t first_token, const SamplingRow& row,
                        int64_t best);

}  // namespace pingti::worker::cpu
