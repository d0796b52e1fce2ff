// Makes a Model that runs from a checkpoint on disk and a backend to run it on.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "worker/backend/backend.h"
#include "worker/layers/decoder_layer.h"
#include "worker/model/model.h"
#include "worker/weights/checkpoint.h"

namespace pingti::worker {

struct LoadOptions {
  // kStored keeps 4- and 8-bit blocks of a GGUF file as they are; see WeightFormat.
  WeightFormat format = WeightFormat::kStored;
  KvFormat kv_format = KvFormat::kModel;
  // With kInt8, keeps embedding and output projection in 16 bit; else a backend that has
  // kInt8Weights keeps them so.
  bool wide_vocabulary = false;
  // Called from the loading thread after each tensor group; bytes of the checkpoint. In the
  // last call they are equal.
  std::function<void(int64_t done_bytes, int64_t total_bytes)> progress;
};

// About the bytes that the weights take once prepared, for a refusal before anything is loaded.
int64_t EstimateWeightBytes(const Checkpoint& checkpoint, const LoadOptions& options);

// `checkpoint` and `backend` must outlive the model. Every tensor's shape is checked against the
// configuration, and no tensor of the checkpoint may be left over.
// Errors: InvalidArgument or Unimplemented naming the tensor or option; ResourceExhausted.
absl::StatusOr<std::unique_ptr<Model>> LoadModel(const Checkpoint& checkpoint, Backend* backend,
                                                 const LoadOptions& options);

// One layer's weights alone, for tools that look at a model layer by layer in little memory: the
// same checks of names and shapes, and the same errors, as in LoadModel. REQUIRES: `layer` is one
// of the configuration's.
absl::StatusOr<DecoderLayerWeights> LoadLayerWeights(const Checkpoint& checkpoint, Backend* backend,
                                                     const LoadOptions& options, int64_t layer);

}  // namespace pingti::worker
