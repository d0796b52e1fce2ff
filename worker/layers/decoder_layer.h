// One transformer layer: attention and feed-forward, each behind a norm and added to the residual.
// What a family's layers are made of stands in their LayerSpec; nothing here names a family or a
// device.
//
// Confined to the engine thread. Next: attention.h, mlp.h, norm.h; worker/model/decoder_blocks.h.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "worker/backend/backend.h"
#include "worker/comm/communicator.h"
#include "worker/layers/activations.h"
#include "worker/layers/attention.h"
#include "worker/layers/declarations.h"
#include "worker/layers/mlp.h"
#include "worker/layers/norm.h"
#include "worker/spec/decoder_spec.h"

namespace pingti::worker {

class DecoderLayer {
 public:
  // `index`: of the layer in the KV cache; the one at 0 is the first.
  DecoderLayer(const LayerSpec& spec, int64_t hidden_size, int64_t index);

  void DeclareWeights(Declarations* out);
  void DeclareColumns(ActivationPlan* plan) const;
  KvLayerShape kv_shape() const { return attention_.kv_shape(); }
  AttentionShape attention_shape() const { return attention_.shape(); }

  const Norm& attention_norm() const { return attention_norm_; }
  const Norm& mlp_norm() const { return mlp_norm_; }

  // Adds the previous layer's delta to the residual (not for the first layer, whose residual is the
  // embedding), runs the layer, and leaves its feed-forward's output in kDelta.
  absl::Status Forward(Backend& backend, Communicator& comm, KvCache& cache,
                       const Activations& activations) const;

 private:
  int64_t hidden_size_;
  int64_t index_;
  Norm attention_norm_;
  GqaAttention attention_;
  Norm mlp_norm_;
  GatedMlp mlp_;
};

}  // namespace pingti::worker
