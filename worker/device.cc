#include "worker/device.h"

#include <algorithm>

#include "common/base/status_macros.h"
#include "worker/server/kv_budget.h"

namespace pingti::worker {

int64_t ServingDevices::TakenBytes(int rank) const {
  const Device& device = at(rank);
  if (device.is_gpu) return TakenGpuBytes(device.gpu_index).value_or(device.memory_bytes);
  return std::max<int64_t>(host_bytes - AvailableMemory(), 0);
}

absl::StatusOr<ServingDevices> OpenDevices(const WorkerConfig& config) {
  const DeviceRequest request{config.device, config.gpu_index, config.threads};
  ServingDevices devices;
  if (config.tensor_parallel > 1) {
    PINGTI_ASSIGN_OR_RETURN(
        devices.group,
        RankGroup::Open(request, config.tensor_parallel / config.world_size,
                        {config.rank, config.world_size, config.address, config.rank_timeout}));
  } else {
    PINGTI_ASSIGN_OR_RETURN(devices.one, ChooseDevice(request));
  }
  if (devices.first().is_gpu) return devices;
  if (config.kv_cache_dtype == KvCacheFormat::kInt8) {
    return absl::UnimplementedError(
        "kv_cache_dtype: int8 needs a GPU; on a CPU expected auto, which is the model's own");
  }
  devices.host_bytes = AvailableMemory();
  return devices;
}

void FillDeviceDefaults(const Device& device, WorkerConfig* config) {
  if (config->kv_block_tokens == 0) config->kv_block_tokens = device.BestKvBlockTokens();
  if (config->max_batch_tokens == 0) {
    config->max_batch_tokens = std::max(device.is_gpu ? 4096 : 512, config->max_batch_size);
  }
}

}  // namespace pingti::worker
