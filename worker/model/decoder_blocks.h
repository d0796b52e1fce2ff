// All blocks of a decoder with their weights: embedding, layers, last norm, output projection. Made
// of a DecoderSpec without weights, so that anyone can read what the blocks declare; a loader fills
// them in (load_model.h).
//
// Confined to the engine thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "worker/backend/backend.h"
#include "worker/comm/communicator.h"
#include "worker/layers/activations.h"
#include "worker/layers/declarations.h"
#include "worker/layers/decoder_layer.h"
#include "worker/layers/norm.h"
#include "worker/spec/decoder_spec.h"
#include "worker/spec/draft_head_spec.h"

namespace pingti::worker {

class DecoderBlocks {
 public:
  explicit DecoderBlocks(const DecoderSpec& spec);

  // In the order in which they are loaded. The places are good while this object stays where it is.
  Declarations DeclareWeights();
  void DeclareColumns(ActivationPlan* plan) const;

  const std::vector<DecoderLayer>& layers() const { return layers_; }
  std::vector<DecoderLayer>& layers() { return layers_; }
  // Of the spec's vocabulary_share.
  const EmbeddingTable* embedding() const { return embedding_.get(); }
  const LinearWeight* head() const { return head_.get(); }

  // out[t] = the embedding of token t of the step.
  absl::Status Embed(Backend& backend, Communicator& comm, MatrixView out) const;
  // residual += the last layer's delta, summed over ranks: what the last norm reads. Overwrites
  // delta.
  absl::Status Finish(Communicator& comm, MatrixView delta, MatrixView residual) const;
  // Logits of rows of the last layer's delta, not yet summed over ranks, and residual, f32: those
  // of the spec's vocabulary_share. Overwrites the residual and `normed`, which has kFinal's form
  // and may share its values with delta. The rows are those of the step's `tokens`; empty: of all.
  absl::Status Logits(Backend& backend, Communicator& comm, std::span<const int32_t> tokens,
                      MatrixView delta, MatrixView residual, const Operand& normed,
                      MatrixView logits) const;

 private:
  WeightSpec embedding_spec_;
  WeightSpec head_spec_;
  int64_t hidden_size_;
  std::unique_ptr<EmbeddingTable> embedding_;    // [vocab, hidden], or a share of its rows
  std::unique_ptr<LinearWeight> head_;           // the same
  const LoraWeights* embedding_lora_ = nullptr;  // null: no adapters
  const LoraWeights* head_lora_ = nullptr;
  std::vector<DecoderLayer> layers_;
  Norm final_norm_;
};

// The embedding and the output projection.
WeightSpec EmbeddingWeight(const DecoderSpec& spec);
WeightSpec LogitsWeight(const DecoderSpec& spec);

// What the MTP module of the model's checkpoint is as a head. REQUIRES: spec.mtp.
DraftHeadSpec MtpHeadSpec(const DecoderSpec& spec);

// What the blocks of a model declare, or those of one layer, or of a head that drafts for it: for
// memory arithmetic and tools.
std::vector<WeightSpec> DeclaredWeights(const DecoderSpec& spec);
std::vector<WeightSpec> DeclaredLayerWeights(const DecoderSpec& spec, int64_t layer);
std::vector<WeightSpec> DeclaredHeadWeights(const DraftHeadSpec& spec);

}  // namespace pingti::worker
