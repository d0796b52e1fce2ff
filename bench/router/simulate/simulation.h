// The router's own admission, queue, policy, registry and index between a workload and modelled
// workers, in virtual time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "bench/router/simulate/modelled_worker.h"
#include "bench/router/simulate/workload.h"
#include "router/admission/admission.h"
#include "router/policy/policy.h"

namespace pingti::bench {

struct SimulationSettings {
  size_t workers = 8;
  size_t routers = 1;
  ModelledWorkerSettings worker{};
  // What a worker lets wait at itself, for all routers together. Without late binding a sequence is
  // given to a worker at once, however much waits there.
  bool late_binding = true;
  uint32_t credit_sequences = 128;
  uint32_t credit_tokens = 131'072;
  std::string queue_order = "fair";
  router::AdmissionOptions admission{};
  uint64_t seed = 1;  // of the choice of a router for each request
};

struct RequestOutcome {
  bool refused = false;
  double arrival_s = 0;
  double first_token_s = 0;  // since the arrival
  double finish_s = 0;       // since the arrival
  double queued_s = 0;       // until it was given to a worker
  size_t worker = 0;         // index
};

struct SimulationResult {
  std::vector<RequestOutcome> requests;  // as the workload's
  std::vector<ModelledService> workers;
  double end_s = 0;  // when the last answer was complete
};

// Makes a router's policy; called once per router with its index.
using PolicyFactory = std::function<absl::StatusOr<std::unique_ptr<router::Policy>>(size_t router)>;

// Deterministic for equal arguments. Errors: those of the factory and of the queue's order;
// InvalidArgument naming a request that no worker's cache could hold.
absl::StatusOr<SimulationResult> Simulate(const Workload& workload,
                                          const SimulationSettings& settings,
                                          const PolicyFactory& make_policy);

}  // namespace pingti::bench
