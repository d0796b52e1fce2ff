// The router's metric handles, registered together. Thread-safe, as each handle is.
#pragma once

#include "common/metrics/metrics.h"
#include "common/metrics/registry.h"

namespace pingti::metrics {

struct RouterMetrics {
  explicit RouterMetrics(Registry* registry)
      : requests(registry->Add(kRouterRequests)),
        request_duration_seconds(registry->Add(kRouterRequestDuration)),
        time_to_first_token_seconds(registry->Add(kRouterTimeToFirstToken)),
        inter_token_latency_seconds(registry->Add(kRouterInterTokenLatency)),
        queue_time_seconds(registry->Add(kRouterQueueTime)),
        prompt_tokens(registry->Add(kRouterPromptTokens)),
        output_tokens(registry->Add(kRouterOutputTokens)),
        class_requests(registry->Add(kRouterClassRequests)),
        class_tokens(registry->Add(kRouterClassTokens)),
        class_time_to_first_token_seconds(registry->Add(kRouterClassTimeToFirstToken)),
        class_first_tokens(registry->Add(kRouterClassFirstTokens)),
        discovery_failed(registry->Add(kRouterDiscoveryFailed)),
        config_reload_failed(registry->Add(kRouterReloadFailed)),
        requests_in_flight(registry->Add(kRouterRequestsInFlight)),
        queued_requests(registry->Add(kRouterQueuedRequests)),
        queued_tokens(registry->Add(kRouterQueuedTokens)),
        body_bytes(registry->Add(kRouterBodyBytes)),
        workers(registry->Add(kRouterWorkers)),
        ready_workers(registry->Add(kRouterReadyWorkers)),
        worker_dispatch(registry->Add(kRouterWorkerDispatch)),
        resumed_sequences(registry->Add(kRouterResumedSequences)),
        restarted_searches(registry->Add(kRouterRestartedSearches)),
        client_disconnects(registry->Add(kRouterClientDisconnects)) {}

  Family<Counter, 3> requests;                             // endpoint, model, code
  Family<Histogram, 2> request_duration_seconds;           // endpoint, model
  Family<Histogram, 1> time_to_first_token_seconds;        // model
  Family<Histogram, 1> inter_token_latency_seconds;        // model
  Family<Histogram, 1> queue_time_seconds;                 // model
  Family<Counter, 1> prompt_tokens;                        // model
  Family<Counter, 1> output_tokens;                        // model
  Family<Counter, 2> class_requests;                       // tenant_class, code
  Family<Counter, 2> class_tokens;                         // tenant_class, direction
  Family<Histogram, 1> class_time_to_first_token_seconds;  // tenant_class
  Family<Counter, 2> class_first_tokens;                   // tenant_class, objective
  Family<Gauge, 1> discovery_failed;                       // source
  Family<Gauge, 1> config_reload_failed;                   // source
  Gauge requests_in_flight;
  Family<Gauge, 1> queued_requests;  // model
  Gauge queued_tokens;
  Gauge body_bytes;
  Family<Gauge, 1> workers;            // state
  Family<Gauge, 1> ready_workers;      // model
  Family<Counter, 1> worker_dispatch;  // worker
  Counter resumed_sequences;
  Counter restarted_searches;
  Counter client_disconnects;
};

}  // namespace pingti::metrics
