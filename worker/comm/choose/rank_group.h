// The ranks of a tensor-parallel group in one process: a device, a thread and a communicator each.
// The one place that knows all communicators, for wiring; all else is given a Communicator.
//
// On a CPU, ranks are threads that share the host's memory and divide its processors; on GPUs, rank
// r has the GPU at index gpu_index + r, and NCCL joins them; where they reach each other's memory,
// sums go that way (worker/comm/peer.h). Next: worker/model/tensor_parallel_model.h.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/backend/choose/choose_device.h"
#include "worker/comm/communicator.h"
#include "worker/comm/in_process.h"
#include "worker/comm/rank_threads.h"

namespace pingti::worker {

// Confined to one thread, which may change; what it hands out outlives nothing but must be given up
// before it goes.
class RankGroup {
 public:
  // Errors: those of ChooseDevice and of the communicators, with the rank; InvalidArgument where
  // there are fewer GPUs than ranks. REQUIRES: size >= 1.
  static absl::StatusOr<std::unique_ptr<RankGroup>> Open(const DeviceRequest& request, int size);
  ~RankGroup();
  RankGroup(const RankGroup&) = delete;
  RankGroup& operator=(const RankGroup&) = delete;

  int size() const { return threads_.size(); }
  const Device& device(int rank) const { return ranks_[static_cast<size_t>(rank)].device; }
  RankThreads* threads() { return &threads_; }
  // Once per rank.
  std::unique_ptr<Communicator> TakeCommunicator(int rank) {
    return std::move(ranks_[static_cast<size_t>(rank)].comm);
  }

 private:
  struct Rank {
    Device device;
    std::unique_ptr<Communicator> comm;
  };

  explicit RankGroup(int size)
      : threads_(size), in_process_(size), ranks_(static_cast<size_t>(size)) {}
  absl::Status OpenDevices(const DeviceRequest& request);
  absl::Status Join();
  // Has sums go through peers' memory where GPUs reach it.
  absl::Status JoinPeers();

  RankThreads threads_;
  InProcessGroup in_process_;
  std::vector<Rank> ranks_;
};

}  // namespace pingti::worker
