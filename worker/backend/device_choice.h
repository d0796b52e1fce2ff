// Which device a setting asks for. Next: choose/choose_device.h.
#pragma once

namespace pingti::worker {

// kAuto: a CUDA device where the program has CUDA and there is one, else the CPU.
enum class DeviceChoice { kAuto, kCpu, kCuda };

struct DeviceRequest {
  DeviceChoice choice = DeviceChoice::kAuto;
  // Which of the CUDA devices that the process sees; CUDA_VISIBLE_DEVICES says which those are.
  int gpu_index = 0;
  int cpu_threads = 0;  // as in CpuBackendOptions
  int cpu_ranks = 1;  // of these threads, or of the processors, each of so many ranks gets a share
};

}  // namespace pingti::worker
