// See leader.h.
#include "worker/group/leader.h"

#include <grpcpp/grpcpp.h>

#include <optional>
#include <string_view>
#include <utility>

#include "common/base/check.h"
#include "common/base/log.h"
#include "common/base/mutex.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "proto/pingti/worker/v1/group.grpc.pb.h"
#include "worker/group/messages.h"

namespace pingti::worker {
namespace {

using std::chrono::milliseconds;
using SteadyClock = std::chrono::steady_clock;
using FollowerStream = grpc::ServerReaderWriter<v1::Command, v1::FollowerMessage>;

// Of gRPC's "ipv4:10.0.0.1:4321" or "ipv6:%5Bfd00::1%5D:4321": "10.0.0.1", "[fd00::1]".
std::string HostOf(const std::string& peer) {
  std::string host = peer.substr(peer.find(':') + 1);
  host = host.substr(0, host.rfind(':'));
  if (host.starts_with("%5B") && host.ends_with("%5D")) {
    host = Concat("[", host.substr(3, host.size() - 6), "]");
  }
  return host;
}

}  // namespace

// Lives on the thread of its Join call, which reads what the follower says.
class GroupLeader::Link : public FollowerLink {
 public:
  Link(int rank, v1::FollowerMessage::Hello hello, grpc::ServerContext* context,
       FollowerStream* stream, const GroupLeaderOptions& options)
      : rank_(rank),
        hello_(std::move(hello)),
        host_(HostOf(context->peer())),
        options_(options),
        context_(context),
        stream_(stream) {}

  std::vector<std::string> peer_addresses() const {
    std::vector<std::string> addresses;
    for (const uint32_t port : hello_.peer_ports()) addresses.push_back(Concat(host_, ":", port));
    return addresses;
  }

  absl::StatusOr<v1::Result> Call(const v1::Command& command) override {
    {
      MutexLock lock(&mutex_);
      PINGTI_RETURN_IF_ERROR(lost_);
      PINGTI_CHECK_MSG(!result_.has_value(), "a command at a time");
    }
    if (!Write(command)) Lose("it closed the connection");
    MutexLock lock(&mutex_);
    while (lost_.ok() && !result_.has_value()) changed_.Wait(&mutex_);
    if (!result_.has_value()) return lost_;
    v1::Result result = *std::move(result_);
    result_.reset();
    PINGTI_RETURN_IF_ERROR(StatusOf(result));
    return result;
  }

  absl::Status Check() override {
    MutexLock lock(&mutex_);
    return lost_;
  }

  void Abort() override { Lose("the group was aborted"); }

  // Reads until the stream ends.
  void Run() {
    v1::Command ping;
    ping.mutable_ping();
    {
      SilenceWatch watch(options_.patience, [this](milliseconds silent) {
        Lose(Concat("it gave no sign of life for ", silent.count(), " ms"));
      });
      SignsOfLife signs(options_.patience.sign_interval,
                        [&] { return Check().ok() && Write(ping); });
      v1::FollowerMessage message;
      SteadyClock::time_point heard = SteadyClock::now();
      while (stream_->Read(&message)) {
        watch.Heard();
        const SteadyClock::time_point before = std::exchange(heard, SteadyClock::now());
        TellIfLate(std::chrono::duration_cast<milliseconds>(heard - before));
        if (message.has_result()) Take(std::move(*message.mutable_result()));
      }
      Lose("it closed the connection");
    }
    MutexLock lock(&write_mutex_);
    open_ = false;
  }

 private:
  // False when the stream has ended.
  bool Write(const v1::Command& command) {
    MutexLock lock(&write_mutex_);
    return open_ && stream_->Write(command);
  }

  void TellIfLate(milliseconds gap) {
    if (gap <= options_.patience.silence / 2 || !options_.on_late_sign) return;
    options_.on_late_sign(rank_, gap);
  }

  void Take(v1::Result result) {
    MutexLock lock(&mutex_);
    result_ = std::move(result);
    changed_.NotifyAll();
  }

  // The first cause stays.
  void Lose(std::string_view why) {
    MutexLock lock(&mutex_);
    if (!lost_.ok()) return;
    lost_ = absl::AbortedError(Concat("rank ", rank_, " is lost: ", why));
    context_->TryCancel();
    changed_.NotifyAll();
  }

  const int rank_;
  const v1::FollowerMessage::Hello hello_;
  const std::string host_;              // as an address begins: IPv6 in brackets
  const GroupLeaderOptions& options_;   // the service's
  grpc::ServerContext* const context_;  // not to be used once lost
  FollowerStream* const stream_;        // the same
  Mutex write_mutex_;
  bool open_ PINGTI_GUARDED_BY(write_mutex_) = true;
  Mutex mutex_;
  CondVar changed_;
  std::optional<v1::Result> result_ PINGTI_GUARDED_BY(mutex_);
  absl::Status lost_ PINGTI_GUARDED_BY(mutex_);
};

class GroupLeader::Service : public v1::Group::Service {
 public:
  explicit Service(const GroupLeaderOptions& options) : options_(options) {
    links_.resize(static_cast<size_t>(options.world_size));
  }

