// pingti-router: reads the settings, wires the parts, waits for a signal, drains. Wiring only.
// Read next: docs/structure.md, then router/pipeline/generation.h.
#include <grpcpp/generic/async_generic_service.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "common/base/clock.h"
#include "common/base/file_limit.h"
#include "common/base/log.h"
#include "common/base/memory_budget.h"
#include "common/base/memory_return.h"
#include "common/base/random_id.h"
#include "common/base/signal_waiter.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "common/config/load.h"
#include "common/metrics/router_metrics.h"
#include "common/net/admin_server.h"
#include "common/net/any_address.h"
#include "common/net/grpc_log.h"
#include "common/net/grpc_server.h"
#include "common/net/http_server.h"
#include "router/admission/admission.h"
#include "router/admission/api_keys_source.h"
#include "router/discovery/discovery.h"
#include "router/grpc/inference_grpc.h"
#include "router/http/api_handler.h"
#include "router/http/cors.h"
#include "router/observer/access_log.h"
#include "router/observer/metrics_watcher.h"
#include "router/pipeline/dispatcher.h"
#include "router/pipeline/inference_service.h"
#include "router/pipeline/model_names.h"
#include "router/pipeline/ticker.h"
#include "router/playground/playground.h"
#include "router/policy/choose_policy.h"
#include "router/queue/choose_order.h"
#include "router/registry/worker_registry.h"
#include "router/reload.h"
#include "router/router_config.h"
#include "router/worker_link/model_store.h"

