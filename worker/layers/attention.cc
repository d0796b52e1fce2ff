#include "worker/layers/attention.h"

#include <cmath>
#include <utility>

#include "common/base/status_macros.h"

namespace pingti::worker {

GqaAttention::GqaAttention(AttentionSpec spec, int64_t hidden_size)
    : spec_(std::move(spec)), hidden_size_(hidden_size) {
  if (spec_.q_norm.has_value()) q_norm_.emplace(*spec_.q_norm, spec_.head_dim);
  if (spec_.k_norm.has_value()) k_norm_.emplace(*spec_.k_norm, spec_.head_dim);
}

void GqaAttention::DeclareWeights(Declarations* out) {
  if (q_norm_.has_value()) q_norm_->DeclareWeights(out);
  if (k_norm_.has_value()) k_norm_->DeclareWeights(out);
  if (!spec_.alibi_slopes.empty()) {
    WeightSpec slopes;
    slopes.role = WeightRole::kConstant;
    slopes.constant = spec_.alibi_slopes;
    slopes.split = Split::kOutput;
    out->push_back({std::move(slopes), &alibi_slopes_});
  }
  if (!spec_.sinks.empty()) {
    WeightSpec sinks;
    sinks.role = WeightRole::kSinks;
    sinks.parts = spec_.sinks;
    sinks.split = Split::kOutput;
    sinks.suffix = "";
    out->push_back({std::move(sinks), &sinks_});
  }
  WeightSpec qkv;
  qkv.role = WeightRole::kQkv;
  qkv.parts = spec_.qkv;
  qkv.cols = input_size();
  qkv.bias = spec_.qkv_bias;
  qkv.split = Split::kOutput;
  qkv.split_unit = spec_.head_dim;
  out->push_back({std::move(qkv), &qkv_.weight, &qkv_.lora});
  WeightSpec projection;
  projection.role = WeightRole::kAttentionOut;
  projection.parts = {WholeModule(spec_.out, hidden_size_)};
  projection.cols = q_cols();
  projection.columns = spec_.out_columns;
  projection.bias = spec_.out_bias && spec_.out_columns.first == 0;
  projection.split = Split::kInput;
  projection.split_unit = spec_.head_dim;
  out->push_back({std::move(projection), &out_.weight, &out_.lora});
}

void GqaAttention::DeclareColumns(Activation input, ActivationPlan* plan) const {
  plan->NeedForm(input, input_size(), qkv_.weight.get());
  plan->Need(Activation::kQkv, qkv_cols());
  plan->Need(Activation::kContext, q_cols());
  plan->NeedForm(Activation::kContext, q_cols(), out_.weight.get());
}

AttentionShape GqaAttention::shape() const {
  return {
      spec_.num_heads,     spec_.num_kv_heads,
      spec_.head_dim,      static_cast<float>(1.0 / std::sqrt(static_cast<double>(spec_.head_dim))),
      spec_.window,        spec_.logit_softcap,
      alibi_slopes_.get(), sinks_.get()};
}

HeadNorms GqaAttention::head_norms() const {
  HeadNorms norms;
  if (q_norm_.has_value()) {
    norms.q = q_norm_->weight();
    norms.eps = q_norm_->eps();
  }
  if (k_norm_.has_value()) norms.k = k_norm_->weight();
  return norms;
}

absl::Status GqaAttention::AppendKv(Backend& backend, KvCache& cache, int64_t cache_layer,
                                    const Activations& activations, const Operand& x) const {
  const MatrixView qkv = activations.Values(Activation::kQkv, qkv_cols());
  PINGTI_RETURN_IF_ERROR(qkv_.Apply(backend, x, qkv));
  return backend.RopeAndAppendKv(qkv, shape(), head_norms(), cache, cache_layer);
}

absl::Status GqaAttention::Forward(Backend& backend, KvCache& cache, int64_t cache_layer,
                                   const Activations& activations, const Operand& x,
                                   MatrixView out) const {
  const MatrixView qkv = activations.Values(Activation::kQkv, qkv_cols());
  const Operand context = activations.Input(Activation::kContext, q_cols());
  PINGTI_RETURN_IF_ERROR(AppendKv(backend, cache, cache_layer, activations, x));
  PINGTI_RETURN_IF_ERROR(backend.Attention(qkv, shape(), cache, cache_layer, context));
  return out_.Apply(backend, context, out);
}

}  // namespace pingti::worker
