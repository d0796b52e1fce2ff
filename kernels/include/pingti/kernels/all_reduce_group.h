// The memory through which the ranks of one process sum over their GPUs. Host only. Next:
// all_reduce.h.
#pragma once

#include <cuda_runtime_api.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "pingti/kernels/all_reduce.h"

namespace pingti::kernels {

struct AllReduceGroupOptions {
  int64_t buffer_bytes = int64_t{16} << 20;  // each rank has three; a multiple of 16
  std::chrono::microseconds timeout = std::chrono::seconds(10);  // at most 30 minutes
  int max_blocks = 0;                                            // see AllReduceLink
};

// Allocates for all ranks when it is made. Abort and the questions are for any thread. Must outlive
// every launch; while a launch is under way nobody frees memory of any of the devices, since that
// waits for them.
class AllReduceGroup {
 public:
  // Rank r works on devices[r]; a device may stand for several ranks, whose launches must then be
  // able to run at once. Keeps the current device. Errors: cudaErrorPeerAccessUnsupported;
  // cudaErrorInvalidValue (2, 4 or 8 ranks; sizes), cudaErrorMemoryAllocation.
  static cudaError_t Make(std::span<const int> devices, const AllReduceGroupOptions& options,
                          std::unique_ptr<AllReduceGroup>* group);
  ~AllReduceGroup();
  AllReduceGroup(const AllReduceGroup&) = delete;
  AllReduceGroup& operator=(const AllReduceGroup&) = delete;

  AllReduceLink link(int rank) const;

  // Ends what waits on the devices; what is launched later does not wait. Results of both are
  // worthless. There is no way back.
  void Abort();
  bool aborted() const;
  // The peer for which `rank` waited too long, or -1.
  int missed_by(int rank) const;

 private:
  AllReduceGroup(std::span<const int> devices, const AllReduceGroupOptions& options);
  cudaError_t Allocate();
  cudaError_t AllocateRank();

  const std::vector<int> devices_;
  const AllReduceGroupOptions options_;
  std::vector<void*> receive_;
  std::vector<AllReduceState*> states_;
  AllReduceBoard* board_ = nullptr;
};

// Whether the devices can work as one group: each reaches the memory of every other.
bool HavePeerAccess(std::span<const int> devices);

}  // namespace pingti::kernels
