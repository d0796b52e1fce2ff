#include "worker/layers/mtp_module.h"

#include <utility>

#include "common/base/status_macros.h"

namespace pingti::worker {

MtpModule::MtpModule(const DraftHeadSpec& spec)
    : hidden_(spec.hidden()),
      spec_(std::get<MtpSpec>(spec.form)),
      state_norm_(spec_.state_norm, hidden_),
      embedding_norm_(spec_.embedding_norm, hidden_),
      layer_(spec_.layer, hidden_, /*index=*/0),
      final_norm_(spec_.final_norm, hidden_) {
  if (spec_.reads_normed) model_norm_.emplace(spec.decoder.final_norm, hidden_);
}

Declarations MtpModule::DeclareWeights() {
  Declarations out;
  if (model_norm_.has_value()) model_norm_->DeclareWeights(&out);
  state_norm_.DeclareWeights(&out);
  embedding_norm_.DeclareWeights(&out);
  WeightSpec projection;
  projection.role = WeightRole::kStateIn;
  projection.parts = {WholeModule(spec_.projection, hidden_)};
  projection.cols = 2 * hidden_;
  out.push_back({std::move(projection), &projection_});
  layer_.DeclareWeights(&out);
  final_norm_.DeclareWeights(&out);
  return out;
}

void MtpModule::DeclareColumns(ActivationPlan* plan) const {
  plan->Need(Activation::kNormed, 2 * hidden_);
  plan->Need(Activation::kBranch, hidden_);
  plan->NeedForm(Activation::kFinal, hidden_, vocabulary_.head);
  layer_.DeclareColumns(plan);
}

absl::Status MtpModule::FirstStates(Backend& backend, MatrixView joined, MatrixView states) const {
  if (model_norm_.has_value()) return model_norm_->Apply(backend, joined, states);
  return backend.Copy(joined, states);
}

absl::Status MtpModule::Project(Backend& backend, const Activations& activations) const {
  const MatrixView residual = activations.Values(Activation::kResidual, hidden_);
  const MatrixView embedded = activations.Values(Activation::kBranch, hidden_);
  const MatrixView both = activations.Values(Activation::kNormed, 2 * hidden_);
  const MatrixView of_embedding = both.Columns(spec_.embedding_first ? 0 : hidden_, hidden_);
  const MatrixView of_state = both.Columns(spec_.embedding_first ? hidden_ : 0, hidden_);
  PINGTI_RETURN_IF_ERROR(backend.Embed(*vocabulary_.embedding, embedded));
  PINGTI_RETURN_IF_ERROR(embedding_norm_.Apply(backend, embedded, of_embedding));
  PINGTI_RETURN_IF_ERROR(state_norm_.Apply(backend, residual, of_state));
  return backend.Linear(*projection_, both, residual);
}

absl::Status MtpModule::AppendKv(Backend& backend, KvCache& cache,
                                 const Activations& activations) const {
  PINGTI_RETURN_IF_ERROR(Project(backend, activations));
  return layer_.AppendKv(backend, cache, activations);
}

absl::Status MtpModule::Forward(Backend& backend, Communicator& comm, KvCache& cache,
                                const Activations& activations) const {
  PINGTI_RETURN_IF_ERROR(Project(backend, activations));
  return layer_.Forward(backend, comm, cache, activations);
}

absl::Status MtpModule::Logits(Backend& backend, Communicator& comm, MatrixView deltas,
                               MatrixView states, const Operand& normed, MatrixView logits) const {
  PINGTI_RETURN_IF_ERROR(final_norm_.AddAndApply(comm, deltas, states, normed));
  if (spec_.chains_normed) PINGTI_RETURN_IF_ERROR(backend.Copy(normed.values, states));
  return backend.Linear(*vocabulary_.head, normed, logits);
}

}  // namespace pingti::worker
