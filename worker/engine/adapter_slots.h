// Which adapter is in which of the model's slots. Those of a step that are in none are put in place
// of the ones that were used longest ago. Confined to the engine thread.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "worker/adapters/adapter_store.h"
#include "worker/engine/engine_stats.h"
#include "worker/engine/scheduler.h"
#include "worker/model/model.h"

namespace pingti::worker {

class AdapterSlots {
 public:
  // `model` must outlive it.
  explicit AdapterSlots(Model* model);

  // Gives a slot to every adapter of the plan's chunks. REQUIRES: there are no more of them than
  // slots. Errors: those of Model::SetAdapter.
  absl::Status Load(const StepPlan& plan, StepStats* stats);
  // Of an adapter of the last plan; kNoAdapterSlot of none.
  int32_t SlotOf(const Adapter* adapter) const;

 private:
  struct Slot {
    AdapterPtr adapter;  // shared: kept while it is here, so that no other has its address
    uint64_t last_used = 0;
  };

  absl::Status Put(const AdapterPtr& adapter, StepStats* stats);

  Model* const model_;
  std::vector<Slot> slots_;
  uint64_t step_ = 0;
};

}  // namespace pingti::worker
