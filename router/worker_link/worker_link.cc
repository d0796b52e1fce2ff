// See worker_link.h. Every attempt uses a fresh channel, so gRPC's own reconnect backoff never adds
// to ours, and a stalled connection is never reused.
#include "router/worker_link/worker_link.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <utility>

#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "proto/pingti/worker/v1/worker.grpc.pb.h"
#include "router/worker_link/change_adapter.h"
#include "router/worker_link/link_credentials.h"
#include "router/worker_link/model_store.h"
#include "router/worker_link/session.h"

namespace pingti::router {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

absl::StatusOr<std::shared_ptr<grpc::Channel>> MakeChannel(const std::string& address,
                                                           const WorkerLinkOptions& options) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetMaxReceiveMessageSize(options.max_message_bytes);
  arguments.SetMaxSendMessageSize(options.max_message_bytes);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 10'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 2'000);
  if (options.tls && !options.tls_server_name.empty()) {
    arguments.SetSslTargetNameOverride(options.tls_server_name);
  }
  PINGTI_ASSIGN_OR_RETURN(const std::shared_ptr<grpc::ChannelCredentials> credentials,
                          MakeLinkCredentials(options));
  return grpc::CreateCustomChannel(address, credentials, arguments);
}

absl::Status FromGrpc(const grpc::Status& status, std::string_view call) {
  if (status.ok()) return absl::OkStatus();
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                      Concat(call, ": ", status.error_message()));
}

// Runs a blocking call whose context the destructor can cancel.
class CancellableCall {
 public:
  CancellableCall(Mutex* mutex, grpc::ClientContext** slot, const bool* stopping,
                  milliseconds timeout)
      : mutex_(mutex), slot_(slot) {
    context_.set_deadline(std::chrono::system_clock::now() + timeout);
    MutexLock lock(mutex_);
    *slot_ = &context_;
    if (*stopping) context_.TryCancel();
  }
  ~CancellableCall() {
    MutexLock lock(mutex_);
    *slot_ = nullptr;
  }
  grpc::ClientContext* context() { return &context_; }

 private:
  Mutex* const mutex_;
  grpc::ClientContext** const slot_;
  grpc::ClientContext context_;
};

absl::StatusOr<std::string> FetchAsset(worker::v1::Worker::Stub* stub, grpc::ClientContext* context,
                                       const worker::v1::Asset& asset, size_t max_bytes) {
  worker::v1::GetModelAssetRequest request;
  request.set_sha256(asset.sha256());
  const std::unique_ptr<grpc::ClientReader<worker::v1::AssetChunk>> reader =
      stub->GetModelAsset(context, request);
  std::string bytes;
  worker::v1::AssetChunk chunk;
  while (reader->Read(&chunk)) {
    bytes += chunk.data();
    if (bytes.size() > max_bytes) {
      context->TryCancel();
      return absl::ResourceExhaustedError(
          Concat("asset ", asset.sha256(), " is larger than ", max_bytes, " bytes"));
    }
  }
  PINGTI_RETURN_IF_ERROR(FromGrpc(reader->Finish(), "GetModelAsset"));
  return bytes;
}

constexpr size_t kMaxAssetBytes = 1u << 30;

}  // namespace

WorkerLink::WorkerLink(LinkId id, std::string address, WorkerLinkOptions options,
                       ModelStore* models, WorkerEvents* events, const Clock* clock)
    : id_(id),
      address_(std::move(address)),
      options_(std::move(options)),
      models_(models),
      events_(events),
      clock_(clock),
      jitter_(static_cast<uint32_t>(std::hash<std::string>()(options_.router_id + address_))) {
  thread_ = std::thread([this] { Run(); });
}

WorkerLink::~WorkerLink() {
  std::shared_ptr<Session> session;
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    if (running_call_ != nullptr) running_call_->TryCancel();
    session = session_;
    stop_requested_.NotifyAll();
  }
  if (session != nullptr) session->Abort(absl::CancelledError("the router closes this link"));
  thread_.join();
}

void WorkerLink::Submit(std::vector<Sequence> sequences) {
  std::shared_ptr<Session> session;
  {
    MutexLock lock(&mutex_);
    session = session_;
  }
  if (session != nullptr) session->Submit(std::move(sequences));
}

void WorkerLink::Cancel(uint64_t sequence_id) {
  std::shared_ptr<Session> session;
  {
    MutexLock lock(&mutex_);
    session = session_;
  }
  if (session != nullptr) session->Cancel(sequence_id);
}

