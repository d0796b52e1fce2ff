#include "worker/layers/moe_mlp.h"

#include <utility>

#include "common/base/status_macros.h"

namespace pingti::worker {

MoeMlp::MoeMlp(ExpertsSpec spec, int64_t hidden_size)
    : spec_(std::move(spec)), hidden_size_(hidden_size) {
  if (spec_.shared.has_value()) shared_.emplace(*spec_.shared, hidden_size);
}

void MoeMlp::DeclareWeights(Declarations* out) {
  DeclareRouter(out);
  DeclareExperts(out);
  if (shared_.has_value()) shared_->DeclareWeights(out);
}

void MoeMlp::DeclareRouter(Declarations* out) {
  WeightSpec router;
  router.role = WeightRole::kRouter;
  router.parts = {WholeModule(spec_.router, spec_.routing.num_experts)};
  router.cols = hidden_size_;
  router.bias = spec_.router_bias;
  out->push_back({std::move(router), &router_});
  WeightSpec counts;
  counts.role = WeightRole::kConstant;
  counts.constant.assign(static_cast<size_t>(spec_.routing.num_experts), 0.0f);
  out->push_back({std::move(counts), &counts_});
  if (!spec_.correction_bias.empty()) {
    WeightSpec bias;
    bias.role = WeightRole::kRouter;
    bias.parts = {WholeModule(spec_.correction_bias, spec_.routing.num_experts)};
    bias.suffix = "";
    out->push_back({std::move(bias), &correction_bias_});
  }
  if (spec_.shared_gate.empty()) return;
  WeightSpec gate;
  gate.role = WeightRole::kRouter;
  gate.parts = {WholeModule(spec_.shared_gate, 1)};
  gate.cols = hidden_size_;
  out->push_back({std::move(gate), &shared_gate_});
}

void MoeMlp::DeclareExperts(Declarations* out) {
  WeightSpec gate_up;
  gate_up.role = WeightRole::kExpertsIn;
  gate_up.parts = spec_.gate_up;
  gate_up.cols = hidden_size_;
  gate_up.bias = spec_.bias;
  const bool whole_experts = spec_.routing.num_held != 0;
  gate_up.split = whole_experts ? Split::kExpert : Split::kOutput;
  gate_up.experts = spec_.routing.held();
  gate_up.first_expert = spec_.routing.first_held;
  gate_up.layer_experts = spec_.routing.num_experts;
  gate_up.gate_and_up_alternate = spec_.gate_and_up_alternate;
  out->push_back({std::move(gate_up), &gate_up_.weight, &gate_up_.lora});
  WeightSpec down;
  down.role = WeightRole::kExpertsOut;
  down.parts = spec_.down;
  down.cols = spec_.inner;
  down.columns = spec_.down_columns;
  down.bias = spec_.bias && spec_.down_columns.first == 0;
  down.split = whole_experts ? Split::kExpert : Split::kInput;
  down.experts = spec_.routing.held();
  down.first_expert = spec_.routing.first_held;
  down.layer_experts = spec_.routing.num_experts;
  out->push_back({std::move(down), &down_.weight, &down_.lora});
}

void MoeMlp::DeclareColumns(Activation input, ActivationPlan* plan) const {
  const int64_t rows = spec_.routing.rows_per_token();
  plan->Need(Activation::kRouterLogits, spec_.routing.num_experts);
  plan->NeedForm(input, hidden_size_, gate_up_.weight.get());
  plan->NeedRows(Activation::kExpertGateUp, rows, 2 * spec_.inner);
  plan->NeedRows(Activation::kExpertInner, rows, spec_.inner);
  plan->NeedForm(Activation::kExpertInner, spec_.inner, down_.weight.get());
  plan->NeedRows(Activation::kExpertOut, rows, hidden_size_);
  if (!shared_.has_value()) return;
  shared_->DeclareColumns(input, plan);
  plan->Need(Activation::kShared, hidden_size_);
  if (!spec_.shared_gate.empty()) plan->Need(Activation::kSharedGate, 1);
}

absl::Status MoeMlp::ForwardShared(Backend& backend, const Activations& activations,
                                   const Operand& x, SharedExpert* shared) const {
  if (!shared_.has_value()) return absl::OkStatus();
  shared->out = activations.Values(Activation::kShared, hidden_size_);
  PINGTI_RETURN_IF_ERROR(shared_->Forward(backend, activations, x, shared->out));
  if (shared_gate_ == nullptr) return absl::OkStatus();
  shared->gate = activations.Values(Activation::kSharedGate, 1);
  return backend.Linear(*shared_gate_, x, shared->gate);
}

absl::Status MoeMlp::TakeCounts(Backend& backend, std::vector<float>* counts) {
  const int64_t experts = spec_.routing.num_experts;
  const MatrixView view{counts_->data(), DType::kF32, 1, experts, experts};
  counts->resize(static_cast<size_t>(experts));
  PINGTI_RETURN_IF_ERROR(backend.CopyToHost(view, *counts));
  return backend.CopyFromHost(std::vector<float>(counts->size(), 0.0f), view);
}

absl::Status MoeMlp::Forward(Backend& backend, const Activations& activations, const Operand& x,
                             MatrixView out) const {
  const MatrixView logits =
      activations.Values(Activation::kRouterLogits, spec_.routing.num_experts);
  const MatrixView gate_up = activations.Values(Activation::kExpertGateUp, 2 * spec_.inner);
  const Operand inner = activations.Input(Activation::kExpertInner, spec_.inner);
  const MatrixView rows = activations.Values(Activation::kExpertOut, hidden_size_);
  SharedExpert shared;
  PINGTI_RETURN_IF_ERROR(backend.Linear(*router_, x, logits));
  PINGTI_RETURN_IF_ERROR(Route(backend, logits));
  PINGTI_RETURN_IF_ERROR(gate_up_.ApplyToExperts(backend, x, RowOrder::kByToken, gate_up));
  PINGTI_RETURN_IF_ERROR(backend.ActivateExperts(spec_.function, gate_up, inner));
  PINGTI_RETURN_IF_ERROR(down_.ApplyToExperts(backend, inner, RowOrder::kByExpert, rows));
  PINGTI_RETURN_IF_ERROR(ForwardShared(backend, activations, x, &shared));
  return backend.CombineExperts(rows, shared, out);
}

}  // namespace pingti::worker
