// What one rank of a tensor-parallel group computes of a checkpoint's model. Next:
// worker/spec/shard_spec.h, which says how ranks share.
#pragma once

#include "absl/status/statusor.h"
#include "worker/spec/decoder_spec.h"
#include "worker/spec/shard_spec.h"
#include "worker/weights/checkpoint.h"

namespace pingti::worker {

// The checkpoint's spec for one rank; shares end, where they can, between the blocks or groups in
// which the file keeps quantized values. REQUIRES: 0 <= rank < size; the checkpoint has the tensors
// that its spec names (declared_tensors.h).
// Errors: InvalidArgument, starting with the path, where the model has too few parts for so many
// ranks.
absl::StatusOr<DecoderSpec> RankSpec(const Checkpoint& checkpoint, int rank, int size,
                                     ExpertSplit expert_split = ExpertSplit::kColumns);

}  // namespace pingti::worker
