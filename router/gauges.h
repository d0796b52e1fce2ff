// The metrics that say how things stand, as read from the parts that know.
#pragma once

#include <set>
#include <string>

#include "common/base/memory_budget.h"
#include "common/metrics/router_metrics.h"
#include "router/admission/admission.h"
#include "router/pipeline/model_names.h"
#include "router/registry/worker_registry.h"

namespace pingti::router {

// Thread-compatible.
class Gauges {
 public:
  // All must outlive this.
  Gauges(const WorkerRegistry* registry, const AdmissionController* admission,
         const ModelNames* names, const MemoryBudget* bodies, metrics::RouterMetrics* metrics)
      : registry_(registry),
        admission_(admission),
        names_(names),
        bodies_(bodies),
        metrics_(metrics) {}

  void Update();

 private:
  // Of every model that is configured or that a known worker has served, also of those that no
  // worker is ready for.
  void UpdateModels();

  const WorkerRegistry* const registry_;
  const AdmissionController* const admission_;
  const ModelNames* const names_;
  const MemoryBudget* const bodies_;
  metrics::RouterMetrics* const metrics_;
  std::set<std::string> shown_;  // models of the last time: one that is gone ends its series
};

}  // namespace pingti::router
