// The ranks of a group for tests and benches: a stream for each, on devices of their own or all on
// one. Test code: a CUDA error ends the program. Single thread.
#pragma once

#include <cuda_runtime.h>

#include <chrono>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "pingti/kernels/all_reduce_group.h"
#include "tests/kernels/testing/device.h"

namespace pingti::kernels::testing {

// Call before anything of CUDA. Ranks on one device need a hardware queue each; and kernels that
// wait for each other must not be loaded when they are first launched, since loading waits for
// what runs.
inline void PrepareForRanks() {
  setenv("CUDA_DEVICE_MAX_CONNECTIONS", "32", 1);
  setenv("CUDA_MODULE_LOADING", "EAGER", 1);
}

// Device 0 for all, or devices 0, 1, ...; empty: there are not enough that reach each other.
inline std::vector<int> OneDeviceForAll(int num_ranks) { return std::vector<int>(num_ranks, 0); }
inline std::vector<int> DeviceForEach(int num_ranks) {
  int count = 0;
  PINGTI_CUDA(cudaGetDeviceCount(&count));
  std::vector<int> devices;
  for (int d = 0; d < num_ranks; ++d) devices.push_back(d);
  if (count < num_ranks || !HavePeerAccess(devices)) devices.clear();
  return devices;
}

// Keeps a stream busy.
static __global__ void DelayKernel(uint64_t nanoseconds) {
  uint64_t start = 0;
  uint64_t now = 0;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(start));
  do {
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
  } while (now - start < nanoseconds);
}

class Ranks {
 public:
  // Blocks that each rank may launch where ranks share a device: a whole cluster.
  static constexpr int kBlocksOnSharedDevice = 8;

  static constexpr std::chrono::seconds kTimeout{2};

  explicit Ranks(std::vector<int> devices, AllReduceGroupOptions options = {.timeout = kTimeout})
      : devices_(std::move(devices)) {
    if (is_shared()) options.max_blocks = kBlocksOnSharedDevice;
    PINGTI_CUDA(AllReduceGroup::Make(devices_, options, &group_));
    for (int r = 0; r < size(); ++r) {
      Use(r);
      streams_.emplace_back();
      PINGTI_CUDA(cudaStreamCreateWithFlags(&streams_.back(), cudaStreamNonBlocking));
    }
  }
  ~Ranks() {
    for (int r = 0; r < size(); ++r) {
      Use(r);
      cudaStreamDestroy(streams_[r]);
    }
  }
  Ranks(const Ranks&) = delete;
  Ranks& operator=(const Ranks&) = delete;

  int size() const { return static_cast<int>(devices_.size()); }
  bool is_shared() const { return devices_[0] == devices_[1]; }
  std::string name() const {
    return std::to_string(size()) + (is_shared() ? " ranks on one device" : " devices");
  }
  AllReduceGroup& group() { return *group_; }
  cudaStream_t stream(int rank) const { return streams_[rank]; }

  // What follows is on the device of `rank`.
  void Use(int rank) const { PINGTI_CUDA(cudaSetDevice(devices_[rank])); }
  void Synchronize() const {
    for (int r = 0; r < size(); ++r) PINGTI_CUDA(cudaStreamSynchronize(streams_[r]));
  }
  // Also what copies and fills of the default stream, which return early, have under way.
  void SynchronizeDevices() const {
    for (int r = 0; r < size(); ++r) {
      Use(r);
      PINGTI_CUDA(cudaDeviceSynchronize());
    }
  }
  void Delay(int rank, uint64_t nanoseconds) const {
    Use(rank);
    DelayKernel<<<1, 1, 0, streams_[rank]>>>(nanoseconds);
    PINGTI_CUDA(cudaGetLastError());
  }

 private:
  const std::vector<int> devices_;
  std::unique_ptr<AllReduceGroup> group_;
  std::vector<cudaStream_t> streams_;
};

}  // namespace pingti::kernels::testing
