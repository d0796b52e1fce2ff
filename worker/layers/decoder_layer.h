// One transformer layer: attention and feed-forward, each behind a norm and added to the residual,
// one after the other or both at once (see ResidualForm).
// What a family's layers are made of stands in their LayerSpec; nothing here names a family or a
// device.
//
// Confined to the engine thread. Next: attention.h, latent_attention.h, mlp.h, moe_mlp.h, norm.h;
// worker/model/decoder_blocks.h.
#pragma once

#include <cstdint>
#include <optional>
#include <variant>

#include "absl/status/status.h"
#include "worker/backend/backend.h"
#include "worker/comm/communicator.h"
#include "worker/layers/activations.h"
#include "worker/layers/attention.h"
#include "worker/layers/declarations.h"
#include "worker/layers/latent_attention.h"
#include "worker/layers/mlp.h"
#include "worker/layers/moe_mlp.h"
#include "worker/layers/norm.h"
#include "worker/spec/decoder_spec.h"

namespace pingti::worker {

class DecoderLayer {
 public:
  // `index`: of the layer in the KV cache; the one at 0 is the first.
  DecoderLayer(const LayerSpec& spec, int64_t hidden_size, int64_t index);

  void DeclareWeights(Declarations* out);
  void DeclareColumns(ActivationPlan* plan) const;
  KvLayerShape kv_shape() const;
  // Raises the limits of heads and experts to what the layer's operations need.
  void NeedLimits(StepLimits* limits) const;

  const Norm& attention_norm() const { return attention_norm_; }
  // Null: the layer has none.
  MoeMlp* experts() { return std::get_if<MoeMlp>(&mlp_); }

  // Adds the ranks' deltas of the previous layer to the residual (not for the first layer, whose
  // residual is the embedding), runs the layer, and leaves in kDelta this rank's part of what the
  // layer has yet to add: the sum over ranks comes with the norm that follows. `input`, where it
  // has columns, gets a copy of the residual that the layer begins with: [tokens, hidden].
  absl::Status Forward(Backend& backend, Communicator& comm, KvCache& cache,
                       const Activations& activations, MatrixView input = {}) const;
  // Of Forward only what it caches, of the residual in kResidual. REQUIRES: the first layer.
  absl::Status AppendKv(Backend& backend, KvCache& cache, const Activations& activations) const;

 private:
  absl::Status ForwardMlp(Backend& backend, Communicator& comm,
                          const Activations& activations) const;
  absl::Status RunMlp(Backend& backend, const Activations& activations, const Operand& x,
                      MatrixView out) const;
  absl::Status ForwardParallelMlp(Backend& backend, const Activations& activations) const;

  int64_t hidden_size_;
  int64_t index_;
  ResidualForm residual_form_;
  Norm attention_norm_;
  std::variant<GqaAttention, LatentAttentionBlock> attention_;
  std::optional<Norm> mlp_norm_;
  std::variant<Mlp, MoeMlp> mlp_;
};

}  // namespace pingti::worker
