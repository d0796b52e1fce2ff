// How a request wants its tokens drawn. Plain data; semantics in worker/backend/sampling_params.h.
#pragma once

#include <cstdint>
#include <vector>

#include "worker/backend/sampling_params.h"

namespace pingti::worker {

// When a search whose finished beams are num_beams is over; named as transformers names it.
enum class EarlyStopping {
  kFalse,  // when the best running beam would not be among them if it ended now
  kTrue,   // at once
  kNever,  // when no running beam can come among them, however it goes on
};

struct BeamParameters {
  int32_t num_beams = 1;  // 1: no beam search
  // A beam's score is its log-probability / its length ^ length_penalty.
  float length_penalty = 1.0f;
  EarlyStopping early_stopping = EarlyStopping::kFalse;
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
  int32_t n = 1;                           // answers; more than one only of a beam search
  BeamParameters beam;

  bool has_penalty() const {
    return presence_penalty != 0.0f || frequency_penalty != 0.0f || repetition_penalty != 1.0f;
  }
  bool is_beam_search() const { return beam.num_beams > 1; }
};

}  // namespace pingti::worker
