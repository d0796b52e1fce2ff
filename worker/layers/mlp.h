// The gated feed-forward block: down(silu(gate(x)) * up(x)) (Shazeer, "GLU Variants Improve
// Transformer"). Confined to the engine thread.
#pragma once

#include <memory>

#include "absl/status/status.h"
#include "worker/backend/backend.h"
#include "worker/layers/activations.h"
#include "worker/layers/declarations.h"
#include "worker/spec/decoder_spec.h"

namespace pingti::worker {

class GatedMlp {
 public:
  GatedMlp(MlpSpec spec, int64_t hidden_size);

  void DeclareWeights(Declarations* out);
  // `input`: where the block's x will be.
  void DeclareColumns(Activation input, ActivationPlan* plan) const;

  // out = mlp(x), this rank's part of the sum; both [tokens, hidden].
  absl::Status Forward(Backend& backend, const Activations& activations, const Operand& x,
                       MatrixView out) const;

 private:
  MlpSpec spec_;
  int64_t hidden_size_;
  std::unique_ptr<LinearWeight> gate_up_;  // [2 * inner, hidden]
  std::unique_ptr<LinearWeight> down_;     // [hidden, inner]
};

}  // namespace pingti::worker
