// Rank 0's end of a tensor-parallel group that is spread over several processes: waits for the
// followers, then sends each its commands.
//
// Every process gives signs of life at regular times; who gives none for a while, also because it
// is frozen, is lost, and every later command to it fails. Next: follower.h, remote_model.h.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/net/grpc_server.h"
#include "proto/pingti/worker/v1/group.pb.h"
#include "worker/group/silence_watch.h"

namespace pingti::worker {

struct GroupLeaderOptions {
  net::GrpcServerOptions server;
  int world_size = 2;
  std::string fingerprint;
  GroupPatience patience;
  // May be null. Called on any thread when a follower's sign of life came later after the one
  // before than half of what it would be lost after.
  std::function<void(int rank, std::chrono::milliseconds gap)> on_late_sign;
};

// The leader's end of one follower. Call is for one thread at a time, the rest for any.
class FollowerLink {
 public:
  virtual ~FollowerLink() = default;
  // The follower's answer; waits for it however long the command takes, as long as the follower
  // lives. Errors: those of the follower as they are; Aborted, naming the rank, once it is lost.
  virtual absl::StatusOr<v1::Result> Call(const v1::Command& command) = 0;
  virtual absl::Status Check() = 0;  // Aborted once it is lost
  // Ends a Call in progress, and the link.
  virtual void Abort() = 0;
};

class GroupLeader {
 public:
  // Listens for followers. Errors: those of GrpcServer::Start.
  static absl::StatusOr<std::unique_ptr<GroupLeader>> Start(const GroupLeaderOptions& options);
  ~GroupLeader();
  GroupLeader(const GroupLeader&) = delete;
  GroupLeader& operator=(const GroupLeader&) = delete;

  uint16_t port() const;

  // Waits for all. Errors: DeadlineExceeded, naming the ranks that did not come and what was
  // refused meanwhile.
  absl::Status WaitForFollowers(std::chrono::milliseconds timeout);

  // After WaitForFollowers; `rank` from 1. Live as long as the leader.
  FollowerLink* follower(int rank);
  // Where the ranks of follower `rank` listen for their peers, "host:port".
  std::vector<std::string> peer_addresses(int rank) const;

 private:
  class Link;
  class Service;

  GroupLeader() = default;

  // In order of dependence: the server ends before its service.
  std::unique_ptr<Service> service_;
  std::unique_ptr<net::GrpcServer> server_;
};

}  // namespace pingti::worker
