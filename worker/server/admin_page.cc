// See admin_page.h.
#include "worker/server/admin_page.h"

#include <utility>

#include "common/base/status_macros.h"
#include "common/net/admin_server.h"

namespace pingti::worker {

absl::StatusOr<std::unique_ptr<AdminPage>> AdminPage::Start(net::HttpServerOptions options,
                                                            const metrics::Registry* metrics) {
  auto page = std::unique_ptr<AdminPage>(new AdminPage());
  AdminPage* const self = page.get();
  page->Stop();
  net::AdminCallbacks callbacks;
  callbacks.metrics = [metrics] { return metrics->Serialize(); };
  callbacks.healthy = [self] {
    MutexLock lock(&self->mutex_);
    return self->healthy_();
  };
  callbacks.ready = [self] {
    MutexLock lock(&self->mutex_);
    return self->ready_();
  };
  PINGTI_ASSIGN_OR_RETURN(page->server_,
                          net::StartAdminServer(std::move(options), std::move(callbacks)));
  return page;
}

void AdminPage::Serve(Check healthy, Check ready) {
  MutexLock lock(&mutex_);
  healthy_ = std::move(healthy);
  ready_ = std::move(ready);
}

void AdminPage::Stop() {
  Serve([] { return absl::OkStatus(); },
        [] { return absl::UnavailableError("the model is not loaded"); });
}

}  // namespace pingti::worker
