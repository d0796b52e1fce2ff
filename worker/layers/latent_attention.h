// Latent attention over a paged cache of latents, in its absorbed form (see LatentAttentionSpec;
// docs/adr/0023-latent-attention-runs-absorbed.md says why in that form alone):
//
//   [q | c, r] = W_in x, or q = W_q norm(c_q) with [c_q | c, r] = W_in x
//   cached     = [norm(c) | rotate(r)]
//   u_h        = [W_key,h q_h,nope | rotate(q_h,rope)]
//   s_h        = softmax(scale * u_h . cached) . latents
//   out        = W_out [W_value,h s_h of every head h]
//
// Ranks of a tensor-parallel group each compute some heads, and all of them the whole latent.
// Confined to the engine thread.
#pragma once

#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "worker/backend/backend.h"
#include "worker/layers/activations.h"
#include "worker/layers/declarations.h"
#include "worker/layers/norm.h"
#include "worker/layers/projection.h"
#include "worker/spec/decoder_spec.h"

namespace pingti::worker {

class LatentAttentionBlock {
 public:
  LatentAttentionBlock(LatentAttentionSpec spec, int64_t hidden_size);

  void DeclareWeights(Declarations* out);
  // `input`: where the block's x will be.
  void DeclareColumns(Activation input, ActivationPlan* plan) const;
  // What the layer caches of each token.
  KvLayerShape kv_shape() const { return LatentLayer(spec_.latent_dim, spec_.rope_dim); }
  LatentAttentionShape shape() const;

  // out = attention(x), this rank's part of the sum; both [tokens, hidden]. Latents go to layer
  // `cache_layer` of the cache.
  absl::Status Forward(Backend& backend, KvCache& cache, int64_t cache_layer,
                       const Activations& activations, const Operand& x, MatrixView out) const;
  // Of Forward only what it caches, and the queries, which are rotated beside it.
  absl::Status AppendKv(Backend& backend, KvCache& cache, int64_t cache_layer,
                        const Activations& activations, const Operand& x) const;

 private:
  int64_t query_cols() const { return spec_.num_heads * spec_.query_dim(); }
  // Of W_in x before the latent and the shared key.
  int64_t first_cols() const {
    return spec_.query_latent_dim == 0 ? query_cols() : spec_.query_latent_dim;
  }
  int64_t in_cols() const { return first_cols() + spec_.latent_dim + spec_.rope_dim; }
  int64_t context_cols() const { return spec_.num_heads * spec_.value_dim; }
  int64_t latent_query_cols() const { return spec_.num_heads * shape().key_dim(); }
  int64_t latent_context_cols() const { return spec_.num_heads * spec_.latent_dim; }

  void DeclareHeads(Declarations* out);
  // Queries [tokens, query_cols()] of the first columns of W_in x.
  absl::Status MakeQueries(Backend& backend, const Activations& activations, MatrixView first,
                           MatrixView* queries) const;

  LatentAttentionSpec spec_;
  int64_t hidden_size_;
  std::optional<Norm> query_norm_;        // [query_latent_dim]
  Norm latent_norm_;                      // [latent_dim]
  Projection in_;                         // [in_cols(), hidden]
  Projection query_;                      // [query_cols(), query_latent_dim]; none without latent
  std::unique_ptr<LinearWeight> keys_;    // of each head [latent_dim, nope_dim]
  std::unique_ptr<LinearWeight> values_;  // of each head [value_dim, latent_dim]
  Projection out_;                        // [hidden, context_cols()]
};

}  // namespace pingti::worker
