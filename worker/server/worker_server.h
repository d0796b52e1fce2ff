// The serving worker: engine, gRPC server, admin page, readiness, liveness and the drain.
//
// Owns everything between a loaded model and its ports. main.cc makes the model; tests pass a fake.
// Read next: engine/engine.h, session_hub.h.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "common/base/clock.h"
#include "common/metrics/registry.h"
#include "common/net/tls.h"
#include "worker/adapters/adapter_store.h"
#include "worker/engine/engine_core.h"
#include "worker/model/model.h"

namespace pingti::worker {

class AdminPage;
struct ServedCard;

struct WorkerServerOptions {
  std::string address = "127.0.0.1";
  uint16_t port = 0;
  int64_t max_message_bytes = 100 << 20;
  net::TlsFiles tls;                 // of the gRPC port
  std::string worker_id;             // empty: drawn
  EngineOptions engine;              // the model was allocated with the same numbers
  AdapterStore* adapters = nullptr;  // borrowed; null: the model is served without any
  bool adapter_changes = false;      // routers may load and unload them
  std::chrono::milliseconds report_interval{100};
  // Called once, on a thread of the server, when the engine stands still or is broken. The process
  // cannot go on: it should exit non-zero soon, without destroying the server (whose engine thread
  // may never return).
  std::function<void(const absl::Status&)> on_broken;
};

// Thread-safe.
class WorkerServer {
 public:
  // Returns when the port is open and one real step was run. `registry` gets the worker's metrics;
  // `admin` asks this server until it is destroyed. Both must outlive it. Errors:
  // FailedPrecondition (port in use), Internal or DeadlineExceeded (the step failed).
  static absl::StatusOr<std::unique_ptr<WorkerServer>> Start(Model* model, const ServedCard& card,
                                                             const Clock* clock,
                                                             metrics::Registry* registry,
                                                             AdminPage* admin,
                                                             WorkerServerOptions options);
  virtual ~WorkerServer() = default;

  virtual uint16_t port() const = 0;
  virtual absl::Status Healthy() const = 0;
  // For /metrics: what is served, on which backend, and how long it took to load.
  virtual void RecordModel(const ServedCard& card, std::string_view backend,
                           double load_seconds) = 0;

  // Takes no new sequences, lets running ones end until `timeout`, then gives them back to their
  // routers, and closes the sessions. Blocks; afterwards the server only waits to be destroyed.
  virtual void Drain(std::chrono::milliseconds timeout) = 0;
};

}  // namespace pingti::worker
