// What Prometheus client libraries report about the process itself, read from /proc at each scrape.
#pragma once

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include <vector>

namespace pingti::metrics {

// Thread-safe. A figure that /proc does not give is left out of that scrape.
class ProcessMetrics final : public prometheus::Collectable {
 public:
  std::vector<prometheus::MetricFamily> Collect() const override;
};

}  // namespace pingti::metrics
