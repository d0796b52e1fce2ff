// Makes a Model that runs from a checkpoint on disk and a backend to run it on.
// Next: weight_loader.h, declared_tensors.h.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/backend/backend.h"
#include "worker/comm/communicator.h"
#include "worker/layers/declarations.h"
#include "worker/layers/decoder_layer.h"
#include "worker/model/adapter_weights.h"
#include "worker/model/decoder_model.h"
#include "worker/model/model.h"
#include "worker/model/open_draft_head.h"
#include "worker/spec/shard_spec.h"
#include "worker/weights/checkpoint.h"

namespace pingti::worker {

struct LoadOptions {
  // kStored keeps 4- and 8-bit blocks of a GGUF file as they are; see WeightFormat.
  WeightFormat format = WeightFormat::kStored;
  KvFormat kv_format = KvFormat::kModel;
  // With kInt8, keeps embedding and output projection in 16 bit; else a backend that has
  // kInt8Weights keeps them so.
  bool wide_vocabulary = false;
  // Tokens of a sequence at most, below what the model takes; 0: what it takes. LongRoPE has other
  // frequencies for contexts no longer than the one that it was trained with.
  int64_t max_context_tokens = 0;
  // How several ranks share experts.
  ExpertSplit expert_split = ExpertSplit::kColumns;
  // Other ranks are in other processes, which take no part in drawing tokens: see
  // RankSampler::SetGathersRows.
  bool gathers_logits = false;
  AdapterLimits adapters{};
  // A head that drafts for the model; null: none. Must outlive the call. All ranks are told, and
  // rank 0 loads it.
  const OpenedDraftHead* draft_head = nullptr;
  // Called from the loading thread after each weight; bytes of the checkpoint. In the last call
  // they are equal.
  std::function<void(int64_t done_bytes, int64_t total_bytes)> progress{};
};

// Whether embedding and output projection become int8 weights: not those of a compressed
// checkpoint, which has said which of its layers are int8.
bool HasInt8Vocabulary(const Checkpoint& checkpoint, const LoadOptions& options);

// About the bytes that the weights take once prepared, for a refusal before anything is loaded.
int64_t EstimateWeightBytes(const Checkpoint& checkpoint, const LoadOptions& options);
// The part of it that rank 0 of `ranks` has, which is no less than any other rank's.
// Errors: InvalidArgument where the model has too few parts for so many ranks.
absl::StatusOr<int64_t> EstimateRankBytes(const Checkpoint& checkpoint, const LoadOptions& options,
                                          int ranks);

// `checkpoint` and `backend` must outlive the model. Before anything is loaded, every tensor's
// shape is checked against what the blocks declare, and no tensor of the checkpoint may be left
// over.
// Errors: InvalidArgument or Unimplemented naming the tensor or option; ResourceExhausted.
absl::StatusOr<std::unique_ptr<Model>> LoadModel(const Checkpoint& checkpoint, Backend* backend,
                                                 const LoadOptions& options);

// The model of one rank of a tensor-parallel group, `comm`'s: loads that rank's share of the
// weights. Only together with the other ranks' models is it of use; see tensor_parallel_model.h.
// `comm` is of `backend`. Errors: as above, and InvalidArgument where the model has too few parts
// to share.
absl::StatusOr<std::unique_ptr<DecoderModel>> LoadRank(const Checkpoint& checkpoint,
                                                       Backend* backend, const LoadOptions& options,
                                                       std::unique_ptr<Communicator> comm);

// For tools that look at a model piece by piece in little memory: fills the places of the declared
// weights, with the same checks of names and shapes, and the same errors, as LoadModel.
absl::Status LoadWeights(const Checkpoint& checkpoint, Backend* backend, const LoadOptions& options,
                         const Declarations& declarations);

// One layer. `cache_layer`: where it keeps its keys and values. REQUIRES: `layer` is one of the
// model's.
absl::StatusOr<DecoderLayer> LoadLayer(const Checkpoint& checkpoint, Backend* backend,
                                       const LoadOptions& options, int64_t layer,
                                       int64_t cache_layer);

}  // namespace pingti::worker
