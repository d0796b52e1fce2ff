// The layers of an EAGLE-3 head. From the state at a position and the token behind it, it computes
// the next state and logits of the token after that:
//
//   state = fc([hidden of layer i | of layer j | of layer k]), where the model computed
//   x     = [norm(embedding(token)) | norm(state)]
//   r     = state + attention(x)
//   next  = r + mlp(norm(r));  logits = head(norm(next))
//
// Weights stay as they are read, in bf16 or f32: x is joined of halves, so that it has no quantized
// form. Confined to the engine thread.
#pragma once

#include <memory>

#include "worker/layers/attention.h"
#include "worker/layers/draft_layers.h"
#include "worker/layers/mlp.h"
#include "worker/layers/norm.h"

namespace pingti::worker {

class Eagle3Head : public DraftLayers {
 public:
  // REQUIRES: `spec` has the form of an EAGLE-3 head.
  explicit Eagle3Head(const DraftHeadSpec& spec);

  Declarations DeclareWeights() override;
  void Share(const SharedVocabulary& vocabulary) override;
  void DeclareColumns(ActivationPlan* plan) const override;
  KvLayerShape kv_shape() const override { return attention_.kv_shape(); }
  absl::Status FirstStates(Backend& backend, MatrixView joined, MatrixView states) const override {
    return backend.Linear(*fc_, joined, states);
  }
  absl::Status Forward(Backend& backend, Communicator& comm, KvCache& cache,
                       const Activations& activations) const override;
  absl::Status AppendKv(Backend& backend, KvCache& cache,
                        const Activations& activations) const override;
  absl::Status Logits(Backend& backend, Communicator& comm, MatrixView deltas, MatrixView states,
                      const Operand& normed, MatrixView logits) const override;

 private:
  // x, in kNormed.
  absl::Status Join(Backend& backend, const Activations& activations) const;
  const EmbeddingTable& embedding() const {
    return own_embedding_ != nullptr ? *own_embedding_ : *models_embedding_;
  }

  const DraftHeadSpec spec_;
  const Eagle3Spec form_;
  std::unique_ptr<EmbeddingTable> own_embedding_;     // null: the head has none
  const EmbeddingTable* models_embedding_ = nullptr;  // used then
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
