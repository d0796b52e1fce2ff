#include "worker/backend/choose/choose_device.h"

#include <utility>

#include "common/base/status_macros.h"
#include "worker/backend/cpu/cpu_backend.h"
#if defined(PINGTI_HAVE_CUDA)
#include "worker/backend/cuda/cuda_backend.h"
#endif

namespace pingti::worker {
namespace {

absl::StatusOr<Device> ChooseCpu(int threads) {
  Device device;
  device.name = "CPU";
  PINGTI_ASSIGN_OR_RETURN(device.backend, MakeCpuBackend({.num_threads = threads, .kernels = ""}));
  return device;
}

#if defined(PINGTI_HAVE_CUDA)

// The first of those that the process sees (CUDA_VISIBLE_DEVICES says which those are).
constexpr int kGpu = 0;

absl::StatusOr<Device> ChooseGpu() {
  Device device;
  PINGTI_ASSIGN_OR_RETURN(CudaDeviceFacts facts, ReadCudaDevice(kGpu));
  device.is_gpu = true;
  device.name = std::move(facts.name);
  device.memory_bytes = facts.total_bytes;
  PINGTI_ASSIGN_OR_RETURN(device.backend, MakeCudaBackend({.device = kGpu}));
  return device;
}

#else

absl::Status WithoutCuda() {
  return absl::UnimplementedError("device: this program was built without CUDA; expected cpu");
}

absl::StatusOr<Device> ChooseGpu() { return WithoutCuda(); }

#endif

}  // namespace

absl::StatusOr<Device> ChooseDevice(DeviceChoice choice, int cpu_threads) {
  if (choice == DeviceChoice::kCpu) return ChooseCpu(cpu_threads);
  absl::StatusOr<Device> gpu = ChooseGpu();
  const bool none = absl::IsNotFound(gpu.status()) || absl::IsUnimplemented(gpu.status());
  if (choice == DeviceChoice::kAuto && none) return ChooseCpu(cpu_threads);
  return gpu;
}

absl::StatusOr<int64_t> TakenGpuBytes() {
#if defined(PINGTI_HAVE_CUDA)
  PINGTI_ASSIGN_OR_RETURN(const CudaDeviceFacts facts, ReadCudaDevice(kGpu));
  return facts.total_bytes - facts.free_bytes;
#else
  return WithoutCuda();
#endif
}

}  // namespace pingti::worker
