#include "worker/layers/eagle3_head.h"

#include <utility>

#include "common/base/status_macros.h"

namespace pingti::worker {
namespace {

AttentionSpec ReadingBoth(const DraftHeadSpec& spec) {
  AttentionSpec attention = spec.decoder.layers.front().attention;
  attention.input_size = 2 * spec.hidden();
  return attention;
}

}  // namespace

Eagle3Head::Eagle3Head(const DraftHeadSpec& spec)
    : spec_(spec),
      form_(std::get<Eagle3Spec>(spec.form)),
      embedding_norm_(spec.decoder.layers.front().attention_norm, spec.hidden()),
      hidden_norm_(form_.hidden_norm, spec.hidden()),
      attention_(ReadingBoth(spec), spec.hidden()),
      mlp_norm_(*spec.decoder.layers.front().mlp_norm, spec.hidden()),
      mlp_(spec.decoder.layers.front().mlp, spec.hidden()),
      final_norm_(spec.decoder.final_norm, spec.hidden()) {}

Declarations Eagle3Head::DeclareWeights() {
  Declarations out;
  const auto matrix = [&](WeightRole role, const std::string& module, int64_t rows, int64_t cols) {
    WeightSpec weight;
    weight.role = role;
    weight.parts = {WholeModule(module, rows)};
    weight.cols = cols;
    return weight;
  };
  const DecoderSpec& decoder = spec_.decoder;
  if (!decoder.embedding.empty()) {
    out.push_back({matrix(WeightRole::kEmbedding, decoder.embedding, decoder.vocab_size, 0),
                   &own_embedding_});
    out.back().spec.cols = spec_.hidden();
  }
  WeightSpec fc = matrix(WeightRole::kStateIn, form_.fc, spec_.hidden(), spec_.joined());
  fc.bias = form_.fc_bias;
  out.push_back({std::move(fc), &fc_});
  embedding_norm_.DeclareWeights(&out);
  hidden_norm_.DeclareWeights(&out);
  attention_.DeclareWeights(&out);
  mlp_norm_.DeclareWeights(&out);
  mlp_.DeclareWeights(&out);
  final_norm_.DeclareWeights(&out);
  out.push_back(
      {matrix(WeightRole::kLogits, decoder.head, spec_.own_vocabulary, spec_.hidden()), &head_});
  return out;
}

void Eagle3Head::Share(const SharedVocabulary& vocabulary) {
  models_embedding_ = vocabulary.embedding;
}

void Eagle3Head::DeclareColumns(ActivationPlan* plan) const {
  plan->Need(Activation::kResidual, spec_.hidden());
  plan->Need(Activation::kDelta, spec_.hidden());
  plan->Need(Activation::kBranch, spec_.hidden());
  plan->Need(Activation::kNormed, 2 * spec_.hidden());
  attention_.DeclareColumns(Activation::kNormed, plan);
  mlp_.DeclareColumns(Activation::kNormed, plan);
}

absl::Status Eagle3Head::Join(Backend& backend, const Activations& activations) const {
  const int64_t hidden = spec_.hidden();
  const MatrixView residual = activations.Values(Activation::kResidual, hidden);
  const MatrixView embedded = activations.Values(Activation::kBranch, hidden);
  const MatrixView both = activations.Values(Activation::kNormed, 2 * hidden);
  PINGTI_RETURN_IF_ERROR(backend.Embed(embedding(), embedded));
  PINGTI_RETURN_IF_ERROR(embedding_norm_.Apply(backend, embedded, both.Columns(0, hidden)));
  return hidden_norm_.Apply(backend, residual, both.Columns(hidden, hidden));
}

absl::Status Eagle3Head::AppendKv(Backend& backend, KvCache& cache,
                                  const Activations& activations) const {
  PINGTI_RETURN_IF_ERROR(Join(backend, activations));
  return attention_.AppendKv(backend, cache, 0, activations,
                             activations.Values(Activation::kNormed, 2 * spec_.hidden()));
}

absl::Status Eagle3Head::Forward(Backend& backend, Communicator& comm, KvCache& cache,
                                 const Activations& activations) const {
  const int64_t hidden = spec_.hidden();
  const MatrixView residual = activations.Values(Activation::kResidual, hidden);
  const MatrixView delta = activations.Values(Activation::kDelta, hidden);
  const MatrixView both = activations.Values(Activation::kNormed, 2 * hidden);
  PINGTI_RETURN_IF_ERROR(Join(backend, activations));
  if (form_.norm_before_residual) {
    PINGTI_RETURN_IF_ERROR(backend.Copy(both.Columns(hidden, hidden), residual));
  }
  PINGTI_RETURN_IF_ERROR(attention_.Forward(backend, cache, 0, activations, both, delta));
  const MatrixView normed = activations.Values(Activation::kNormed, hidden);
  PINGTI_RETURN_IF_ERROR(mlp_norm_.AddAndApply(comm, delta, residual, normed));
  return mlp_.Forward(backend, activations, normed, delta);
}

absl::Status Eagle3Head::Logits(Backend& backend, Communicator& comm, MatrixView deltas,
                                MatrixView states, const Operand& normed, MatrixView logits) const {
  PINGTI_RETURN_IF_ERROR(final_norm_.AddAndApply(comm, deltas, states, normed));
  return backend.Linear(*head_, normed, logits);
}

}  // namespace pingti::worker
