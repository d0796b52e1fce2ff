#include "worker/comm/choose/rank_group.h"

#include <string>
#include <utility>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#if defined(PINGTI_HAVE_NCCL)
#include "worker/comm/nccl.h"
#include "worker/comm/peer.h"
#endif

namespace pingti::worker {

absl::StatusOr<std::unique_ptr<RankGroup>> RankGroup::Open(const DeviceRequest& request, int size) {
  std::unique_ptr<RankGroup> group(new RankGroup(size));
  PINGTI_RETURN_IF_ERROR(group->OpenDevices(request));
  PINGTI_RETURN_IF_ERROR(group->Join());
  return group;
}

RankGroup::~RankGroup() {
  const auto close = [this](int rank) {
    Rank& own = ranks_[static_cast<size_t>(rank)];
    own.comm.reset();
    own.device.backend.reset();
    return absl::OkStatus();
  };
  threads_.Run(close, [] {});
}

// The first rank's device says what the others' are.
absl::Status RankGroup::OpenDevices(const DeviceRequest& request) {
  DeviceRequest wanted = request;
  wanted.cpu_ranks = size();
  const auto open = [&](int rank) -> absl::Status {
    DeviceRequest own = wanted;
    if (own.choice != DeviceChoice::kCpu) own.gpu_index += rank;
    PINGTI_ASSIGN_OR_RETURN(ranks_[static_cast<size_t>(rank)].device, ChooseDevice(own));
    return absl::OkStatus();
  };
  const auto first = [&](int rank) { return rank == 0 ? open(rank) : absl::OkStatus(); };
  const auto others = [&](int rank) { return rank != 0 ? open(rank) : absl::OkStatus(); };
  PINGTI_RETURN_IF_ERROR(threads_.Run(first, [] {}).status);
  wanted.choice = device(0).is_gpu ? DeviceChoice::kCuda : DeviceChoice::kCpu;
  const absl::Status opened = threads_.Run(others, [] {}).status;
  if (opened.ok()) return opened;
  return absl::Status(opened.code(),
                      Concat("tensor_parallel is ", size(), ": ", std::string(opened.message())));
}

absl::Status RankGroup::Join() {
  if (!device(0).is_gpu) {
    for (int rank = 0; rank < size(); ++rank) {
      Rank& own = ranks_[static_cast<size_t>(rank)];
      own.comm = in_process_.MakeCommunicator(rank, own.device.backend.get());
    }
    return absl::OkStatus();
  }
#if defined(PINGTI_HAVE_NCCL)
  PINGTI_ASSIGN_OR_RETURN(const NcclId id, MakeNcclId());
  const auto join = [&](int rank) -> absl::Status {
    Rank& own = ranks_[static_cast<size_t>(rank)];
    NcclOptions options;
    options.rank = rank;
    options.size = size();
    options.id = id;
    PINGTI_ASSIGN_OR_RETURN(own.comm, MakeNcclCommunicator(own.device.backend.get(), options));
    return absl::OkStatus();
  };
  PINGTI_RETURN_IF_ERROR(threads_.Run(join, [] {}).status);
  return JoinPeers();
#else
  return absl::UnimplementedError(
      "tensor_parallel: this program was built without NCCL; expected 1");
#endif
}

#if defined(PINGTI_HAVE_NCCL)
absl::Status RankGroup::JoinPeers() {
  std::vector<Backend*> backends;
  for (const Rank& rank : ranks_) backends.push_back(rank.device.backend.get());
  if (!CanSumThroughPeers(backends)) return absl::OkStatus();
  std::vector<PeerRank> peers;
  for (Rank& rank : ranks_) peers.push_back({rank.device.backend.get(), std::move(rank.comm)});
  PINGTI_ASSIGN_OR_RETURN(std::vector<std::unique_ptr<Communicator>> comms,
                          MakePeerCommunicators(std::move(peers), {}));
  for (size_t r = 0; r < ranks_.size(); ++r) ranks_[r].comm = std::move(comms[r]);
  return absl::OkStatus();
}
#endif

}  // namespace pingti::worker
