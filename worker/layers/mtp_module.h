// A multi-token-prediction module (DeepSeek-AI 2024, "DeepSeek-V3 Technical Report", section 2.2).
// From the state at a position and the token behind it, it computes the next state and logits of
// the token after that:
//
//   x    = projection [norm(state) | norm(embedding(token))], or the halves the other way round
//   next = layer(x);  logits = head(final_norm(next))
//
// The layer is one of the model's own family, in the model's format; embedding and head are the
// model's. The projection stays in 16 bit or f32: its input is joined of halves, so that it has no
// quantized form. Confined to the engine thread. Next: decoder_layer.h.
#pragma once

#include <memory>
#include <optional>

#include "worker/layers/decoder_layer.h"
#include "worker/layers/draft_layers.h"
#include "worker/layers/norm.h"

namespace pingti::worker {

class MtpModule : public DraftLayers {
 public:
  // REQUIRES: `spec` has the form of a module.
  explicit MtpModule(const DraftHeadSpec& spec);

  Declarations DeclareWeights() override;
  void Share(const SharedVocabulary& vocabulary) override { vocabulary_ = vocabulary; }
  void DeclareColumns(ActivationPlan* plan) const override;
  KvLayerShape kv_shape() const override { return layer_.kv_shape(); }
  absl::Status FirstStates(Backend& backend, MatrixView joined, MatrixView states) const override;
  absl::Status Forward(Backend& backend, Communicator& comm, KvCache& cache,
                       const Activations& activations) const override;
  absl::Status AppendKv(Backend& backend, KvCache& cache,
                        const Activations& activations) const override;
  absl::Status Logits(Backend& backend, Communicator& comm, MatrixView deltas, MatrixView states,
                      const Operand& normed, MatrixView logits) const override;

 private:
  // x, in kResidual.
  absl::Status Project(Backend& backend, const Activations& activations) const;

  const int64_t hidden_;
  const MtpSpec spec_;
  SharedVocabulary vocabulary_;
  std::optional<Norm> model_norm_;  // of states that come from the model; unset: none
  Norm state_norm_;
  Norm embedding_norm_;
  std::unique_ptr<LinearWeight> projection_;  // [hidden, 2 * hidden]
  DecoderLayer layer_;
  Norm final_norm_;
};

}  // namespace pingti::worker
