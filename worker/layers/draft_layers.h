// The layers of a head that drafts for a model out of the model's hidden states: from the state at
// a position and the token behind it, they make the next state and logits of the token after that.
// Run whole on one rank. Confined to the engine thread. Next: eagle3_head.h, mtp_module.h;
// worker/model/head_runner.h.
#pragma once

#include <memory>

#include "absl/status/status.h"
#include "worker/backend/backend.h"
#include "worker/comm/communicator.h"
#include "worker/layers/activations.h"
#include "worker/layers/declarations.h"
#include "worker/spec/draft_head_spec.h"

namespace pingti::worker {

// What a head may share with its model. Both are of all tokens, and belong to the model or to
// whoever runs the head.
struct SharedVocabulary {
  const EmbeddingTable* embedding = nullptr;
  const LinearWeight* head = nullptr;
};

class DraftLayers {
 public:
  virtual ~DraftLayers() = default;

  // What the head's checkpoint holds; embedding and output projection only if the spec names them.
  virtual Declarations DeclareWeights() = 0;
  // What the model gives where the spec names none. REQUIRED before DeclareColumns.
  virtual void Share(const SharedVocabulary& vocabulary) = 0;
  virtual void DeclareColumns(ActivationPlan* plan) const = 0;
  virtual KvLayerShape kv_shape() const = 0;

  // states = what the head begins with, of what it reads of the model: [tokens, hidden] of
  // [tokens, target_layers * target_hidden].
  virtual absl::Status FirstStates(Backend& backend, MatrixView joined,
                                   MatrixView states) const = 0;
  // The step's tokens, whose states are in kResidual. What is left in kResidual and kDelta is the
  // next state once added. Keys and values go to layer 0 of the cache.
  virtual absl::Status Forward(Backend& backend, Communicator& comm, KvCache& cache,
                               const Activations& activations) const = 0;
  // Of Forward only the keys and values, which do not depend on other tokens: for tokens that
  // nothing is drawn from. Takes a small part of Forward's time.
  virtual absl::Status AppendKv(Backend& backend, KvCache& cache,
                                const Activations& activations) const = 0;
  // Of rows of kDelta and kResidual: states become the next states, and logits those of the head's
  // own vocabulary, f32. `normed` is of the states' shape and has kFinal's form.
  virtual absl::Status Logits(Backend& backend, Communicator& comm, MatrixView deltas,
                              MatrixView states, const Operand& normed,
                              MatrixView logits) const = 0;
};

// Without weights.
std::unique_ptr<DraftLayers> MakeDraftLayers(const DraftHeadSpec& spec);

}  // namespace pingti::worker
