// See core.h.
#include "router/core.h"

#include <chrono>
#include <string>
#include <utility>

#include "common/base/random_id.h"
#include "common/base/status_macros.h"
#include "router/part_options.h"
#include "router/policy/choose_policy.h"

namespace pingti::router {
namespace {

constexpr std::chrono::milliseconds kTick{50};
constexpr size_t kPrepareQueue = 1024;

}  // namespace

Core::Core(const RouterConfig& config, const ApiKeys& keys, std::unique_ptr<Policy> policy,
           std::unique_ptr<QueueOrder> order, metrics::RouterMetrics* metrics)
    : clock_(RealClock()),
      bodies_(static_cast<size_t>(config.max_bodies_bytes)),
      memory_(&bodies_, clock_),
      link_options_(MakeLinkOptions(config)),
      admission_(config.admission, clock_),
      registry_(BreakerOptions{}, clock_, metrics),
      dispatcher_(&registry_, std::move(policy), std::move(order), clock_,
                  {.promote_after = config.promote_after}),
      pool_(std::make_unique<TaskPool>(config.prepare_threads, kPrepareQueue)),
      metrics_watcher_(metrics),
      context_{config.generation,
               &dispatcher_,
               &admission_,
               pool_.get(),
               clock_,
               OsEntropy(),
               {&metrics_watcher_, &access_log_}},
      service_(&context_, &registry_),
      gauges_(&registry_, &admission_, &service_.model_names(), &bodies_, metrics) {
  admission_.SetTenants(keys.tenants());
  registry_.Connect(
      [this](LinkId id, const std::string& address) {
        return std::make_shared<WorkerLink>(id, address, link_options_, &models_, &registry_,
                                            clock_);
      },
      [this] { dispatcher_.Pump(); });
  ticker_ = std::make_unique<Ticker>(kTick, [this] { Tick(); });
}

Core::~Core() {
  ticker_ = nullptr;
  service_.CancelAll(absl::UnavailableError("the router stops"));
  registry_.CloseAll();
  pool_ = nullptr;
}

void Core::Tick() {
  service_.Tick();
  dispatcher_.Tick();
  registry_.Reap();
  memory_.Tick();
  gauges_.Update();
}

absl::Status Core::Apply(const RouterConfig& config) {
  PINGTI_ASSIGN_OR_RETURN(std::unique_ptr<Policy> policy,
                          MakePolicy(config.policy, config.policy_settings));
  PINGTI_ASSIGN_OR_RETURN(ModelTable models, MakeModelTable(config.models, config.model_aliases));
  AdmissionOptions admission = config.admission;
  PINGTI_ASSIGN_OR_RETURN(admission.first_token_objectives,
                          ParseObjectives(config.first_token_objectives));
  dispatcher_.SetPolicy(std::move(policy));
  service_.model_names().Replace(std::move(models));
  admission_.SetOptions(admission);
  return absl::OkStatus();
}

}  // namespace pingti::router