void WorkerLink::ChangeAdapter(const AdapterChange& change, const ChangeDone& done) {
  std::shared_ptr<Session> session;
  {
    MutexLock lock(&mutex_);
    session = session_;
  }
  if (session == nullptr) return WorkerChannel::ChangeAdapter(change, done);
  CallChangeAdapter(session->channel(), change, done);
}

void WorkerLink::Run() {
  int failures = 0;
  while (true) {
    events_->OnConnecting(id_);
    bool was_ready = false;
    const absl::Status ended = RunOnce(&was_ready);
    {
      MutexLock lock(&mutex_);
      if (stopping_) return;
    }
    failures = was_ready ? 0 : failures + 1;
    events_->OnLost(id_, ended);
    // One line per change: an address that stays away is not repeated at every attempt.
    if (was_ready || failures == 1) {
      LogWarning("worker lost", {{"worker", address_}, {"reason", ended.ToString()}});
    }
    if (!SleepUnlessStopped(Backoff(failures))) return;
  }
}

absl::Status WorkerLink::RunOnce(bool* was_ready) {
  PINGTI_ASSIGN_OR_RETURN(const std::shared_ptr<grpc::Channel> channel,
                          MakeChannel(address_, options_));
  const std::unique_ptr<worker::v1::Worker::Stub> stub = worker::v1::Worker::NewStub(channel);
  worker::v1::ModelCard card;
  {
    CancellableCall call(&mutex_, &running_call_, &stopping_, options_.connect_timeout);
    PINGTI_RETURN_IF_ERROR(FromGrpc(stub->GetModelCard(call.context(), {}, &card), "GetModelCard"));
  }
  WorkerInfo info;
  PINGTI_ASSIGN_OR_RETURN(
      info.model, models_->GetOrBuild(card, [&](const worker::v1::Asset& asset) {
        CancellableCall call(&mutex_, &running_call_, &stopping_, options_.asset_timeout);
        return FetchAsset(stub.get(), call.context(), asset, kMaxAssetBytes);
      }));
  info.max_batch_size = card.max_batch_size();
  info.kv_total_blocks = card.kv_total_blocks();
  auto session = std::make_shared<Session>(id_, channel, std::move(info),
                                           options_.max_message_bytes, events_, clock_);
  {
    MutexLock lock(&mutex_);
    if (stopping_) return absl::CancelledError("stopping");
    session_ = session;
  }
  session->Start(options_.router_id);
  const absl::Status ended = RunSession(session.get());
  *was_ready = session->ready();
  MutexLock lock(&mutex_);
  session_ = nullptr;
  return ended;
}

absl::Status WorkerLink::RunSession(Session* session) {
  const milliseconds period = std::max(options_.stall_timeout / 8, milliseconds(5));
  auto watched = clock_->Now();
  while (!session->WaitDone(steady_clock::now() + period)) {
    const milliseconds limit = session->ready() ? options_.stall_timeout : options_.connect_timeout;
    const auto now = clock_->Now();
    // Late by more than a few periods, it was this process that stood still (a stopped or throttled
    // container, a move to another machine). What the worker sent meanwhile is about to be read.
    if (now - std::exchange(watched, now) > 4 * period) session->GrantFreshPeriod();
    const auto silent = now - session->last_message();
    if (silent > limit) {
      session->Abort(absl::DeadlineExceededError(Concat(
          "the worker sent nothing for ", std::chrono::duration_cast<milliseconds>(silent).count(),
          " ms, limit ", limit.count(), " ms")));
    }
  }
  return session->result();
}

bool WorkerLink::SleepUnlessStopped(milliseconds duration) {
  const steady_clock::time_point until = steady_clock::now() + duration;
  MutexLock lock(&mutex_);
  while (!stopping_) {
    if (!stop_requested_.WaitUntil(&mutex_, until)) break;
  }
  return !stopping_;
}

milliseconds WorkerLink::Backoff(int failures) {
  // Exponential with full jitter in its upper half, so that routers do not come back in step.
  const int doublings = std::clamp(failures - 1, 0, 16);
  const milliseconds ceiling =
      std::min(options_.backoff_max, options_.backoff_min * (1 << doublings));
  std::uniform_int_distribution<int64_t> draw(ceiling.count() / 2, ceiling.count());
  return milliseconds(draw(jitter_));
}

}  // namespace pingti::router
