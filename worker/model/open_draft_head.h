// Opens a head that drafts for a model: an EAGLE-3 head on disk, or a module of the model's own
// checkpoint. Next: families/eagle3.h, head_runner.h.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/spec/draft_head_spec.h"
#include "worker/weights/checkpoint.h"

namespace pingti::worker {

struct OpenedDraftHead {
  std::unique_ptr<Checkpoint> checkpoint;  // null: the model's
  DraftHeadSpec spec;
  // By token of the model's vocabulary: its row of the head's own, or -1. Empty: they are the same.
  std::vector<int32_t> own_token;
};

// A directory with config.json and safetensors, for `model`. All tensors that the head needs are
// there, and no others. With `random_weights`, as of OpenRandomCheckpoint: no safetensors are read,
// and the head knows the vocabulary's first tokens and has the model's embedding.
// Errors: NotFound, InvalidArgument, Unimplemented; every message starts with the path.
absl::StatusOr<OpenedDraftHead> OpenDraftHead(const std::string& directory,
                                              const DecoderSpec& model,
                                              bool random_weights = false);

// The multi-token-prediction module of a model. Its tensors are checked as LoadModel checks the
// model's. Errors: InvalidArgument where the checkpoint has none, or a tensor of it is missing or
// has another shape; Unimplemented for several modules. Every message starts with the path.
absl::StatusOr<OpenedDraftHead> OpenMtpModule(const Checkpoint& model);

}  // namespace pingti::worker
