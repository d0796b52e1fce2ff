#include "worker/layers/decoder_layer.h"

#include "common/base/check.h"
#include "common/base/status_macros.h"

namespace pingti::worker {
namespace {

std::variant<Mlp, MoeMlp> MakeMlp(const LayerSpec& spec, int64_t hidden_size) {
  if (spec.experts.has_value()) return MoeMlp(*spec.experts, hidden_size);
  return Mlp(spec.mlp, hidden_size);
}

}  // namespace

DecoderLayer::DecoderLayer(const LayerSpec& spec, int64_t hidden_size, int64_t index)
    : hidden_size_(hidden_size),
      index_(index),
      residual_form_(spec.residual),
      attention_norm_(spec.attention_norm, hidden_size),
      attention_(spec.attention, hidden_size),
      mlp_(MakeMlp(spec, hidden_size)) {
  PINGTI_CHECK(spec.mlp_norm.has_value() || residual_form_ == ResidualForm::kParallel);
  if (spec.mlp_norm.has_value()) mlp_norm_.emplace(*spec.mlp_norm, hidden_size);
}

void DecoderLayer::DeclareWeights(Declarations* out) {
  attention_norm_.DeclareWeights(out);
  attention_.DeclareWeights(out);
  if (mlp_norm_.has_value()) mlp_norm_->DeclareWeights(out);
  std::visit([&](auto& mlp) { mlp.DeclareWeights(out); }, mlp_);
}

void DecoderLayer::DeclareColumns(ActivationPlan* plan) const {
  plan->Need(Activation::kResidual, hidden_size_);
  plan->Need(Activation::kDelta, hidden_size_);
  plan->Need(Activation::kNormed, hidden_size_);
  if (residual_form_ == ResidualForm::kParallel) plan->Need(Activation::kBranch, hidden_size_);
  attention_.DeclareColumns(Activation::kNormed, plan);
  std::visit([&](const auto& mlp) { mlp.DeclareColumns(Activation::kNormed, plan); }, mlp_);
}

absl::Status DecoderLayer::Forward(Backend& backend, Communicator& comm, KvCache& cache,
                                   const Activations& activations, MatrixView input) const {
  const MatrixView residual = activations.Values(Activation::kResidual, hidden_size_);
  const MatrixView delta = activations.Values(Activation::kDelta, hidden_size_);
  const Operand normed = activations.Input(Activation::kNormed, hidden_size_);
  if (index_ == 0) {
    PINGTI_RETURN_IF_ERROR(attention_norm_.Apply(backend, residual, normed));
  } else {
    PINGTI_RETURN_IF_ERROR(attention_norm_.AddAndApply(comm, delta, residual, normed));
  }
  if (input.cols > 0) PINGTI_RETURN_IF_ERROR(backend.Copy(residual, input));
  PINGTI_RETURN_IF_ERROR(attention_.Forward(backend, cache, index_, activations, normed, delta));
  return residual_form_ == ResidualForm::kParallel ? ForwardParallelMlp(backend, activations)
                                                   : ForwardMlp(backend, comm, activations);
}

absl::Status DecoderLayer::RunMlp(Backend& backend, const Activations& activations,
                                  const Operand& x, MatrixView out) const {
  return std::visit([&](const auto& mlp) { return mlp.Forward(backend, activations, x, out); },
                    mlp_);
}

absl::Status DecoderLayer::ForwardMlp(Backend& backend, Communicator& comm,
                                      const Activations& activations) const {
  const MatrixView residual = activations.Values(Activation::kResidual, hidden_size_);
  const MatrixView delta = activations.Values(Activation::kDelta, hidden_size_);
  const Operand normed = activations.Input(Activation::kNormed, hidden_size_);
  PINGTI_RETURN_IF_ERROR(mlp_norm_->AddAndApply(comm, delta, residual, normed));
  return RunMlp(backend, activations, normed, delta);
}

absl::Status DecoderLayer::ForwardParallelMlp(Backend& backend,
                                              const Activations& activations) const {
  const MatrixView residual = activations.Values(Activation::kResidual, hidden_size_);
  const MatrixView delta = activations.Values(Activation::kDelta, hidden_size_);
  const Operand normed = activations.Input(Activation::kNormed, hidden_size_);
  const MatrixView branch = activations.Values(Activation::kBranch, hidden_size_);
  if (mlp_norm_.has_value()) {
    PINGTI_RETURN_IF_ERROR(mlp_norm_->Apply(backend, residual, normed));
  }
  PINGTI_RETURN_IF_ERROR(RunMlp(backend, activations, normed, branch));
  return backend.Add(branch, delta);
}

}  // namespace pingti::worker
