// See in_process_router.h.
#include "tests/testing/in_process_router.h"

#include <utility>

#include "common/base/check.h"
#include "common/base/strings.h"
#include "router/policy/choose_policy.h"
#include "router/queue/choose_order.h"
#include "tests/testing/wait_for.h"

namespace pingti::testing {

using namespace router;  // NOLINT: everything here is the router's

InProcessRouter::InProcessRouter(InProcessRouterOptions options) : metrics_(&metrics_registry_) {
  const Clock* clock = RealClock();
  keys_ = *ApiKeys::Parse(options.api_keys);
  admission_ = std::make_unique<AdmissionController>(options.admission, clock);
  admission_->SetTenants(keys_.tenants());
  registry_ = std::make_unique<WorkerRegistry>(BreakerOptions{}, clock, &metrics_);
  dispatcher_ = std::make_unique<Dispatcher>(registry_.get(), *MakePolicy(options.policy),
                                             *MakeQueueOrder(options.queue_order), clock);
  pool_ = std::make_unique<TaskPool>(1, 256);
  context_ = {options.generation,
              dispatcher_.get(),
              admission_.get(),
              pool_.get(),
              clock,
              OsEntropy(),
              {&metrics_watcher_, &access_log_}};
  service_ = std::make_unique<InferenceService>(&context_, registry_.get());
  service_->model_names().Replace(*MakeModelTable(options.models, options.model_aliases));
  handler_ = std::make_unique<ApiHandler>(service_.get(), &keys_);
  registry_->Connect(
      [this, link = options.link, clock](LinkId id, const std::string& address) {
        return std::make_shared<WorkerLink>(id, address, link, &models_, registry_.get(), clock);
      },
      [this] { dispatcher_->Pump(); });
  registry_->SetAddresses({options.workers.begin(), options.workers.end()});
  ticker_ = std::make_unique<Ticker>(std::chrono::milliseconds(10), [this] {
    service_->Tick();
    dispatcher_->Tick();
    registry_->Reap();
  });
  net::HttpServerOptions http = options.http;
  http.protocol_error = &ApiHandler::ProtocolError;
  absl::StatusOr<std::unique_ptr<net::HttpServer>> server = net::HttpServer::Start(
      http, [this](net::HttpRequest request, std::shared_ptr<net::HttpResponder> responder) {
        handler_->Handle(std::move(request), std::move(responder));
      });
  PINGTI_CHECK(server.ok());
  http_ = *std::move(server);
}

InProcessRouter::~InProcessRouter() {
  ticker_ = nullptr;
  service_->CancelAll(absl::UnavailableError("the router stops"));
  registry_->CloseAll();
  pool_ = nullptr;
  http_ = nullptr;
}

std::string InProcessRouter::url() const { return Concat("http://127.0.0.1:", http_->port()); }

bool InProcessRouter::WaitReady(uint32_t num_workers) {
  return WaitFor([&] { return registry_->num_ready() >= num_workers; });
}

net::HttpResponse InProcessRouter::Post(const std::string& path, const std::string& body,
                                        const net::HttpHeaders& headers) {
  net::HttpClient client({.read_timeout = kPatience});
  absl::StatusOr<net::HttpResponse> response =
      client.Send({.method = "POST", .url = url() + path, .headers = headers, .body = body});
  if (response.ok()) return *std::move(response);
  return {.status = 0, .body = response.status().ToString()};
}

net::HttpResponse InProcessRouter::Get(const std::string& path) {
  net::HttpClient client({.read_timeout = kPatience});
  absl::StatusOr<net::HttpResponse> response = client.Send({.url = url() + path});
  if (response.ok()) return *std::move(response);
  return {.status = 0, .body = response.status().ToString()};
}

}  // namespace pingti::testing
