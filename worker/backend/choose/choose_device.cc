#include "worker/backend/choose/choose_device.h"

#include <algorithm>
#include <utility>

#include "common/base/processors.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/backend/cpu/cpu_backend.h"
#if defined(PINGTI_HAVE_CUDA)
#include "worker/backend/cuda/cuda_backend.h"
#endif

namespace pingti::worker {
namespace {

absl::StatusOr<Device> ChooseCpu(const DeviceRequest& request) {
  Device device;
  device.name = "CPU";
  int threads = request.cpu_threads;
  if (request.cpu_ranks > 1) {
    const int all = threads == 0 ? AvailableProcessors() : threads;
    threads = std::max(1, all / request.cpu_ranks);
  }
  PINGTI_ASSIGN_OR_RETURN(device.backend, MakeCpuBackend({.num_threads = threads, .kernels = ""}));
  return device;
}

#if defined(PINGTI_HAVE_CUDA)

absl::StatusOr<Device> ChooseGpu(int index) {
  Device device;
  PINGTI_ASSIGN_OR_RETURN(CudaDeviceFacts facts, ReadCudaDevice(index));
  device.is_gpu = true;
  device.gpu_index = index;
  device.name = std::move(facts.name);
  device.memory_bytes = facts.total_bytes;
  PINGTI_ASSIGN_OR_RETURN(device.backend, MakeCudaBackend({.device = index}));
  return device;
}

#else

absl::Status WithoutCuda() {
  return absl::UnimplementedError("device: this program was built without CUDA; expected cpu");
}

absl::StatusOr<Device> ChooseGpu(int) { return WithoutCuda(); }

#endif

}  // namespace

absl::StatusOr<Device> ChooseDevice(const DeviceRequest& request) {
  if (request.choice == DeviceChoice::kCpu) {
    if (request.gpu_index == 0) return ChooseCpu(request);
    return absl::InvalidArgumentError(Concat("gpu_index is ", request.gpu_index,
                                             " beside device cpu: expected 0, or another device"));
  }
  absl::StatusOr<Device> gpu = ChooseGpu(request.gpu_index);
  const bool none = absl::IsNotFound(gpu.status()) || absl::IsUnimplemented(gpu.status());
  const bool any_device = request.choice == DeviceChoice::kAuto && request.gpu_index == 0;
  if (any_device && none) return ChooseCpu(request);
  return gpu;
}

absl::StatusOr<int64_t> TakenGpuBytes([[maybe_unused]] int gpu_index) {
#if defined(PINGTI_HAVE_CUDA)
  PINGTI_ASSIGN_OR_RETURN(const CudaDeviceFacts facts, ReadCudaDevice(gpu_index));
  return facts.total_bytes - facts.free_bytes;
#else
  return WithoutCuda();
#endif
}

}  // namespace pingti::worker
