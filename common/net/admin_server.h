// The port for operators of every process: GET /metrics (Prometheus text), /healthz (liveness:
// should this process be restarted?) and /readyz (readiness: should it get requests?).
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/net/http_server.h"

namespace pingti::net {

// Called on the server's I/O thread; they must not block.
struct AdminCallbacks {
  std::function<std::string()> metrics;
  // OK answers 200 "ok"; an error answers 503 with its message.
  std::function<absl::Status()> healthy;
  std::function<absl::Status()> ready;
};

// Errors: as HttpServer::Start.
absl::StatusOr<std::unique_ptr<HttpServer>> StartAdminServer(HttpServerOptions options,
                                                             AdminCallbacks callbacks);

}  // namespace pingti::net
