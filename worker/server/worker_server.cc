// See worker_server.h.
#include "worker/server/worker_server.h"

#include <atomic>
#include <thread>
#include <utility>

#include "common/base/log.h"
#include "common/base/mutex.h"
#include "common/base/random_id.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "common/metrics/worker_metrics.h"
#include "common/net/grpc_server.h"
#include "worker/engine/engine.h"
#include "worker/server/adapter_changes.h"
#include "worker/server/admin_page.h"
#include "worker/server/model_card.h"
#include "worker/server/session_hub.h"
#include "worker/server/worker_service.h"

namespace pingti::worker {
namespace {

constexpr std::chrono::milliseconds kPoll{20};
// What routers get to read the last outputs of a drained worker.
constexpr std::chrono::milliseconds kFlushTime{2000};

// Waits for the end of the request that proves the engine.
class FirstStepSink : public SessionSink {
 public:
  struct Result {
    Mutex mutex;
    CondVar changed;
    std::optional<Finish> finish PINGTI_GUARDED_BY(mutex);
  };
  explicit FirstStepSink(std::shared_ptr<Result> result) : result_(std::move(result)) {}

  void OnStep(uint64_t, std::span<SequenceOutput> outputs) override {
    MutexLock lock(&result_->mutex);
    for (const SequenceOutput& output : outputs) {
      if (output.finish) result_->finish = output.finish;
    }
    result_->changed.NotifyAll();
  }
  void OnAccepted(uint64_t) override {}

 private:
  const std::shared_ptr<Result> result_;  // shared: the waiter may give up first
};

SubmitCredit CreditOf(const EngineOptions& engine) {
  SubmitCredit credit;
  // Enough that the next batches are always here, and no more: what waits in a router can still go
  // elsewhere, and be overtaken by who has waited less. A longer prompt comes alone.
  credit.max_waiting_sequences = static_cast<uint32_t>(
      std::min(2 * engine.budget.max_sequences, engine.max_waiting_sequences));
  credit.max_waiting_tokens = static_cast<uint32_t>(8 * engine.budget.max_tokens);
  return credit;
}

HubOptions MakeHubOptions(const ServedCard& card, const WorkerServerOptions& options) {
  HubOptions hub;
  hub.report_interval = options.report_interval;
  hub.max_message_bytes = static_cast<size_t>(options.max_message_bytes);
  hub.total_credit = CreditOf(options.engine);
  hub.identity.worker_id =
      options.worker_id.empty() ? RandomId("worker-", OsEntropy()) : options.worker_id;
  hub.identity.incarnation = RandomId("", OsEntropy());
  hub.identity.model_fingerprint = card.card.fingerprint();
  hub.identity.max_message_bytes = static_cast<uint32_t>(options.max_message_bytes);
  hub.identity.features.assign(card.card.features().begin(), card.card.features().end());
  return hub;
}

class Server final : public WorkerServer {
 public:
  Server(Model* model, const ServedCard& card, const Clock* clock, metrics::Registry* registry,
         AdminPage* admin, WorkerServerOptions options)
      : options_(std::move(options)),
        card_(card),
        admin_(admin),
        metrics_(registry, card_.card.model_id()),
        hub_(MakeHubOptions(card_, options_), &metrics_),
        engine_(model, clock, options_.engine, &hub_),
        changes_(MakeChanges()),
        service_(&card_, &engine_, &hub_, options_.adapters, changes_.get(),
                 options_.adapter_changes, clock) {
    TellAdapters();
  }

  ~Server() override {
    {
      MutexLock lock(&mutex_);
      stopping_ = true;
      stop_changed_.NotifyAll();
    }
    if (watchdog_.joinable()) watchdog_.join();
    admin_->Stop();
    grpc_.reset();  // ends all streams, so nothing calls the hub or the engine any more
    hub_.Stop();
  }

  absl::Status Start() {
    net::GrpcServerOptions grpc;
    grpc.address = options_.address;
    grpc.port = options_.port;
    grpc.max_received_bytes = options_.max_message_bytes;
    grpc.max_sent_bytes = options_.max_message_bytes;
    grpc.tls = options_.tls;
    grpc.health_names = {v1::Worker::service_full_name()};
    PINGTI_ASSIGN_OR_RETURN(grpc_, net::GrpcServer::Start(grpc, {{&service_}}));
    admin_->Serve([this] { return Healthy(); }, [this] { return Ready(); });
    hub_.Start();
    PINGTI_RETURN_IF_ERROR(ProveFirstStep());
    watchdog_ = std::thread([this] { Watch(); });
    ready_.store(true, std::memory_order_release);
    grpc_->SetServing(true);
    return absl::OkStatus();
  }

  uint16_t port() const override { return grpc_->port(); }
  absl::Status Healthy() const override { return engine_.Healthy(); }

  void RecordModel(const ServedCard& card, std::string_view backend, double load_seconds) override {
    metrics_.model_load_seconds.Set(load_seconds);
    metrics_.model_info.With({card.card.model_id(), card.card.weight_format(), backend}).Set(1);
  }

