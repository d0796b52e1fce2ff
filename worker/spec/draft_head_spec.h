// What an EAGLE-3 head is made of: a decoder layer of its own that reads hidden states of the model
// that it drafts for (Li et al. 2025, "EAGLE-3: Scaling up Inference Acceleration of Large Language
// Models via Training-Time Test"). Plain data. Next: worker/layers/eagle3_head.h.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "worker/spec/decoder_spec.h"

namespace pingti::worker {

struct DraftHeadSpec {
  // One layer; its attention reads [norm of the token's embedding | norm of the state], and its
  // attention_norm is the embedding's. The vocabulary is the model's. An empty embedding: the
  // model's, too.
  DecoderSpec decoder;
  int64_t own_vocabulary = 0;  // tokens that the head may draft, a part of the vocabulary
  NormSpec hidden_norm;        // of the state
  // The residual stream begins with the state behind hidden_norm, not before it.
  bool norm_before_residual = false;
  // The first state at a position is fc of what these layers of the model begin with there, joined.
  // [hidden, target_layers * target_hidden]
  std::string fc;
  bool fc_bias = false;
  std::vector<int64_t> target_layers;
  int64_t target_hidden = 0;

  int64_t hidden() const { return decoder.hidden_size; }
  int64_t joined() const { return target_hidden * static_cast<int64_t>(target_layers.size()); }
};

}  // namespace pingti::worker
