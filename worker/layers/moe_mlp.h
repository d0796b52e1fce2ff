// A feed-forward of many experts, of which a router chooses some for each token, with or without
// one that all tokens share (see ExpertsSpec). Confined to the engine thread.
//
// Ranks of a tensor-parallel group each compute some inner columns of every expert, or, expert
// parallel, some of the experts (docs/adr/0024). All of them route alike: their routers are whole
// and read activations of the same bits.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "worker/backend/backend.h"
#include "worker/layers/activations.h"
#include "worker/layers/declarations.h"
#include "worker/layers/mlp.h"
#include "worker/layers/projection.h"
#include "worker/spec/decoder_spec.h"

namespace pingti::worker {

class MoeMlp {
 public:
  MoeMlp(ExpertsSpec spec, int64_t hidden_size);

  void DeclareWeights(Declarations* out);
  // `input`: where the block's x will be.
  void DeclareColumns(Activation input, ActivationPlan* plan) const;
  const ExpertRouting& routing() const { return spec_.routing; }
  int64_t inner() const { return spec_.inner; }

  // out = moe_mlp(x), this rank's part of the sum; both [tokens, hidden].
  absl::Status Forward(Backend& backend, const Activations& activations, const Operand& x,
                       MatrixView out) const;

  // Chooses experts by the router's logits, f32 [tokens, num_experts], as Forward does.
  absl::Status Route(Backend& backend, MatrixView logits) const {
    return backend.RouteExperts(logits, spec_.routing, correction_bias_.get(), counts_.get());
  }
  ActivationFunction function() const { return spec_.function; }

  // How often each expert was chosen since this was last asked: [num_experts]. Waits for the
  // device.
  absl::Status TakeCounts(Backend& backend, std::vector<float>* counts);

 private:
  void DeclareRouter(Declarations* out);
  void DeclareExperts(Declarations* out);
  // The shared expert's output, if there is one.
  absl::Status ForwardShared(Backend& backend, const Activations& activations, const Operand& x,
                             SharedExpert* shared) const;

  ExpertsSpec spec_;
  int64_t hidden_size_;
  std::unique_ptr<LinearWeight> router_;           // [num_experts, hidden]
  std::unique_ptr<DeviceBuffer> correction_bias_;  // f32 [num_experts]; null: none
  std::unique_ptr<DeviceBuffer> counts_;           // the same, see TakeCounts
  Projection gate_up_;                             // [held * 2 * inner, hidden]
  Projection down_;                                // [held * hidden, inner]
  std::optional<Mlp> shared_;
  std::unique_ptr<LinearWeight> shared_gate_;  // [1, hidden]; null: none
};

}  // namespace pingti::worker