namespace pingti::router {
namespace {

constexpr std::chrono::milliseconds kTick{50};
constexpr std::chrono::milliseconds kLookAtFiles{1000};
// A thread of the HTTP server that has not come around for so long hangs.
constexpr std::chrono::milliseconds kMaxStall{10'000};
// Descriptors that HTTP clients leave to gRPC clients, workers and the admin port.
constexpr size_t kReservedFiles = 256;
constexpr size_t kPrepareQueue = 1024;

// Of every model that is configured or that a known worker has served, also of those that no worker
// is ready for. `shown` are those of the last time: a model that is gone ends its series.
void UpdateModelGauges(const WorkerRegistry& registry, const ModelNames& names,
                       std::set<std::string>* shown, metrics::RouterMetrics* metrics) {
  std::map<std::string, uint32_t> ready;
  const std::shared_ptr<const ModelTable> named = names.table();  // a reload may replace it
  for (const std::string& model : named->models) {
    const std::shared_ptr<const ServedModel> served = registry.FindModel(model);
    if (served == nullptr || served->id == model) ready[model] = 0;  // else it is an alias
  }
  for (const ModelStatus& status : registry.Models()) {
    ready[status.model->id] += status.ready_workers;
  }
  for (const auto& [model, count] : ready) {
    metrics->ready_workers.With({model}).Set(count);
    if (shown->insert(model).second)
      metrics->queued_requests.With({model});  // there from the start
  }
  std::erase_if(*shown, [&](const std::string& model) {
    if (ready.contains(model)) return false;
    metrics->ready_workers.Remove({model});
    return true;
  });
}

void UpdateGauges(const WorkerRegistry& registry, const AdmissionController& admission,
                  const MemoryBudget& bodies, metrics::RouterMetrics* metrics) {
  std::map<std::string_view, int> states;
  for (const WorkerState state : {WorkerState::kConnecting, WorkerState::kReady,
                                  WorkerState::kDraining, WorkerState::kDead}) {
    states[WorkerStateName(state)] = 0;
  }
  for (const WorkerStatus& worker : registry.Workers()) ++states[WorkerStateName(worker.state)];
  for (const auto& [state, count] : states) metrics->workers.With({state}).Set(count);
  metrics->queued_tokens.Set(static_cast<double>(admission.queued_tokens()));
  metrics->body_bytes.Set(static_cast<double>(bodies.used()));
}

GenerationOptions MakeGenerationOptions(const RouterConfig& config) {
  GenerationOptions options;
  options.request_timeout = config.request_timeout;
  options.queue_timeout = config.queue_timeout;
  options.keep_alive = config.keep_alive;
  options.stream_interval = config.stream_interval;
  options.max_attempts = config.max_attempts;
  options.max_beams = static_cast<uint32_t>(config.max_beams);
  options.model_wait = config.model_wait;
  options.adapter_changes = config.allow_runtime_lora_updating;
  return options;
}

AdmissionOptions MakeAdmissionOptions(const RouterConfig& config) {
  AdmissionOptions options;
  options.max_queued_sequences = static_cast<size_t>(config.max_queued_sequences);
  options.max_queued_tokens = static_cast<uint64_t>(config.max_queued_tokens);
  options.max_predicted_wait = config.max_predicted_wait;
  options.max_concurrent_sequences = static_cast<size_t>(config.max_concurrent_sequences);
  options.limits_divided_by = static_cast<uint64_t>(config.limits_divided_by);
  options.max_concurrent_per_key = static_cast<size_t>(config.max_concurrent_per_key);
  options.max_priority = config.max_priority;
  return options;
}

WorkerLinkOptions MakeLinkOptions(const RouterConfig& config) {
  WorkerLinkOptions options;
  options.router_id = RandomId("router-", OsEntropy());
  options.connect_timeout = config.connect_timeout;
  options.stall_timeout = config.stall_timeout;
  options.max_message_bytes = static_cast<int>(config.grpc_max_message_length);
  options.tls = config.worker_tls;
  options.tls_ca_file = config.worker_tls_ca_file;
  options.tls_cert_file = config.worker_tls_cert_file;
  options.tls_key_file = config.worker_tls_key_file;
  options.tls_server_name = config.worker_tls_server_name;
  return options;
}

DiscoveryOptions MakeDiscoveryOptions(const RouterConfig& config, metrics::RouterMetrics* metrics) {
  DiscoveryOptions options;
  options.dns_interval = config.dns_interval;
  options.zone = config.zone;
  options.kubernetes.url = config.kubernetes_api;
  options.kubernetes.token_file = config.kubernetes_token_file;
  options.kubernetes.ca_file = config.kubernetes_ca_file;
  options.on_answer = [metrics](const std::string& entry, bool answered) {
    metrics->discovery_failed.With({entry}).Set(answered ? 0 : 1);
  };
  return options;
}

// So many that messages on their way in take no more than half of what HTTP bodies may take.
ReadLimits MakeReadLimits(const RouterConfig& config) {
  ReadLimits limits;
  const int64_t reads = config.max_bodies_bytes / 2 / config.grpc_max_request_bytes;
  limits.in_all = static_cast<size_t>(std::clamp<int64_t>(reads, 1, 256));
  return limits;
}

net::GrpcServerOptions MakeGrpcOptions(const RouterConfig& config) {
  net::GrpcServerOptions options;
  options.address = config.address;
  options.port = config.grpc_port;
  options.max_received_bytes = config.grpc_max_request_bytes;
  options.max_sent_bytes = config.grpc_max_message_length;
  options.max_connections = static_cast<size_t>(config.grpc_max_connections);
  options.max_calls_per_connection = config.grpc_max_calls_per_connection;
  options.max_buffered_bytes = static_cast<size_t>(config.max_bodies_bytes);
  options.health_names = {InferenceServiceName()};
  options.tls = {.cert_file = config.tls_cert_file, .key_file = config.tls_key_file};
  return options;
}

size_t MaxConnections(const RouterConfig& config) {
  const size_t files = RaiseFileLimit();
  const auto wanted = static_cast<size_t>(config.max_connections);
  const size_t possible = files - std::min(files / 2, kReservedFiles);
  if (wanted > possible) {
    LogWarning("max_connections is more than the limit of open files allows",
               {{"max_connections", wanted}, {"open_files", files}, {"used", possible}});
  }
  return std::min(wanted, possible);
}

// Budget, handler and policy outlive the server.
net::HttpServerOptions MakeHttpOptions(const RouterConfig& config, MemoryBudget* bodies,
                                       const ApiHandler* handler, const CorsPolicy* cors) {
  net::HttpServerOptions options;
  options.address = config.address;
  options.port = config.http_port;
  options.num_threads = config.http_threads;
  options.max_body_bytes = static_cast<size_t>(config.max_body_bytes);
  options.body_budget = bodies;
  options.refuse = [=](const net::HttpRequest& head) -> std::optional<net::HttpResponse> {
    if (cors->IsPreflight(head)) return std::nullopt;
    std::optional<net::HttpResponse> refusal = handler->Refuse(head);
    if (refusal.has_value()) cors->AddHeaders(head, &*refusal);
    return refusal;
  };
  options.max_connections = MaxConnections(config);
  options.tls = {.cert_file = config.tls_cert_file, .key_file = config.tls_key_file};
  options.protocol_error = &ApiHandler::ProtocolError;
  return options;
}

// Everything between the listeners and the workers. Members are in order of dependence.
class Core {
 public:
  Core(const RouterConfig& config, const ApiKeys& keys, std::unique_ptr<Policy> policy,
       std::unique_ptr<QueueOrder> order, metrics::RouterMetrics* metrics)
      : clock_(RealClock()),
        bodies_(static_cast<size_t>(config.max_bodies_bytes)),
        memory_(&bodies_, clock_),
        metrics_(metrics),
        link_options_(MakeLinkOptions(config)),
        admission_(MakeAdmissionOptions(config), clock_),
        registry_(BreakerOptions{}, clock_, metrics),
        dispatcher_(&registry_, std::move(policy), std::move(order), clock_,
                    {.promote_after = config.promote_after}),
        pool_(std::make_unique<TaskPool>(config.prepare_threads, kPrepareQueue)),
        metrics_watcher_(metrics),
        context_{MakeGenerationOptions(config),
                 &dispatcher_,
                 &admission_,
                 pool_.get(),
                 clock_,
                 OsEntropy(),
                 {&metrics_watcher_, &access_log_}},
        service_(&context_, &registry_) {
    admission_.SetTenants(keys.tenants());
    registry_.Connect(
        [this](LinkId id, const std::string& address) {
          return std::make_shared<WorkerLink>(id, address, link_options_, &models_, &registry_,
                                              clock_);
        },
        [this] { dispatcher_.Pump(); });
    ticker_ = std::make_unique<Ticker>(kTick, [this] {
      service_.Tick();
      dispatcher_.Tick();
      registry_.Reap();
      memory_.Tick();
      UpdateGauges(registry_, admission_, bodies_, metrics_);
      UpdateModelGauges(registry_, service_.model_names(), &shown_models_, metrics_);
    });
  }
  // What still runs is told so; then links, pool and ticker end, in an order in which none calls
  // what is gone.
  ~Core() {
    ticker_ = nullptr;
    service_.CancelAll(absl::UnavailableError("the router stops"));
    registry_.CloseAll();
    pool_ = nullptr;
  }
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;

  // Puts those settings into force that may change while the router runs. Errors: InvalidArgument;
  // then none of them.
  absl::Status Apply(const RouterConfig& config) {
    PINGTI_ASSIGN_OR_RETURN(std::unique_ptr<Policy> policy,
                            MakePolicy(config.policy, config.policy_settings));
    PINGTI_ASSIGN_OR_RETURN(ModelTable models, MakeModelTable(config.models, config.model_aliases));
    AdmissionOptions admission = MakeAdmissionOptions(config);
    PINGTI_ASSIGN_OR_RETURN(admission.first_token_objectives,
                            ParseObjectives(config.first_token_objectives));
    dispatcher_.SetPolicy(std::move(policy));
    service_.model_names().Replace(std::move(models));
    admission_.SetOptions(admission);
    return absl::OkStatus();
  }

  WorkerRegistry& registry() { return registry_; }
  InferenceService& service() { return service_; }
  MemoryBudget& bodies() { return bodies_; }
  AdmissionController& admission() { return admission_; }

 private:
  const Clock* const clock_;
  MemoryBudget bodies_;
  MemoryReturn memory_;  // the ticker's
  metrics::RouterMetrics* const metrics_;
  const WorkerLinkOptions link_options_;
  ModelStore models_;
  AdmissionController admission_;
  WorkerRegistry registry_;
  Dispatcher dispatcher_;
  std::unique_ptr<TaskPool> pool_;
  MetricsWatcher metrics_watcher_;
  AccessLog access_log_;
  GenerationContext context_;
  InferenceService service_;
  std::set<std::string> shown_models_;  // on the ticker's thread
  std::unique_ptr<Ticker> ticker_;
};

class Readiness {
 public:
  Readiness(WorkerRegistry* registry, uint32_t least) : registry_(registry), least_(least) {}
  absl::Status Check() const {
    if (draining_.load()) return absl::UnavailableError("draining");
    const uint32_t ready = registry_->num_ready();
    if (ready >= least_) return absl::OkStatus();
    return absl::UnavailableError(Concat(ready, " workers ready, expected at least ", least_));
  }
  void StartDraining() { draining_.store(true); }

 private:
  WorkerRegistry* const registry_;
  const uint32_t least_;
  std::atomic<bool> draining_{false};
};

// Whether the threads that serve clients come around.
absl::Status CheckLoops(const net::HttpServer* server) {
  if (server == nullptr) return absl::OkStatus();  // starting or stopping
  const std::chrono::milliseconds stall = server->LongestStall();
  if (stall < kMaxStall) return absl::OkStatus();
  return absl::UnavailableError(
      Concat("an HTTP thread has not come around for ", stall.count(), " ms"));
}

absl::Status Serve(const RouterConfig& config, int argc, char** argv, SignalWaiter* signals) {
  PINGTI_ASSIGN_OR_RETURN(ApiKeysSource keys_source,
                          ApiKeysSource::Open(config.api_keys, config.api_keys_file));
  const ApiKeys& keys = keys_source.keys();
  PINGTI_ASSIGN_OR_RETURN(std::unique_ptr<Policy> policy,
                          MakePolicy(config.policy, config.policy_settings));
  PINGTI_ASSIGN_OR_RETURN(std::unique_ptr<QueueOrder> order, MakeQueueOrder(config.queue_order));
  PINGTI_RETURN_IF_ERROR(CheckLinkTls(MakeLinkOptions(config)));
  metrics::Registry metrics_registry;
  metrics_registry.AddProcessMetrics("pingti-router");
  metrics::RouterMetrics metrics(&metrics_registry);
  Core core(config, keys, std::move(policy), std::move(order), &metrics);
  PINGTI_RETURN_IF_ERROR(core.Apply(config));
  SettingsReload settings(argc, argv, environ,
                          [&core](const RouterConfig& fresh) { return core.Apply(fresh); });
  Readiness readiness(&core.registry(), config.min_ready_workers);
  ApiHandler handler(&core.service(), &keys);
  PINGTI_ASSIGN_OR_RETURN(const CorsPolicy cors, CorsPolicy::Make(config.cors_origins));
  ReadTurns turns(MakeReadLimits(config), RealClock());
  const std::unique_ptr<grpc::CallbackGenericService> grpc_service =
      MakeInferenceGrpc(&core.service(), &keys, &core.bodies(), &turns);

  std::atomic<const net::HttpServer*> api_server{nullptr};
  net::HttpServerOptions admin_options;
  admin_options.address = config.admin_address.empty() ? config.address : config.admin_address;
  admin_options.port = config.admin_port;
  PINGTI_ASSIGN_OR_RETURN(
      const std::unique_ptr<net::HttpServer> admin,
      net::StartAdminServer(admin_options, {[&] { return metrics_registry.Serialize(); },
                                            [&] { return CheckLoops(api_server.load()); },
                                            [&] { return readiness.Check(); }}));
  PINGTI_ASSIGN_OR_RETURN(
      const std::unique_ptr<net::GrpcServer> grpc,
      net::GrpcServer::Start(MakeGrpcOptions(config), {{}, grpc_service.get()}));
  PINGTI_ASSIGN_OR_RETURN(
      const std::unique_ptr<net::HttpServer> http,
      net::HttpServer::Start(
          MakeHttpOptions(config, &core.bodies(), &handler, &cors),
          [&](net::HttpRequest request, std::shared_ptr<net::HttpResponder> responder) {
            if (config.playground && ServePlayground(request, responder.get())) return;
            if (cors.IsPreflight(request)) return responder->Send(cors.AnswerPreflight(request));
            responder = cors.Wrap(request, std::move(responder));
            handler.Handle(std::move(request), std::move(responder));
          }));
  api_server.store(http.get());
  PINGTI_ASSIGN_OR_RETURN(std::unique_ptr<Discovery> discovery,
                          Discovery::Start(config.workers, MakeDiscoveryOptions(config, &metrics),
                                           [&](const std::vector<WorkerAddress>& workers) {
                                             core.registry().SetAddresses(workers);
                                           }));
  Ticker reload(kLookAtFiles, [&] {
    const auto show = [&](const char* source, const absl::Status& status) {
      metrics.config_reload_failed.With({source}).Set(status.ok() ? 0 : 1);
    };
    show("settings", settings.Look(/*asked=*/signals->TakeHangup()));
    show("keys", keys_source.Reload(&core.admission()));
  });
  Ticker health(kTick, [&] {
    grpc->SetServing(readiness.Check().ok());
    turns.Tick();
  });
  LogInfo("router started", {{"http_port", http->port()},
                             {"grpc_port", grpc->port()},
                             {"admin_port", admin->port()},
                             {"workers", config.workers.size()},
                             {"policy", config.policy}});

  signals->Wait();
  readiness.StartDraining();
  LogInfo("draining", {{"running", core.service().num_running()}});
  // A second signal ends the process at once, so nothing needs to cut this short.
  std::this_thread::sleep_for(config.drain_delay);
  std::thread grpc_drain([&] { grpc->Shutdown(config.drain_timeout); });
  const bool all_answered = http->Drain(config.drain_timeout);
  grpc_drain.join();
  core.service().CancelAll(absl::UnavailableError("the router stops"));
  discovery = nullptr;
  LogInfo("router stopped", {{"all_answered", all_answered}});
  api_server.store(nullptr);
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  RouterConfig config;
  config::Schema schema(
      "pingti-router",
      "Takes OpenAI-compatible and gRPC requests and runs them on pingti workers.");
  AddSettings(&config, &schema);
  const absl::StatusOr<std::optional<std::string>> text = config::Load(schema, argc, argv, environ);
  if (!text.ok()) {
    std::fprintf(stderr, "pingti-router: %s\n", std::string(text.status().message()).c_str());
    return 2;
  }
  if (text->has_value()) {
    std::fputs((*text)->c_str(), stdout);
    return 0;
  }
  config.address = net::ResolveAnyAddress(std::move(config.address));
  config.admin_address = net::ResolveAnyAddress(std::move(config.admin_address));
  SignalWaiter signals(SignalWaiter::Hangup::kIsCounted);
  absl::Status status = InitLogging(config.log_level, config.log_format, "pingti-router");
  if (status.ok()) {
    StartLogThread();
    net::RouteGrpcLog();
    status = Serve(config, argc, argv, &signals);
    FlushLogs();
  }
  if (status.ok()) return 0;
  std::fprintf(stderr, "pingti-router: %s\n", std::string(status.message()).c_str());
  return 1;
}

}  // namespace
}  // namespace pingti::router

int main(int argc, char** argv) { return pingti::router::Main(argc, argv); }
