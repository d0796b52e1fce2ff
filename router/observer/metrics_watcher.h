// Counts requests: every pingti_router_* metric that is about a request's life. Adapters count as
// models, under their own names as long as those are few: see model_labels.h.
#pragma once

#include <memory>

#include "common/metrics/router_metrics.h"
#include "router/observer/model_labels.h"
#include "router/observer/request_observer.h"

namespace pingti::router {

// Thread-safe. `metrics` must outlive this, and both must outlive the observers.
class MetricsWatcher final : public RequestWatcher {
 public:
  explicit MetricsWatcher(metrics::RouterMetrics* metrics) : metrics_(metrics) {}
  std::unique_ptr<RequestObserver> OnReceived(const RequestInfo& request) override;

 private:
  metrics::RouterMetrics* const metrics_;
  ModelLabels labels_;
};

}  // namespace pingti::router
