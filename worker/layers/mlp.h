// The feed-forward block, gated or plain (see MlpSpec). Confined to the engine thread.
#pragma once

#include <memory>

#include "absl/status/status.h"
#include "worker/backend/backend.h"
#include "worker/layers/activations.h"
#include "worker/layers/declarations.h"
#include "worker/layers/projection.h"
#include "worker/spec/decoder_spec.h"

namespace pingti::worker {

class Mlp {
 public:
  Mlp(MlpSpec spec, int64_t hidden_size);

  void DeclareWeights(Declarations* out);
  // `input`: where the block's x will be.
  void DeclareColumns(Activation input, ActivationPlan* plan) const;

  // out = mlp(x), this rank's part of the sum; both [tokens, hidden].
  absl::Status Forward(Backend& backend, const Activations& activations, const Operand& x,
                       MatrixView out) const;

 private:
  int64_t in_cols() const { return (spec_.gated ? 2 : 1) * spec_.inner; }

  MlpSpec spec_;
  int64_t hidden_size_;
  Projection gate_up_;  // [2 * inner, hidden], or [inner, hidden] of a plain one
  Projection down_;     // [hidden, inner]
};

}  // namespace pingti::worker
