// What a head is made of that drafts for a model out of the model's own hidden states: an EAGLE-3
// head, from a checkpoint of its own, or a multi-token-prediction module of the model's checkpoint.
// Plain data. Next: worker/layers/draft_layers.h.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "worker/spec/decoder_spec.h"

namespace pingti::worker {

// Li et al. 2025, "EAGLE-3: Scaling up Inference Acceleration of Large Language Models via
// Training-Time Test". The layer's attention reads [norm of the token's embedding | norm of the
// state]; its attention_norm is the embedding's.
struct Eagle3Spec {
  NormSpec hidden_norm;  // of the state
  // The residual stream begins with the state behind hidden_norm, not before it.
  bool norm_before_residual = false;
  // The first state at a position is fc of what the model's layers begin with there, joined.
  // [hidden, target_layers * target_hidden]
  std::string fc;
  bool fc_bias = false;
};

struct DraftHeadSpec {
  // One layer. The vocabulary is the model's; an empty embedding or head is the model's, too. Of a
  // module the last norm is the model's, its own stands in `form`.
  DecoderSpec decoder;
  int64_t own_vocabulary = 0;  // tokens that the head may draft, a part of the vocabulary
  // What the head reads at a position: what these layers of the model begin with there. A number
  // equal to that of the layers: what the model's last norm reads.
  std::vector<int64_t> target_layers;
  int64_t target_hidden = 0;
  std::variant<Eagle3Spec, MtpSpec> form;

  int64_t hidden() const { return decoder.hidden_size; }
  int64_t joined() const { return target_hidden * static_cast<int64_t>(target_layers.size()); }
};

}  // namespace pingti::worker
