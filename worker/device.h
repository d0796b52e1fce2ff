// The devices that a worker runs on, chosen from its settings, and what memory they have. Used
// while starting. Next: worker/backend/choose/choose_device.h, worker/comm/choose/rank_group.h.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "worker/backend/choose/choose_device.h"
#include "worker/comm/choose/rank_group.h"
#include "worker/server/worker_config.h"

namespace pingti::worker {

// One device, or one for each rank of a tensor-parallel group.
struct ServingDevices {
  Device one;                        // without a group
  std::unique_ptr<RankGroup> group;  // null: `one`
  int64_t host_bytes = 0;            // that were free on the host when this was made

  int size() const { return group == nullptr ? 1 : group->size(); }
  const Device& at(int rank) const { return group == nullptr ? one : group->device(rank); }
  const Device& first() const { return at(0); }
  // What gpu_memory_fraction is a share of: the memory of a rank's GPU, or what was free on the
  // host, which all ranks share.
  int64_t memory_bytes(int rank) const {
    return at(rank).is_gpu ? at(rank).memory_bytes : host_bytes;
  }
  // Bytes of that which are taken by now.
  int64_t TakenBytes(int rank) const;
};

// Errors: Unimplemented when the device does not have what the settings ask for; InvalidArgument
// where there are fewer GPUs than tensor_parallel; otherwise as ChooseDevice.
absl::StatusOr<ServingDevices> OpenDevices(const WorkerConfig& config);

// Settings that are 0 for "as the device likes" get their values.
void FillDeviceDefaults(const Device& device, WorkerConfig* config);

}  // namespace pingti::worker
