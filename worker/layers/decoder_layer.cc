#include "worker/layers/decoder_layer.h"

#include <algorithm>

#include "common/base/check.h"
#include "common/base/status_macros.h"

namespace pingti::worker {
namespace {

std::variant<GqaAttention, LatentAttentionBlock> MakeAttention(const LayerSpec& spec,
                                                               int64_t hidden_size) {
  if (spec.latent_attention.has_value()) {
    return LatentAttentionBlock(*spec.latent_attention, hidden_size);
  }
  return GqaAttention(spec.attention, hidden_size);
}

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
      attention_(MakeAttention(spec, hidden_size)),
      mlp_(MakeMlp(spec, hidden_size)) {
  PINGTI_CHECK(spec.mlp_norm.has_value() || residual_form_ == ResidualForm::kParallel);
  if (spec.mlp_norm.has_value()) mlp_norm_.emplace(*spec.mlp_norm, hidden_size);
}

void DecoderLayer::DeclareWeights(Declarations* out) {
  attention_norm_.DeclareWeights(out);
  std::visit([&](auto& attention) { attention.DeclareWeights(out); }, attention_);
  if (mlp_norm_.has_value()) mlp_norm_->DeclareWeights(out);
  std::visit([&](auto& mlp) { mlp.DeclareWeights(out); }, mlp_);
}

void DecoderLayer::DeclareColumns(ActivationPlan* plan) const {
  plan->Need(Activation::kResidual, hidden_size_);
  plan->Need(Activation::kDelta, hidden_size_);
  plan->Need(Activation::kNormed, hidden_size_);
  if (residual_form_ == ResidualForm::kParallel) plan->Need(Activation::kBranch, hidden_size_);
  std::visit([&](const auto& block) { block.DeclareColumns(Activation::kNormed, plan); },
             attention_);
  std::visit([&](const auto& mlp) { mlp.DeclareColumns(Activation::kNormed, plan); }, mlp_);
}

KvLayerShape DecoderLayer::kv_shape() const {
  return std::visit([](const auto& attention) { return attention.kv_shape(); }, attention_);
}

void DecoderLayer::NeedLimits(StepLimits* limits) const {
  if (const auto* gqa = std::get_if<GqaAttention>(&attention_)) {
    const AttentionShape shape = gqa->shape();
    limits->num_heads = std::max(limits->num_heads, shape.num_heads);
    limits->num_kv_heads = std::max(limits->num_kv_heads, shape.num_kv_heads);
    limits->head_dim = std::max(limits->head_dim, shape.head_dim);
  } else {
    const LatentAttentionShape shape = std::get<LatentAttentionBlock>(attention_).shape();
    limits->latent.num_heads = std::max(limits->latent.num_heads, shape.num_heads);
    limits->latent.latent_dim = std::max(limits->latent.latent_dim, shape.latent_dim);
    limits->latent.rope_dim = std::max(limits->latent.rope_dim, shape.rope_dim);
  }
  if (const auto* moe = std::get_if<MoeMlp>(&mlp_)) {
    const ExpertRouting& routing = moe->routing();
    limits->num_experts = std::max(limits->num_experts, routing.num_experts);
    limits->experts_per_token = std::max(limits->experts_per_token, routing.experts_per_token);
    limits->max_expert_inner = std::max(limits->max_expert_inner, moe->inner());
  }
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
  PINGTI_RETURN_IF_ERROR(std::visit(
      [&](const auto& block) {
        return block.Forward(backend, cache, index_, activations, normed, delta);
      },
      attention_));
  return residual_form_ == ResidualForm::kParallel ? ForwardParallelMlp(backend, activations)
                                                   : ForwardMlp(backend, comm, activations);
}

absl::Status DecoderLayer::AppendKv(Backend& backend, KvCache& cache,
                                    const Activations& activations) const {
  PINGTI_CHECK(index_ == 0);
  const Operand normed = activations.Input(Activation::kNormed, hidden_size_);
  PINGTI_RETURN_IF_ERROR(attention_norm_.Apply(
      backend, activations.Values(Activation::kResidual, hidden_size_), normed));
  return std::visit(
      [&](const auto& block) {
        return block.AppendKv(backend, cache, index_, activations, normed);
      },
      attention_);
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
