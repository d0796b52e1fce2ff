// Runs steps with drafts, and the head that proposes those, before there are any requests, so that
// a device has its records of them (Backend::Issue): one that is made when its shape first comes up
// costs as much as several steps.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "worker/model/model.h"

namespace pingti::worker {

// Steps of at most `max_rows` tokens and `max_drafts` drafts per sequence. REQUIRES: the model is
// allocated with blocks of `kv_block_tokens`, and nothing has run; block 0 holds anything
// afterwards. Errors: those of Model::Forward and Sample, and of the head's.
absl::Status RecordDraftSteps(Model* model, int32_t max_rows, int32_t max_drafts,
                              int32_t kv_block_tokens);

}  // namespace pingti::worker
