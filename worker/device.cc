#include "worker/device.h"

#include <algorithm>

#include "common/base/status_macros.h"
#include "worker/server/kv_budget.h"

namespace pingti::worker {

absl::StatusOr<Device> OpenDevice(const WorkerConfig& config) {
  PINGTI_ASSIGN_OR_RETURN(Device device,
                          ChooseDevice({config.device, config.gpu_index, config.threads}));
  if (device.is_gpu) return device;
  if (config.kv_cache_dtype == KvCacheFormat::kInt8) {
    return absl::UnimplementedError(
        "kv_cache_dtype: int8 needs a GPU; on a CPU expected auto, which is the model's own");
  }
  device.memory_bytes = AvailableMemory();
  return device;
}

int64_t TakenBytes(const Device& device) {
  if (device.is_gpu) return TakenGpuBytes(device.gpu_index).value_or(device.memory_bytes);
  return std::max<int64_t>(device.memory_bytes - AvailableMemory(), 0);
}

void FillDeviceDefaults(const Device& device, WorkerConfig* config) {
  if (config->kv_block_tokens == 0) config->kv_block_tokens = device.BestKvBlockTokens();
  if (config->max_batch_tokens == 0) {
    config->max_batch_tokens = std::max(device.is_gpu ? 4096 : 512, config->max_batch_size);
  }
}

}  // namespace pingti::worker
