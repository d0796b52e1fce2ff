// The layers of an EAGLE-3 head. From the state at a position and the token behind it, it computes
// the next state and logits of the token after that:
//
//   state = fc([hidden of layer i | of layer j | of layer k]), where the model computed
//   x     = [norm(embedding(token)) | norm(state)]
//   r     = state + attention(x)
//   next  = r + mlp(norm(r));  logits = head(norm(next))
//
// Weights stay as they are read, in bf16 or f32: x is joined of halves, so that it has no quantized
// form. Runs whole on one rank. Confined to the engine thread. Next: worker/model/head_runner.h.
#pragma once

#include <memory>

#include "absl/status/status.h"
#include "worker/backend/backend.h"
#include "worker/comm/communicator.h"
#include "worker/layers/activations.h"
#include "worker/layers/attention.h"
#include "worker/layers/declarations.h"
#include "worker/layers/mlp.h"
#include "worker/layers/norm.h"
#include "worker/spec/draft_head_spec.h"

namespace pingti::worker {

class Eagle3Head {
 public:
  explicit Eagle3Head(const DraftHeadSpec& spec);

  // What the head's own checkpoint holds; with the embedding only if it is there.
  Declarations DeclareWeights();
  // Where the model's embedding goes, if the head has none of its own.
  std::unique_ptr<EmbeddingTable>* embedding() { return &embedding_; }
  void DeclareColumns(ActivationPlan* plan) const;
  KvLayerShape kv_shape() const { return attention_.kv_shape(); }

  // states = fc(joined): [tokens, hidden] of [tokens, target_layers * target_hidden].
  absl::Status FirstStates(Backend& backend, MatrixView joined, MatrixView states) const {
    return backend.Linear(*fc_, joined, states);
  }
  // The step's tokens, whose states are in kResidual. What is left in kResidual and kDelta is the
  // next state once added. Keys and values go to layer 0 of the cache.
  absl::Status Forward(Backend& backend, Communicator& comm, KvCache& cache,
                       const Activations& activations) const;
  // Of rows of kDelta and kResidual: states += deltas, then logits of the head's own vocabulary,
  // f32. `normed` is of the states' shape.
  absl::Status Logits(Backend& backend, Communicator& comm, MatrixView deltas, MatrixView states,
                      MatrixView normed, MatrixView logits) const;

 private:
  const DraftHeadSpec spec_;
  std::unique_ptr<EmbeddingTable> embedding_;
  std::unique_ptr<LinearWeight> fc_;
  Norm embedding_norm_;
  Norm hidden_norm_;
  GqaAttention attention_;
  Norm mlp_norm_;
  Mlp mlp_;
  Norm final_norm_;
  std::unique_ptr<LinearWeight> head_;  // [own vocabulary, hidden]
};

}  // namespace pingti::worker
