#include "worker/device.h"

#include <algorithm>
#include <utility>

#include "common/base/status_macros.h"
#include "worker/backend/cpu/cpu_backend.h"
#include "worker/server/kv_budget.h"
#if defined(PINGTI_HAVE_CUDA)
#include "worker/backend/cuda/cuda_backend.h"
#endif

namespace pingti::worker {
namespace {

// The first of those that the process sees (CUDA_VISIBLE_DEVICES says which those are).
constexpr int kGpu = 0;

absl::StatusOr<Device> OpenCpu(const WorkerConfig& config) {
  Device device;
  if (config.kv_cache_dtype == KvCacheFormat::kInt8) {
    return absl::UnimplementedError(
        "kv_cache_dtype: int8 needs a GPU; on a CPU expected auto, which is the model's own");
  }
  device.name = "CPU";
  device.memory_bytes = AvailableMemory();
  PINGTI_ASSIGN_OR_RETURN(device.backend,
                          MakeCpuBackend({.num_threads = config.threads, .kernels = ""}));
  return device;
}

absl::StatusOr<Device> OpenGpu() {
#if defined(PINGTI_HAVE_CUDA)
  Device device;
  PINGTI_ASSIGN_OR_RETURN(CudaDeviceFacts facts, ReadCudaDevice(kGpu));
  device.is_gpu = true;
  device.name = std::move(facts.name);
  device.memory_bytes = facts.total_bytes;
  PINGTI_ASSIGN_OR_RETURN(device.backend, MakeCudaBackend({.device = kGpu}));
  return device;
#else
  return absl::UnimplementedError("device: this worker was built without CUDA");
#endif
}

}  // namespace

absl::StatusOr<Device> OpenDevice(const WorkerConfig& config) {
  if (config.device == DeviceChoice::kCpu) return OpenCpu(config);
  absl::StatusOr<Device> gpu = OpenGpu();
  const bool none = absl::IsNotFound(gpu.status()) || absl::IsUnimplemented(gpu.status());
  if (config.device == DeviceChoice::kAuto && none) return OpenCpu(config);
  return gpu;
}

int64_t TakenBytes(const Device& device) {
#if defined(PINGTI_HAVE_CUDA)
  if (device.is_gpu) {
    const absl::StatusOr<CudaDeviceFacts> facts = ReadCudaDevice(kGpu);
    return facts.ok() ? facts->total_bytes - facts->free_bytes : device.memory_bytes;
  }
#endif
  return std::max<int64_t>(device.memory_bytes - AvailableMemory(), 0);
}

void FillDeviceDefaults(const Device& device, WorkerConfig* config) {
  if (config->kv_block_tokens == 0) config->kv_block_tokens = device.is_gpu ? 64 : 16;
  if (config->max_batch_tokens == 0) {
    config->max_batch_tokens = std::max(device.is_gpu ? 4096 : 512, config->max_batch_size);
  }
}

}  // namespace pingti::worker
