// A follower's end of a tensor-parallel group that is spread over several processes: joins the
// leader, then carries out one command after another until the group ends. Next: leader.h.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/net/tls.h"
#include "proto/pingti/worker/v1/group.pb.h"
#include "worker/group/remote_model.h"
#include "worker/group/silence_watch.h"
#include "worker/model/model.h"

namespace pingti::worker {

struct FollowerOptions {
  std::string leader;  // "host:port"
  int rank = 1;
  int world_size = 2;
  std::string fingerprint;
  std::vector<uint16_t> peer_ports;
  // How long the leader is looked for.
  std::chrono::milliseconds join_timeout{300'000};
  int64_t max_message_bytes = 100 << 20;
  GroupPatience patience;
};

// What a follower does the group's work with. Start and the model's calls come on the thread of
// RunFollower, Abort on any.
class FollowerHost {
 public:
  virtual ~FollowerHost() = default;
  // Joins the collectives and loads this rank's share. The model lives as long as the host.
  virtual absl::StatusOr<Model*> Start(const v1::Command::Start& start) = 0;
  // After Start.
  virtual std::string device() const = 0;
  virtual absl::StatusOr<RemoteMemory> PlanMemory() = 0;
  // The group has ended: ends what waits for a peer.
  virtual void Abort() = 0;
};

// Thread-safe: tells RunFollower to leave.
class FollowerStop {
 public:
  void Stop();
  bool stopped() const;

 private:
  friend class FollowerSession;
  mutable Mutex mutex_;
  bool stopped_ PINGTI_GUARDED_BY(mutex_) = false;
  std::function<void()> cancel_ PINGTI_GUARDED_BY(mutex_);
};

// Returns when the group ends. OK: `stop` was called. Errors: Unavailable (no leader in time),
// FailedPrecondition (the leader refuses, with its reason), Aborted (the leader is gone or silent),
// DataLoss (the model has lost its device).
absl::Status RunFollower(const FollowerOptions& options, FollowerHost* host, FollowerStop* stop);

}  // namespace pingti::worker
