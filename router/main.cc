// pingti-router: reads the settings, wires the parts, waits for a signal, drains. Wiring only.
// Read next: docs/structure.md, core.h, then router/pipeline/generation.h.
#include <grpcpp/generic/async_generic_service.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory_return.h"
#include "common/base/signal_waiter.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "common/config/load.h"
#include "common/metrics/router_metrics.h"
#include "common/net/admin_server.h"
#include "common/net/any_address.h"
#include "common/net/grpc_process.h"
#include "common/net/grpc_server.h"
#include "common/net/http_server.h"
#include "router/admission/api_keys_source.h"
#include "router/core.h"
#include "router/discovery/discovery.h"
#include "router/grpc/inference_grpc.h"
#include "router/http/api_handler.h"
#include "router/http/cors.h"
#include "router/part_options.h"
#include "router/pipeline/ticker.h"
#include "router/playground/playground.h"
#include "router/policy/choose_policy.h"
#include "router/queue/choose_order.h"
#include "router/reload.h"
#include "router/router_config.h"

namespace pingti::router {
namespace {

constexpr std::chrono::milliseconds kHealthTick{50};
constexpr std::chrono::milliseconds kLookAtFiles{1000};
// A thread of the HTTP server that has not come around for so long hangs.
constexpr std::chrono::milliseconds kMaxStall{10'000};

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
  Ticker health(kHealthTick, [&] {
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
    if (std::fputs((*text)->c_str(), stdout) >= 0 && std::fflush(stdout) == 0) return 0;
    std::perror("pingti-router: the output cannot be written");
    return 1;
  }
  BoundFreeHeapEnds();
  config.address = net::ResolveAnyAddress(std::move(config.address));
  config.admin_address = net::ResolveAnyAddress(std::move(config.admin_address));
  SignalWaiter signals(SignalWaiter::Hangup::kIsCounted);
  absl::Status status = InitLogging(config.log_level, config.log_format, "pingti-router");
  if (status.ok()) {
    StartLogThread();
    net::SetUpGrpc();
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
