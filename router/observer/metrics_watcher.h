// Counts requests: every pingti_router_* metric that is about a request's life.
#pragma once

#include <memory>

#include "common/metrics/router_metrics.h"
#include "router/observer/request_observer.h"

namespace pingti::router {

// Thread-safe. `metrics` must outlive this and its observers.
class MetricsWatcher final : public RequestWatcher {
 public:
  explicit MetricsWatcher(metrics::RouterMetrics* metrics) : metrics_(metrics) {}
  std::unique_ptr<RequestObserver> OnReceived(const RequestInfo& request) override;

 private:
  metrics::RouterMetrics* const metrics_;
};

}  // namespace pingti::router
