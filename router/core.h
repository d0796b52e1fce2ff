// Everything between the listeners and the workers, wired. Used by main.cc alone.
#pragma once

#include <memory>

#include "absl/status/status.h"
#include "common/base/clock.h"
#include "common/base/memory_budget.h"
#include "common/base/memory_return.h"
#include "common/metrics/router_metrics.h"
#include "router/admission/admission.h"
#include "router/admission/api_keys.h"
#include "router/gauges.h"
#include "router/observer/access_log.h"
#include "router/observer/metrics_watcher.h"
#include "router/pipeline/dispatcher.h"
#include "router/pipeline/inference_service.h"
#include "router/pipeline/task_pool.h"
#include "router/pipeline/ticker.h"
#include "router/policy/policy.h"
#include "router/queue/queue_order.h"
#include "router/registry/worker_registry.h"
#include "router/router_config.h"
#include "router/worker_link/model_store.h"
#include "router/worker_link/worker_link.h"

namespace pingti::router {

// Thread-safe, but for Apply, which one thread calls at a time.
class Core {
 public:
  // `metrics` must outlive this.
  Core(const RouterConfig& config, const ApiKeys& keys, std::unique_ptr<Policy> policy,
       std::unique_ptr<QueueOrder> order, metrics::RouterMetrics* metrics);
  // What still runs is told so; then links, pool and ticker end, in an order in which none calls
  // what is gone.
  ~Core();
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;

  // Puts those settings into force that may change while the router runs. Errors: InvalidArgument;
  // then none of them.
  absl::Status Apply(const RouterConfig& config);

  WorkerRegistry& registry() { return registry_; }
  InferenceService& service() { return service_; }
  MemoryBudget& bodies() { return bodies_; }
  AdmissionController& admission() { return admission_; }

 private:
  void Tick();

  // In order of dependence.
  const Clock* const clock_;
  MemoryBudget bodies_;
  MemoryReturn memory_;  // the ticker's
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
  Gauges gauges_;  // the ticker's
  std::unique_ptr<Ticker> ticker_;
};

}  // namespace pingti::router
