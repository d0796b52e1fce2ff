// A whole router in this process, wired as router/main.cc wires it, on ports of its own.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "common/metrics/router_metrics.h"
#include "common/net/http_client.h"
#include "common/net/http_server.h"
#include "router/admission/admission.h"
#include "router/admission/api_keys.h"
#include "router/http/api_handler.h"
#include "router/observer/access_log.h"
#include "router/observer/metrics_watcher.h"
#include "router/pipeline/inference_service.h"
#include "router/pipeline/ticker.h"
#include "router/worker_link/model_store.h"
#include "router/worker_link/worker_link.h"
#include "tests/testing/wait_for.h"

namespace pingti::testing {

// Links that do not take a fake worker without a turn on a busy machine for one that has stalled.
inline router::WorkerLinkOptions PatientLink() {
  router::WorkerLinkOptions link;
  link.stall_timeout = kPatience;
  return link;
}

struct InProcessRouterOptions {
  std::vector<std::string> workers{};
  std::string policy = "prefix_affinity";
  std::string queue_order = "fair";
  router::GenerationOptions generation{};
  router::AdmissionOptions admission{};
  router::WorkerLinkOptions link = PatientLink();
  std::string api_keys{};
  std::vector<std::string> models{};
  std::vector<std::string> model_aliases{};
  net::HttpServerOptions http{};
};

class InProcessRouter {
 public:
  explicit InProcessRouter(InProcessRouterOptions options);
  ~InProcessRouter();

  std::string url() const;
  uint16_t http_port() const { return http_->port(); }
  size_t num_connections() const { return http_->num_connections(); }
  std::string MetricsText() const { return metrics_registry_.Serialize(); }
  router::WorkerRegistry& registry() { return *registry_; }
  router::InferenceService& service() { return *service_; }
  router::AdmissionController& admission() { return *admission_; }
  metrics::RouterMetrics& metrics() { return metrics_; }

  // False when that many workers were not ready within kPatience.
  bool WaitReady(uint32_t num_workers);

  // POSTs `body`; the connection's own errors come as status 0.
  net::HttpResponse Post(const std::string& path, const std::string& body,
                         const net::HttpHeaders& headers = {});
  net::HttpResponse Get(const std::string& path);

 private:
  metrics::Registry metrics_registry_;
  metrics::RouterMetrics metrics_;
  router::ModelStore models_;
  std::unique_ptr<router::AdmissionController> admission_;
  std::unique_ptr<router::WorkerRegistry> registry_;
  std::unique_ptr<router::Dispatcher> dispatcher_;
  std::unique_ptr<router::TaskPool> pool_;
  router::MetricsWatcher metrics_watcher_{&metrics_};
  router::AccessLog access_log_;
  router::GenerationContext context_;
  std::unique_ptr<router::InferenceService> service_;
  router::ApiKeys keys_;
  std::unique_ptr<router::ApiHandler> handler_;
  std::unique_ptr<router::Ticker> ticker_;
  std::unique_ptr<net::HttpServer> http_;
};

}  // namespace pingti::testing
