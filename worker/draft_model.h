// Where a worker's drafts come from, as its settings say: made while starting, before the served
// model takes the memory that is left. Next: worker/speculation/.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "worker/engine/draft_source.h"
#include "worker/loaded_model.h"
#include "worker/server/worker_config.h"

namespace pingti::worker {

// Null where speculation is none. Loads the draft model, if there is one, beside the served one.
// Errors: those of opening and loading a model; InvalidArgument where the two have different
// tokens, naming the first; ResourceExhausted where draft_kv_memory holds no sequence.
absl::StatusOr<std::unique_ptr<DraftSource>> MakeDraftSource(const WorkerConfig& config,
                                                             const LoadedModel& served);

}  // namespace pingti::worker
