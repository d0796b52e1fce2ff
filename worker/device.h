// The device that a worker runs on, chosen from its settings, and what memory it has. Used by
// main.cc alone, while starting. Next: worker/backend/choose/choose_device.h.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "worker/backend/choose/choose_device.h"
#include "worker/server/worker_config.h"

namespace pingti::worker {

// Its memory_bytes is what gpu_memory_fraction is a share of: a GPU's memory, or what was free on
// the host when this was called. Errors: Unimplemented when the device does not have what the
// settings ask for; otherwise as ChooseDevice.
absl::StatusOr<Device> OpenDevice(const WorkerConfig& config);

// Bytes of Device::memory_bytes that are taken by now.
int64_t TakenBytes(const Device& device);

// Settings that are 0 for "as the device likes" get their values.
void FillDeviceDefaults(const Device& device, WorkerConfig* config);

}  // namespace pingti::worker
