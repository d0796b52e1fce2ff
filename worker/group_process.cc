#include "worker/group_process.h"

#include <chrono>
#include <string>
#include <thread>
#include <utility>

#include "common/base/log.h"
#include "common/base/mutex.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/group/follower.h"

namespace pingti::worker {
namespace {

// The leader's host as an address begins: IPv6 in brackets.
std::string LeaderHost(const WorkerConfig& config) {
  const std::string& host = config.leader_address;
  const bool is_bare_v6 = host.find(':') != std::string::npos && !host.starts_with("[");
  return is_bare_v6 ? Concat("[", host, "]") : host;
}

class Host : public FollowerHost {
 public:
  Host(const WorkerConfig& config, LoadedModel* loaded, const std::function<void()>& on_ready)
      : config_(config), loaded_(loaded), on_ready_(on_ready) {}

  absl::StatusOr<Model*> Start(const v1::Command::Start& start) override {
    GroupMeeting meeting{start.group_id(), {}, start.nccl_id()};
    for (const std::string& address : start.peer_addresses()) {
      // The leader does not know under which name it is reached.
      meeting.addresses.push_back(address.starts_with(":") ? Concat(LeaderHost(config_), address)
                                                           : address);
    }
    PINGTI_ASSIGN_OR_RETURN(RankModel * model, LoadFollowersShare(config_, meeting, loaded_));
    LogInfo("this process has its share of the model",
            {{"rank", config_.rank}, {"leader", config_.leader_address}});
    MutexLock lock(&mutex_);
    model_ = model;
    if (aborted_) model_->AbortGroup();
    return model;
  }

  std::string device() const override { return loaded_->devices.first().name; }

  absl::StatusOr<RemoteMemory> PlanMemory() override {
    PINGTI_ASSIGN_OR_RETURN(const KvBudget budget, worker::PlanMemory(config_, *loaded_));
    on_ready_();
    return RemoteMemory{budget.num_blocks, budget.max_context_tokens, budget.arithmetic};
  }

  void Abort() override {
    MutexLock lock(&mutex_);
    aborted_ = true;
    if (model_ != nullptr) model_->AbortGroup();
  }

 private:
  const WorkerConfig& config_;
  LoadedModel* const loaded_;
  const std::function<void()>& on_ready_;
  Mutex mutex_;
  RankModel* model_ PINGTI_GUARDED_BY(mutex_) = nullptr;
  bool aborted_ PINGTI_GUARDED_BY(mutex_) = false;
};

// Thread-safe.
class GroupEnd {
 public:
  void Tell() {
    MutexLock lock(&mutex_);
    ended_ = true;
    changed_.NotifyAll();
  }

  // False when the time is over first.
  bool WaitFor(std::chrono::milliseconds time) {
    const auto deadline = std::chrono::steady_clock::now() + time;
    MutexLock lock(&mutex_);
    while (!ended_ && changed_.WaitUntil(&mutex_, deadline)) {
    }
    return ended_;
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  bool ended_ PINGTI_GUARDED_BY(mutex_) = false;
};

FollowerOptions OptionsOf(const WorkerConfig& config, const LoadedModel& loaded) {
  FollowerOptions options;
  options.leader = Concat(LeaderHost(config), ":", config.group_port);
  options.rank = config.rank;
  options.world_size = config.world_size;
  options.fingerprint = GroupFingerprint(config, *loaded.checkpoint);
  options.peer_ports = loaded.devices.group->peer_ports();
  options.join_timeout = config.group_timeout;
  options.patience = PatienceFor(config.rank_timeout);
  return options;
}

}  // namespace

absl::Status FollowGroup(const WorkerConfig& config, LoadedModel* loaded,
                         const std::function<void()>& on_ready, SignalWaiter* signals) {
  Host host(config, loaded, on_ready);
  FollowerStop stop;
  GroupEnd ended;
  std::thread waiter([&] {
    signals->Wait();
    // The leader gets the signal too, as a rule, and its answers need this rank to end in order.
    if (!ended.WaitFor(config.drain_timeout)) stop.Stop();
  });
  const absl::Status status = RunFollower(OptionsOf(config, *loaded), &host, &stop);
  const bool asked_to_end = signals->signal().has_value();
  ended.Tell();
  signals->Shutdown();
  waiter.join();
  return asked_to_end && absl::IsAborted(status) ? absl::OkStatus() : status;
}

}  // namespace pingti::worker
