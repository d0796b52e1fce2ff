// The device that a worker runs on, chosen from its settings: which backend, and what memory it
// has. Used by main.cc alone, while starting.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "worker/backend/backend.h"
#include "worker/server/worker_config.h"

namespace pingti::worker {

struct Device {
  std::unique_ptr<Backend> backend;
  bool is_gpu = false;
  std::string name;  // "NVIDIA H100 80GB HBM3", "CPU"
  // What gpu_memory_fraction is a share of: a GPU's memory, or what was free when this was made.
  int64_t memory_bytes = 0;
};

// `auto` takes a CUDA device where there is one. Errors: Unimplemented when CUDA is asked of a
// worker that was built without it; otherwise as the backends' makers.
absl::StatusOr<Device> OpenDevice(const WorkerConfig& config);

// Bytes of Device::memory_bytes that are taken by now.
int64_t TakenBytes(const Device& device);

// Settings that are 0 for "as the device likes" get their values.
void FillDeviceDefaults(const Device& device, WorkerConfig* config);

}  // namespace pingti::worker
