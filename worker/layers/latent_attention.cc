#include "worker/layers/latent_attention.h"

#include <utility>

#include "common/base/status_macros.h"

namespace pingti::worker {
namespace {

// So many columns of every head, from `first` on in each head's `stride`.
HeadsView OfHeads(MatrixView matrix, int64_t heads, int64_t stride, int64_t first, int64_t cols) {
  return {matrix, heads, first, stride, cols};
}

}  // namespace

LatentAttentionBlock::LatentAttentionBlock(LatentAttentionSpec spec, int64_t hidden_size)
    : spec_(std::move(spec)),
      hidden_size_(hidden_size),
      latent_norm_(spec_.latent_norm, spec_.latent_dim) {
  if (spec_.query_norm.has_value()) query_norm_.emplace(*spec_.query_norm, spec_.query_latent_dim);
}

LatentAttentionShape LatentAttentionBlock::shape() const {
  return {spec_.num_heads, spec_.latent_dim, spec_.rope_dim, static_cast<float>(spec_.scale)};
}

void LatentAttentionBlock::DeclareWeights(Declarations* out) {
  if (query_norm_.has_value()) query_norm_->DeclareWeights(out);
  latent_norm_.DeclareWeights(out);
  WeightSpec in;
  in.role = WeightRole::kQkv;
  in.parts = spec_.in;
  in.cols = hidden_size_;
  if (spec_.query_latent_dim == 0) {
    in.split = Split::kOutput;
    in.split_unit = spec_.query_dim();
  }
  out->push_back({std::move(in), &in_.weight, &in_.lora});
  if (spec_.query_latent_dim != 0) {
    WeightSpec query;
    query.role = WeightRole::kQueryUp;
    query.parts = spec_.query;
    query.cols = spec_.query_latent_dim;
    query.split = Split::kOutput;
    query.split_unit = spec_.query_dim();
    out->push_back({std::move(query), &query_.weight, &query_.lora});
  }
  DeclareHeads(out);
  WeightSpec projection;
  projection.role = WeightRole::kAttentionOut;
  projection.parts = {WholeModule(spec_.out, hidden_size_)};
  projection.cols = context_cols();
  projection.columns = spec_.out_columns;
  projection.split = Split::kInput;
  projection.split_unit = spec_.value_dim;
  out->push_back({std::move(projection), &out_.weight, &out_.lora});
}

void LatentAttentionBlock::DeclareHeads(Declarations* out) {
  WeightSpec keys;
  keys.role = WeightRole::kLatentHeads;
  keys.parts = spec_.keys;
  keys.cols = spec_.keys_transposed ? spec_.latent_dim : spec_.nope_dim;
  keys.split = Split::kOutput;
  keys.split_unit = spec_.keys_transposed ? spec_.nope_dim : spec_.latent_dim;
  keys.heads = spec_.num_heads;
  keys.transposed = spec_.keys_transposed;
  out->push_back({std::move(keys), &keys_});
  WeightSpec values;
  values.role = WeightRole::kLatentHeads;
  values.parts = spec_.values;
  values.cols = spec_.latent_dim;
  values.split = Split::kOutput;
  values.split_unit = spec_.value_dim;
  values.heads = spec_.num_heads;
  out->push_back({std::move(values), &values_});
}

void LatentAttentionBlock::DeclareColumns(Activation input, ActivationPlan* plan) const {
  plan->NeedForm(input, hidden_size_, in_.weight.get());
  plan->Need(Activation::kQkv, in_cols());
  if (spec_.query_latent_dim != 0) {
    plan->Need(Activation::kQueryLatent, spec_.query_latent_dim);
    plan->NeedForm(Activation::kQueryLatent, spec_.query_latent_dim, query_.weight.get());
    plan->Need(Activation::kQuery, query_cols());
  }
  plan->Need(Activation::kLatentQuery, latent_query_cols());
  plan->Need(Activation::kLatentContext, latent_context_cols());
  plan->Need(Activation::kContext, context_cols());
  plan->NeedForm(Activation::kContext, context_cols(), out_.weight.get());
}

absl::Status LatentAttentionBlock::MakeQueries(Backend& backend, const Activations& activations,
                                               MatrixView first, MatrixView* queries) const {
  *queries = first;
  if (spec_.query_latent_dim == 0) return absl::OkStatus();
  const Operand latent = activations.Input(Activation::kQueryLatent, spec_.query_latent_dim);
  *queries = activations.Values(Activation::kQuery, query_cols());
  PINGTI_RETURN_IF_ERROR(query_norm_->Apply(backend, first, latent));
  return query_.Apply(backend, latent, *queries);
}

absl::Status LatentAttentionBlock::AppendKv(Backend& backend, KvCache& cache, int64_t cache_layer,
                                            const Activations& activations,
                                            const Operand& x) const {
  const LatentAttentionShape attention = shape();
  const int64_t heads = spec_.num_heads;
  const MatrixView in = activations.Values(Activation::kQkv, in_cols());
  const MatrixView latent_queries =
      activations.Values(Activation::kLatentQuery, latent_query_cols());
  PINGTI_RETURN_IF_ERROR(in_.Apply(backend, x, in));
  MatrixView queries;
  PINGTI_RETURN_IF_ERROR(MakeQueries(backend, activations, in.Columns(0, first_cols()), &queries));
  PINGTI_RETURN_IF_ERROR(backend.HeadLinear(
      *keys_, OfHeads(queries, heads, spec_.query_dim(), 0, spec_.nope_dim),
      OfHeads(latent_queries, heads, attention.key_dim(), 0, spec_.latent_dim), {}));
  return backend.RopeAndAppendLatent(
      OfHeads(queries, heads, spec_.query_dim(), spec_.nope_dim, spec_.rope_dim),
      in.Columns(first_cols(), attention.key_dim()), attention, *latent_norm_.weight(),
      latent_norm_.eps(), cache, cache_layer,
      OfHeads(latent_queries, heads, attention.key_dim(), spec_.latent_dim, spec_.rope_dim));
}

absl::Status LatentAttentionBlock::Forward(Backend& backend, KvCache& cache, int64_t cache_layer,
                                           const Activations& activations, const Operand& x,
                                           MatrixView out) const {
  const int64_t heads = spec_.num_heads;
  const MatrixView latent_queries =
      activations.Values(Activation::kLatentQuery, latent_query_cols());
  const MatrixView latents = activations.Values(Activation::kLatentContext, latent_context_cols());
  const Operand context = activations.Input(Activation::kContext, context_cols());
  PINGTI_RETURN_IF_ERROR(AppendKv(backend, cache, cache_layer, activations, x));
  PINGTI_RETURN_IF_ERROR(
      backend.LatentAttention(latent_queries, shape(), cache, cache_layer, latents));
  PINGTI_RETURN_IF_ERROR(backend.HeadLinear(
      *values_, OfHeads(latents, heads, spec_.latent_dim, 0, spec_.latent_dim),
      OfHeads(context.values, heads, spec_.value_dim, 0, spec_.value_dim), context.quantized));
  return out_.Apply(backend, context, out);
}

}  // namespace pingti::worker
