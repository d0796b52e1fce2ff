// Grouped-query attention over a paged KV cache (Ainslie et al., "GQA"), with rotary positions.
// Multi-head and multi-query attention are the cases of as many key-value heads as query heads and
// of one. Confined to the engine thread.
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

class GqaAttention {
 public:
  GqaAttention(AttentionSpec spec, int64_t hidden_size);

  void DeclareWeights(Declarations* out);
  // `input`: where the block's x will be.
  void DeclareColumns(Activation input, ActivationPlan* plan) const;
  // What the layer caches of each token.
  KvLayerShape kv_shape() const {
    return KeyValueLayer(spec_.num_kv_heads, spec_.head_dim, spec_.window);
  }
  AttentionShape shape() const;

  // out = attention(x), this rank's part of the sum; out: [tokens, hidden], x: the same, or
  // [tokens, AttentionSpec::input_size]. Keys and values go to
  // layer `cache_layer` of the cache.
  absl::Status Forward(Backend& backend, KvCache& cache, int64_t cache_layer,
                       const Activations& activations, const Operand& x, MatrixView out) const;
  // Of Forward only what it caches.
  absl::Status AppendKv(Backend& backend, KvCache& cache, int64_t cache_layer,
                        const Activations& activations, const Operand& x) const;

 private:
  int64_t q_cols() const { return spec_.num_heads * spec_.head_dim; }
  int64_t input_size() const { return spec_.input_size == 0 ? hidden_size_ : spec_.input_size; }
  int64_t qkv_cols() const { return q_cols() + 2 * spec_.num_kv_heads * spec_.head_dim; }
  HeadNorms head_norms() const;

  AttentionSpec spec_;
  int64_t hidden_size_;
  std::optional<Norm> q_norm_;                  // [head_dim]
  std::optional<Norm> k_norm_;                  // [head_dim]
  std::unique_ptr<DeviceBuffer> alibi_slopes_;  // f32 [num_heads]; null: none
  std::unique_ptr<DeviceBuffer> sinks_;         // the same
  Projection qkv_;                              // [(heads + 2 kv_heads) * head_dim, input_size()]
  Projection out_;                              // [hidden, heads * head_dim]
};

}  // namespace pingti::worker
