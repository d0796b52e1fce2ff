// How a request wants its tokens drawn. Plain data; semantics in worker/backend/sampling_params.h.
#pragma once

#include <cstdint>
#include <vector>

#include "worker/backend/sampling_params.h"

namespace pingti::worker {

struct BeamParameters {
  int32_t num_beams = 1;  // 1: no beam search
  float length_penalty = 1.0f;
  bool early_stopping = false;
};

struct SamplingParameters {
  float temperature = 0.0f;  // 0: greedy
  float top_p = 1.0f;
  int32_t top_k = 0;
  float min_p = 0.0f;
  float presence_penalty = 0.0f;
  float frequency_penalty = 0.0f;
  float repetition_penalty = 1.0f;
  uint64_t seed = 0;
  std::vector<TokenBias> logit_bias;
  std::vector<int32_t> allowed_token_ids;  // empty: all
  int32_t n = 1;                           // samples returned
  int32_t best_of = 1;  // samples drawn; those with the highest mean logprob are returned
  BeamParameters beam;

  bool has_penalty() const {
    return presence_penalty != 0.0f || frequency_penalty != 0.0f || repetition_penalty != 1.0f;
  }
  bool is_beam_search() const { return beam.num_beams > 1; }
};

}  // namespace pingti::worker
