// The one place that knows all backends: from a choice to a backend and what its device is like.
// For wiring (worker/device.cc, and the tools that run a model in their own process); all else is
// given a Backend. Used while starting, by one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "worker/backend/backend.h"
#include "worker/backend/device_choice.h"

namespace pingti::worker {

struct Device {
  std::unique_ptr<Backend> backend;
  bool is_gpu = false;
  int gpu_index = 0;  // as it was asked for
  std::string name;   // "NVIDIA H100 80GB HBM3", "CPU"
  // A GPU's memory. 0 on a CPU, whose memory is not the process's alone.
  int64_t memory_bytes = 0;

  // Tokens of a KV block that the backend's attention does best with.
  int32_t BestKvBlockTokens() const { return is_gpu ? 64 : 16; }
};

// kAuto falls back to the CPU only where no particular GPU was asked for, so with gpu_index 0.
// Errors: Unimplemented when CUDA is asked of a program that was built without it; InvalidArgument
// for a gpu_index beside kCpu, or that does not exist; otherwise as the backends' makers.
absl::StatusOr<Device> ChooseDevice(const DeviceRequest& request);

// Bytes that anyone has taken of a GPU. Errors: as above.
absl::StatusOr<int64_t> TakenGpuBytes(int gpu_index);

}  // namespace pingti::worker