  void Drain(std::chrono::milliseconds timeout) override {
    grpc_->SetServing(false);
    hub_.AnnounceDraining(static_cast<uint32_t>(timeout.count()));
    WaitFor([this] { return engine_.idle(); }, timeout);
    engine_.GiveBackAll();
    WaitFor([this] { return engine_.idle(); }, kFlushTime);
    hub_.EndAll();
    WaitFor([this] { return hub_.num_sessions() == 0; }, kFlushTime);
    grpc_->Shutdown(std::chrono::milliseconds(0));
  }

 private:
  std::unique_ptr<AdapterChanges> MakeChanges() {
    if (options_.adapters == nullptr) return nullptr;
    return std::make_unique<AdapterChanges>(
        options_.adapters, [this] { TellAdapters(); }, &metrics_);
  }

  // Routers learn which adapters there are.
  void TellAdapters() {
    if (options_.adapters == nullptr) return;
    std::vector<AdapterInfo> adapters = options_.adapters->All();
    metrics_.adapters.Set(static_cast<double>(adapters.size()));
    hub_.SetAdapters(std::move(adapters));
  }

  absl::Status Ready() const {
    PINGTI_RETURN_IF_ERROR(Healthy());
    if (hub_.draining()) return absl::UnavailableError("draining");
    if (!ready_.load(std::memory_order_acquire))
      return absl::UnavailableError("no step was run yet");
    return absl::OkStatus();
  }

  absl::Status ProveFirstStep() {
    auto result = std::make_shared<FirstStepSink::Result>();
    const SessionId session = engine_.OpenSession(std::make_unique<FirstStepSink>(result));
    Request request;
    request.request_id = "first step";
    request.prompt_token_ids = {0};
    request.stop.max_tokens = 1;
    std::vector<Request> requests;
    requests.push_back(std::move(request));
    engine_.Submit(session, std::move(requests));
    const auto deadline = std::chrono::steady_clock::now() + options_.engine.step_deadline;
    std::optional<Finish> finish;
    {
      MutexLock lock(&result->mutex);
      while (!result->finish) {
        if (!result->changed.WaitUntil(&result->mutex, deadline)) break;
      }
      finish = result->finish;
    }
    engine_.CloseSession(session);
    if (!finish) {
      absl::Status status = engine_.Healthy();
      if (status.ok()) {
        status = absl::DeadlineExceededError(Concat("the first engine step did not end within ",
                                                    options_.engine.step_deadline.count(), " ms"));
      }
      LogError("the engine is broken", {{"error", status.ToString()}});
      // The engine thread may hang in that step: destroying this object would, too.
      if (options_.on_broken) options_.on_broken(status);
      return status;
    }
    if (!finish->status.ok()) {
      return absl::Status(
          finish->status.code(),
          Concat("the first engine step failed: ",
                 std::string(finish->status.message().data(), finish->status.message().size())));
    }
    return absl::OkStatus();
  }

  void Watch() {
    while (true) {
      {
        MutexLock lock(&mutex_);
        const auto next = std::chrono::steady_clock::now() + 5 * kPoll;
        while (!stopping_ && stop_changed_.WaitUntil(&mutex_, next)) {
        }
        if (stopping_) return;
      }
      const absl::Status status = engine_.Healthy();
      if (status.ok()) continue;
      grpc_->SetServing(false);
      hub_.AnnounceDraining(0);  // so that routers send nothing more
      LogError("the engine is broken", {{"error", status.ToString()}});
      if (options_.on_broken) options_.on_broken(status);
      return;
    }
  }

  void WaitFor(const std::function<bool()>& condition, std::chrono::milliseconds timeout) {
    const auto deadline = std::chrono::steady_clock::now() + timeout;
    while (!condition() && std::chrono::steady_clock::now() < deadline) {
      std::this_thread::sleep_for(kPoll);
    }
  }

  const WorkerServerOptions options_;
  const ServedCard card_;
  AdminPage* const admin_;
  metrics::WorkerMetrics metrics_;
  SessionHub hub_;
  Engine engine_;                                  // joins before the hub goes
  const std::unique_ptr<AdapterChanges> changes_;  // null: there are no adapters
  WorkerService service_;
  std::unique_ptr<net::GrpcServer> grpc_;
  std::atomic<bool> ready_{false};  // a step was run

  Mutex mutex_;
  CondVar stop_changed_;
  bool stopping_ PINGTI_GUARDED_BY(mutex_) = false;
  std::thread watchdog_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<WorkerServer>> WorkerServer::Start(
    Model* model, const ServedCard& card, const Clock* clock, metrics::Registry* registry,
    AdminPage* admin, WorkerServerOptions options) {
  auto server = std::make_unique<Server>(model, card, clock, registry, admin, std::move(options));
  PINGTI_RETURN_IF_ERROR(server->Start());
  return server;
}

}  // namespace pingti::worker
