// Opens an EAGLE-3 head on disk. Next: families/eagle3.h, head_runner.h.
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
  std::unique_ptr<Checkpoint> checkpoint;
  DraftHeadSpec spec;
  // By token of the model's vocabulary: its row of the head's own, or -1.
  std::vector<int32_t> own_token;
};

// A directory with config.json and safetensors, for `model`. All tensors that the head needs are
// there, and no others. With `random_weights`, as of OpenRandomCheckpoint: no safetensors are read,
// and the head knows the vocabulary's first tokens and has the model's embedding.
// Errors: NotFound, InvalidArgument, Unimplemented; every message starts with the path.
absl::StatusOr<OpenedDraftHead> OpenDraftHead(const std::string& directory,
                                              const DecoderSpec& model,
                                              bool random_weights = false);

}  // namespace pingti::worker
