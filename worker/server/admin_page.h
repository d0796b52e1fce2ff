// The worker's admin port (/metrics, /healthz, /readyz), open from the start of the process: while
// the model loads, Prometheus sees a worker that loads rather than none, and probes are answered.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/mutex.h"
#include "common/metrics/registry.h"
#include "common/net/http_server.h"

namespace pingti::worker {

// Thread-safe.
class AdminPage {
 public:
  using Check = std::function<absl::Status()>;

  // Until Serve is called the process is healthy and not ready, because it loads its model.
  // `metrics` must outlive this. Errors: as net::HttpServer::Start.
  static absl::StatusOr<std::unique_ptr<AdminPage>> Start(net::HttpServerOptions options,
                                                          const metrics::Registry* metrics);

  // What /healthz and /readyz ask from now on. The checks must not block and must not call this.
  void Serve(Check healthy, Check ready);
  // The process is healthy and not ready again. Afterwards no check is called any more.
  void Stop();

  uint16_t port() const { return server_->port(); }

 private:
  AdminPage() = default;

  Mutex mutex_;
  Check healthy_ PINGTI_GUARDED_BY(mutex_);
  Check ready_ PINGTI_GUARDED_BY(mutex_);
  std::unique_ptr<net::HttpServer> server_;  // ends first: it calls this
};

}  // namespace pingti::worker