  grpc::Status Join(grpc::ServerContext* context, FollowerStream* stream) override {
    v1::FollowerMessage message;
    if (!stream->Read(&message) || !message.has_hello()) {
      return {grpc::StatusCode::INVALID_ARGUMENT, "expected a Hello first"};
    }
    const absl::StatusOr<std::shared_ptr<Link>> link = Admit(message.hello(), context, stream);
    if (!link.ok()) {
      const std::string why(link.status().message());
      LogWarning("a process was refused by the tensor-parallel group",
                 {{"peer", context->peer()}, {"reason", why}});
      return {grpc::StatusCode::FAILED_PRECONDITION, why};
    }
    (*link)->Run();
    return grpc::Status::OK;
  }

  absl::Status Wait(milliseconds timeout) {
    const SteadyClock::time_point deadline = SteadyClock::now() + timeout;
    MutexLock lock(&mutex_);
    while (!Missing().empty() && SteadyClock::now() < deadline) {
      changed_.WaitUntil(&mutex_, deadline);
    }
    const std::string missing = Missing();
    if (missing.empty()) return absl::OkStatus();
    return absl::DeadlineExceededError(
        Concat("the group of ", options_.world_size, " waited for rank ", missing, " for ",
               timeout.count(), " ms", refused_.empty() ? "" : "; last refused: ", refused_));
  }

  Link* link(int rank) {
    MutexLock lock(&mutex_);
    PINGTI_CHECK(rank > 0 && rank < options_.world_size && links_[static_cast<size_t>(rank)]);
    return links_[static_cast<size_t>(rank)].get();
  }

 private:
  absl::StatusOr<std::shared_ptr<Link>> Admit(const v1::FollowerMessage::Hello& hello,
                                              grpc::ServerContext* context,
                                              FollowerStream* stream) {
    MutexLock lock(&mutex_);
    const auto refuse = [&](std::string_view what) {
      refused_ = Concat("rank ", hello.rank(), ": ", what);
      return absl::FailedPreconditionError(refused_);
    };
    if (hello.world_size() != static_cast<uint32_t>(options_.world_size)) {
      return refuse(Concat("world size ", hello.world_size(), ": expected ", options_.world_size));
    }
    if (hello.rank() == 0 || hello.rank() >= hello.world_size()) {
      return refuse(Concat("expected a rank from 1 to ", options_.world_size - 1));
    }
    if (hello.fingerprint() != options_.fingerprint) {
      return refuse("its checkpoint or settings are not the leader's");
    }
    std::shared_ptr<Link>& place = links_[hello.rank()];
    // One that was lost before the group was whole may come again.
    if (place != nullptr && (place->Check().ok() || Missing().empty())) {
      return refuse("this rank is taken");
    }
    place =
        std::make_shared<Link>(static_cast<int>(hello.rank()), hello, context, stream, options_);
    changed_.NotifyAll();
    return place;
  }

  // "1, 3"
  std::string Missing() PINGTI_REQUIRES(mutex_) {
    std::string missing;
    for (size_t rank = 1; rank < links_.size(); ++rank) {
      if (links_[rank] != nullptr && links_[rank]->Check().ok()) continue;
      missing += Concat(missing.empty() ? "" : ", ", rank);
    }
    return missing;
  }

  const GroupLeaderOptions options_;
  Mutex mutex_;
  CondVar changed_;
  std::vector<std::shared_ptr<Link>> links_ PINGTI_GUARDED_BY(mutex_);  // by rank
  std::string refused_ PINGTI_GUARDED_BY(mutex_);
};

absl::StatusOr<std::unique_ptr<GroupLeader>> GroupLeader::Start(const GroupLeaderOptions& options) {
  PINGTI_CHECK(options.world_size >= 2);
  std::unique_ptr<GroupLeader> leader(new GroupLeader());
  leader->service_ = std::make_unique<Service>(options);
  PINGTI_ASSIGN_OR_RETURN(leader->server_,
                          net::GrpcServer::Start(options.server, {{leader->service_.get()}}));
  return leader;
}

GroupLeader::~GroupLeader() = default;

uint16_t GroupLeader::port() const { return server_->port(); }
absl::Status GroupLeader::WaitForFollowers(milliseconds timeout) { return service_->Wait(timeout); }
FollowerLink* GroupLeader::follower(int rank) { return service_->link(rank); }
std::vector<std::string> GroupLeader::peer_addresses(int rank) const {
  return service_->link(rank)->peer_addresses();
}

}  // namespace pingti::worker
