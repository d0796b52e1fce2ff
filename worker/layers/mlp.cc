#include "worker/layers/mlp.h"

#include <utility>

#include "common/base/status_macros.h"

namespace pingti::worker {

Mlp::Mlp(MlpSpec spec, int64_t hidden_size) : spec_(std::move(spec)), hidden_size_(hidden_size) {}

void Mlp::DeclareWeights(Declarations* out) {
  WeightSpec gate_up;
  gate_up.role = WeightRole::kMlpIn;
  gate_up.parts = spec_.gate_up;
  gate_up.cols = hidden_size_;
  gate_up.bias = spec_.bias;
  gate_up.split = Split::kOutput;
  out->push_back({std::move(gate_up), &gate_up_.weight, &gate_up_.lora});
  WeightSpec down;
  down.role = WeightRole::kMlpOut;
  down.parts = {WholeModule(spec_.down, hidden_size_)};
  down.cols = spec_.inner;
  down.columns = spec_.down_columns;
  down.bias = spec_.bias && spec_.down_columns.first == 0;
  down.split = Split::kInput;
  out->push_back({std::move(down), &down_.weight, &down_.lora});
}

void Mlp::DeclareColumns(Activation input, ActivationPlan* plan) const {
  plan->NeedForm(input, hidden_size_, gate_up_.weight.get());
  plan->Need(Activation::kGateUp, in_cols());
  plan->Need(Activation::kInner, spec_.inner);
  plan->NeedForm(Activation::kInner, spec_.inner, down_.weight.get());
}

absl::Status Mlp::Forward(Backend& backend, const Activations& activations, const Operand& x,
                          MatrixView out) const {
  const MatrixView gate_up = activations.Values(Activation::kGateUp, in_cols());
  const Operand inner = activations.Input(Activation::kInner, spec_.inner);
  PINGTI_RETURN_IF_ERROR(gate_up_.Apply(backend, x, gate_up));
  if (spec_.gated) {
    PINGTI_RETURN_IF_ERROR(backend.ActivateGated(spec_.function, gate_up, inner));
  } else {
    PINGTI_RETURN_IF_ERROR(backend.Activate(spec_.function, gate_up, inner));
  }
  return down_.Apply(backend, inner, out);
}

}  // namespace pingti::worker
