#include "worker/comm/choose/rank_group.h"

#include <algorithm>
#include <string>
#include <utility>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/comm/tcp_communicator.h"
#if defined(PINGTI_HAVE_NCCL)
#include "worker/comm/nccl.h"
#include "worker/comm/peer.h"
#endif

namespace pingti::worker {

namespace {

// "0", "1", and in process 0 "2 to 3" for what stands for another process.
std::vector<std::string> NamesOf(int size, const GroupPlace& place) {
  std::vector<std::string> names;
  for (int rank = 0; rank < size; ++rank) names.push_back(Concat(place.process * size + rank));
  if (place.process != 0) return names;
  for (int process = 1; process < place.num_processes; ++process) {
    const int first = process * size;
    names.push_back(size == 1 ? Concat(first) : Concat(first, " to ", first + size - 1));
  }
  return names;
}

#if !defined(PINGTI_HAVE_NCCL)
absl::Status WithoutNccl() {
  return absl::UnimplementedError(
      "tensor_parallel: this program was built without NCCL; expected 1");
}
#endif

}  // namespace

absl::StatusOr<std::unique_ptr<RankGroup>> RankGroup::Open(const DeviceRequest& request, int size,
                                                           const GroupPlace& place) {
  std::unique_ptr<RankGroup> group(new RankGroup(size, place));
  PINGTI_RETURN_IF_ERROR(group->OpenDevices(request));
  PINGTI_RETURN_IF_ERROR(place.num_processes > 1 ? group->Listen() : group->Join());
  return group;
}

RankGroup::RankGroup(int size, GroupPlace place)
    : place_(std::move(place)),
      threads_(NamesOf(size, place_), size * place_.num_processes),
      in_process_(size),
      ranks_(static_cast<size_t>(size)) {}

RankGroup::~RankGroup() {
  const auto close = [this](int rank) {
    if (rank >= size()) return absl::OkStatus();
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
  const auto others = [&](int rank) {
    return rank != 0 && rank < size() ? open(rank) : absl::OkStatus();
  };
  PINGTI_RETURN_IF_ERROR(threads_.Run(first, [] {}).status);
  wanted.choice = device(0).is_gpu ? DeviceChoice::kCuda : DeviceChoice::kCpu;
  const absl::Status opened = threads_.Run(others, [] {}).status;
  if (opened.ok()) return opened;
  return absl::Status(opened.code(),
                      Concat("tensor_parallel is ", size(), ": ", std::string(opened.message())));
}

absl::Status RankGroup::Listen() {
  if (device(0).is_gpu) return absl::OkStatus();
  for (int rank = 0; rank < size(); ++rank) {
    PINGTI_ASSIGN_OR_RETURN(TcpListener listener, TcpListener::Open(place_.address));
    listeners_.push_back(std::move(listener));
  }
  return absl::OkStatus();
}

std::vector<uint16_t> RankGroup::peer_ports() const {
  std::vector<uint16_t> ports;
  for (const TcpListener& listener : listeners_) ports.push_back(listener.port());
  return ports;
}

absl::StatusOr<std::string> RankGroup::MakeNcclId() const {
  if (!device(0).is_gpu) return std::string();
#if defined(PINGTI_HAVE_NCCL)
  PINGTI_ASSIGN_OR_RETURN(const NcclId id, worker::MakeNcclId());
  return std::string(id.bytes.begin(), id.bytes.end());
#else
  return WithoutNccl();
#endif
}

absl::Status RankGroup::Meet(int rank, const GroupMeeting& meeting) {
  Rank& own = ranks_[static_cast<size_t>(rank)];
  const int place_in_group = place_.process * size() + rank;
  if (!own.device.is_gpu) {
    TcpMeshOptions options;
    options.rank = place_in_group;
    options.addresses = meeting.addresses;
    options.group_id = meeting.group_id;
    PINGTI_ASSIGN_OR_RETURN(
        std::unique_ptr<TcpMesh> mesh,
        TcpMesh::Join(listeners_[static_cast<size_t>(rank)], std::move(options)));
    own.comm = MakeTcpCommunicator(own.device.backend.get(), std::move(mesh));
    return absl::OkStatus();
  }
#if defined(PINGTI_HAVE_NCCL)
  NcclOptions options;
  options.rank = place_in_group;
  options.size = size() * place_.num_processes;
  if (meeting.nccl_id.size() != options.id.bytes.size()) {
    return absl::InvalidArgumentError(Concat("an NCCL id of ", meeting.nccl_id.size(),
                                             " bytes: expected ", options.id.bytes.size()));
  }
  std::copy(meeting.nccl_id.begin(), meeting.nccl_id.end(), options.id.bytes.begin());
  PINGTI_ASSIGN_OR_RETURN(own.comm, MakeNcclCommunicator(own.device.backend.get(), options));
  return absl::OkStatus();
#else
  return WithoutNccl();
#endif
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
  PINGTI_ASSIGN_OR_RETURN(const NcclId id, worker::MakeNcclId());
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
  return WithoutNccl();
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
                          MakePeerCommunicators(std::move(peers), {place_.rank_timeout}));
  for (size_t r = 0; r < ranks_.size(); ++r) ranks_[r].comm = std::move(comms[r]);
  return absl::OkStatus();
}
#endif

}  // namespace pingti::worker
