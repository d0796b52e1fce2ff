// See adapter_slots.h.
#include "worker/engine/adapter_slots.h"

#include <algorithm>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "worker/engine/request_group.h"

namespace pingti::worker {

AdapterSlots::AdapterSlots(Model* model)
    : model_(model), slots_(static_cast<size_t>(model->num_adapter_slots())) {}

absl::Status AdapterSlots::Load(const StepPlan& plan, StepStats* stats) {
  ++step_;
  bool all_here = true;
  for (const PlannedChunk& chunk : plan.chunks) {
    const int32_t slot = SlotOf(chunk.sequence->adapter);
    if (slot != kNoAdapterSlot) slots_[static_cast<size_t>(slot)].last_used = step_;
    all_here &= slot != kNoAdapterSlot || chunk.sequence->adapter == nullptr;
  }
  if (all_here) return absl::OkStatus();
  for (const PlannedChunk& chunk : plan.chunks) {
    const Sequence& sequence = *chunk.sequence;
    if (sequence.adapter == nullptr || SlotOf(sequence.adapter) != kNoAdapterSlot) continue;
    PINGTI_RETURN_IF_ERROR(Put(sequence.group->adapter(), stats));
  }
  return absl::OkStatus();
}

absl::Status AdapterSlots::Put(const AdapterPtr& adapter, StepStats* stats) {
  const auto oldest =
      std::min_element(slots_.begin(), slots_.end(),
                       [](const Slot& a, const Slot& b) { return a.last_used < b.last_used; });
  PINGTI_CHECK_MSG(oldest != slots_.end() && oldest->last_used < step_,
                   "the plan has more adapters than there are slots");
  stats->adapter_evictions += oldest->adapter == nullptr ? 0 : 1;
  *oldest = {};
  PINGTI_RETURN_IF_ERROR(
      model_->SetAdapter(static_cast<int32_t>(oldest - slots_.begin()), adapter->image));
  *oldest = {adapter, step_};
  ++stats->adapter_slot_loads;
  return absl::OkStatus();
}

int32_t AdapterSlots::SlotOf(const Adapter* adapter) const {
  if (adapter == nullptr) return kNoAdapterSlot;
  const auto found = std::find_if(slots_.begin(), slots_.end(), [adapter](const Slot& slot) {
    return slot.adapter.get() == adapter;
  });
  return found == slots_.end() ? kNoAdapterSlot : static_cast<int32_t>(found - slots_.begin());
}

}  // namespace pingti::worker
