// The ranks of a tensor-parallel group in one process: a device, a thread and a communicator each.
// The one place that knows all communicators, for wiring; all else is given a Communicator.
//
// On a CPU, ranks are threads that share the host's memory and divide its processors; on GPUs, rank
// r has the GPU at index gpu_index + r, and NCCL joins them; where they reach each other's memory,
// sums go that way (worker/comm/peer.h). Next: worker/model/tensor_parallel_model.h.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/backend/choose/choose_device.h"
#include "worker/comm/communicator.h"
#include "worker/comm/in_process.h"
#include "worker/comm/rank_threads.h"
#include "worker/comm/tcp_mesh.h"

namespace pingti::worker {

// Where this process stands among those of a group, each of which has as many ranks.
struct GroupPlace {
  int process = 0;
  int num_processes = 1;
  std::string address = "127.0.0.1";  // on which ranks on a CPU listen for those of other processes
  // How long a GPU waits for another one's part of a sum.
  std::chrono::milliseconds rank_timeout{2'000};
};

// What ranks of several processes must hold to find each other.
struct GroupMeeting {
  std::string group_id;                // see TcpMeshOptions
  std::vector<std::string> addresses;  // of all ranks, "host:port"; none on GPUs
  std::string nccl_id;                 // empty on a CPU
};

// Confined to one thread, which may change; what it hands out outlives nothing but must be given up
// before it goes.
class RankGroup {
 public:
  // Errors: those of ChooseDevice and of the communicators, with the rank; InvalidArgument where
  // there are fewer GPUs than ranks. `size`: of the ranks in this process. REQUIRES: size >= 1.
  static absl::StatusOr<std::unique_ptr<RankGroup>> Open(const DeviceRequest& request, int size,
                                                         const GroupPlace& place = {});
  ~RankGroup();
  RankGroup(const RankGroup&) = delete;
  RankGroup& operator=(const RankGroup&) = delete;

  // Ranks are counted from 0 in each process.
  int size() const { return static_cast<int>(ranks_.size()); }
  const Device& device(int rank) const { return ranks_[static_cast<size_t>(rank)].device; }
  // One for each rank here; in process 0, then one for each other process.
  RankThreads* threads() { return &threads_; }

  // ---- of a group of several processes
  // On which the ranks listen; none on GPUs.
  std::vector<uint16_t> peer_ports() const;
  // For process 0, which hands it out. Empty on a CPU.
  absl::StatusOr<std::string> MakeNcclId() const;
  // Makes the communicator of a rank; on its thread, at the same time as all others. Errors: those
  // of TcpMesh::Join and MakeNcclCommunicator.
  absl::Status Meet(int rank, const GroupMeeting& meeting);

  // Once per rank.
  std::unique_ptr<Communicator> TakeCommunicator(int rank) {
    return std::move(ranks_[static_cast<size_t>(rank)].comm);
  }

 private:
  struct Rank {
    Device device;
    std::unique_ptr<Communicator> comm;
  };

  RankGroup(int size, GroupPlace place);
  absl::Status OpenDevices(const DeviceRequest& request);
  absl::Status Join();
  absl::Status Listen();
  // Has sums go through peers' memory where GPUs reach it.
  absl::Status JoinPeers();

  const GroupPlace place_;
  RankThreads threads_;
  InProcessGroup in_process_;
  std::vector<TcpListener> listeners_;  // by rank
  std::vector<Rank> ranks_;
};

}  // namespace pingti::worker
