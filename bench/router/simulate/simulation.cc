// See simulation.h.
#include "bench/router/simulate/simulation.h"

#include <map>
#include <random>
#include <utility>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "router/pipeline/dispatcher.h"
#include "router/queue/choose_order.h"

namespace pingti::bench {
namespace {

constexpr char kFingerprint[] = "model";

// One router's parts, wired as router/main.cc does.
struct Router {
  Router(const SimulationSettings& settings, std::unique_ptr<router::Policy> policy,
         std::unique_ptr<router::QueueOrder> order, const Clock* clock)
      : metrics(&metrics_registry),
        admission(settings.admission, clock),
        registry(router::BreakerOptions{}, clock, &metrics),
        dispatcher(&registry, std::move(policy), std::move(order), clock) {}

  metrics::Registry metrics_registry;
  metrics::RouterMetrics metrics;
  router::AdmissionController admission;
  router::WorkerRegistry registry;
  router::Dispatcher dispatcher;
};

class Run {
 public:
  Run(const Workload& workload, const SimulationSettings& settings)
      : workload_(workload), settings_(settings), random_(settings.seed) {
    result_.requests.resize(workload.requests.size());
    followers_.resize(workload.requests.size());
  }

  absl::Status Start(const PolicyFactory& make_policy) {
    for (size_t i = 0; i < settings_.workers; ++i) {
      workers_.push_back(std::make_unique<ModelledWorker>(settings_.worker, &events_));
    }
    for (size_t i = 0; i < settings_.routers; ++i) {
      PINGTI_ASSIGN_OR_RETURN(auto policy, make_policy(i));
      PINGTI_ASSIGN_OR_RETURN(auto order, router::MakeQueueOrder(settings_.queue_order));
      routers_.push_back(std::make_unique<Router>(settings_, std::move(policy), std::move(order),
                                                  events_.clock()));
      Connect(i);
    }
    const uint64_t most = settings_.worker.cost.kv_tokens - settings_.worker.block_tokens;
    for (size_t i = 0; i < workload_.requests.size(); ++i) {
      const SimulatedRequest& request = workload_.requests[i];
      if (uint64_t{request.input_tokens} + request.output_tokens > most) {
        return absl::InvalidArgumentError(Concat("request ", i, " has ", request.input_tokens,
                                                 " and ", request.output_tokens,
                                                 " tokens, expected at most ", most, " together"));
      }
      if (request.follows < 0) {
        events_.At(request.arrival_s, [this, i] { Arrive(i); });
      } else {
        followers_[static_cast<size_t>(request.follows)].push_back(i);
      }
    }
    return absl::OkStatus();
  }

  SimulationResult Finish() {
    events_.Run();
    for (const auto& worker : workers_) result_.workers.push_back(worker->service());
    return std::move(result_);
  }

 private:
  // One request at its router and at its worker.
  class Attempt final : public router::SequenceHandler {
   public:
    Attempt(Run* run, size_t request) : run_(run), request_(request) {}
    void OnPlaced(const router::SequencePlace&) override {
      RequestOutcome& outcome = run_->result_.requests[request_];
      outcome.queued_s = run_->events_.now() - outcome.arrival_s;
    }
    void OnOutput(router::SequenceOutput output) override {
      RequestOutcome& outcome = run_->result_.requests[request_];
      const double passed = run_->events_.now() - outcome.arrival_s;
      if (!std::exchange(started_, true)) {
        outcome.first_token_s = passed;
        ticket_->OnSequenceStarted();
      }
      if (!output.finish.has_value()) return;
      outcome.finish_s = passed;
      run_->result_.end_s = run_->events_.now();
      ticket_ = nullptr;
      for (const size_t next : run_->followers_[request_]) {
        run_->events_.After(run_->workload_.requests[next].arrival_s,
                            [run = run_, next] { run->Arrive(next); });
      }
    }
    void OnLost(const absl::Status&) override {}  // only when the simulation ends
    void OnQueueTimeout() override { PINGTI_CHECK_MSG(false, "no job has a deadline"); }

    void Hold(std::unique_ptr<router::AdmissionController::Ticket> ticket) {
      ticket_ = std::move(ticket);
    }

   private:
    Run* const run_;
    const size_t request_;
    bool started_ = false;
    std::unique_ptr<router::AdmissionController::Ticket> ticket_;
  };

  // A router's way to one worker.
  class Channel final : public router::WorkerChannel {
   public:
    Channel(Run* run, size_t session, size_t worker)
        : run_(run), session_(session), worker_(worker) {}
    void Submit(std::vector<router::Sequence> sequences) override {
      for (const router::Sequence& sequence : sequences) {
        const size_t index = std::stoull(sequence.request_id);
        run_->result_.requests[index].worker = worker_;
        run_->events_.After(run_->settings_.worker.network_s,
                            [this, id = sequence.sequence_id, priority = sequence.priority, index] {
                              run_->workers_[worker_]->Submit(session_, id, priority,
                                                              &run_->workload_.requests[index]);
                            });
      }
    }
    void Cancel(uint64_t) override { PINGTI_CHECK_MSG(false, "nobody cancels here"); }

   private:
    Run* const run_;
    const size_t session_;
    const size_t worker_;
  };

  void Connect(size_t index) {
    Router& router = *routers_[index];
    std::map<std::string, router::LinkId> links;
    router.registry.Connect(
        [&](router::LinkId id, const std::string& address) {
          links[address] = id;
          return std::make_shared<Channel>(this, index, std::stoull(address));
        },
        [&router] { router.dispatcher.Pump(); });
    std::vector<std::string> addresses;
    for (size_t i = 0; i < workers_.size(); ++i) addresses.push_back(std::to_string(i));
    router.registry.SetAddresses({addresses.begin(), addresses.end()});
    auto model = std::make_shared<router::ServedModel>();
    model->id = kFingerprint;
    model->fingerprint = kFingerprint;
    model->kv_block_tokens = settings_.worker.block_tokens;
    router::WorkerInfo info;
    info.model = std::move(model);
    info.max_batch_size = settings_.worker.max_batch_size;
    info.kv_total_blocks = settings_.worker.cost.kv_tokens / settings_.worker.block_tokens;
    const auto share = [&](uint32_t credit) {
      if (!settings_.late_binding) return UINT32_MAX;
      return std::max(1u, credit / static_cast<uint32_t>(settings_.routers));
    };
    info.credit_sequences = share(settings_.credit_sequences);
    info.credit_tokens = share(settings_.credit_tokens);
    for (size_t i = 0; i < workers_.size(); ++i) {
      info.worker_id = addresses[i];
      const router::LinkId link = links.at(addresses[i]);
      workers_[i]->Connect(&router.registry, link);
      router.registry.OnReady(link, info);
    }
  }

  void Arrive(size_t index) {
    const SimulatedRequest& request = workload_.requests[index];
    RequestOutcome& outcome = result_.requests[index];
    outcome.arrival_s = events_.now();
    Router& router = *routers_[random_() % routers_.size()];
    const auto attempt = std::make_shared<Attempt>(this, index);
    auto ticket = router.admission.Admit(
        {.tenant = request.tenant, .sequences = 1, .tokens = request.input_tokens},
        [](const absl::Status&) { PINGTI_CHECK_MSG(false, "the queue is large enough for all"); });
    if (!ticket.ok()) {
      outcome.refused = true;
      return;
    }
    attempt->Hold(*std::move(ticket));
    router::SequenceJob job;
    job.id = router.dispatcher.NextJobId();
    job.fingerprint = kFingerprint;
    job.line = request.tenant;
    job.sequence.request_id = std::to_string(index);
    job.sequence.stop.max_tokens = request.output_tokens;
    job.handler = attempt;
    job.tokens = request.input_tokens;
    job.block_hashes =
        std::span(request.blocks)
            .first(std::min<size_t>(request.blocks.size(),
                                    request.input_tokens / settings_.worker.block_tokens));
    job.give_up_at = std::chrono::steady_clock::time_point::max();
    router.dispatcher.Submit(std::move(job));
  }

  const Workload& workload_;
  const SimulationSettings settings_;
  std::mt19937_64 random_;
  SimulationResult result_;
  std::vector<std::vector<size_t>> followers_;
  EventQueue events_;
  std::vector<std::unique_ptr<ModelledWorker>> workers_;
  std::vector<std::unique_ptr<Router>> routers_;
};

}  // namespace

absl::StatusOr<SimulationResult> Simulate(const Workload& workload,
                                          const SimulationSettings& settings,
                                          const PolicyFactory& make_policy) {
  Run run(workload, settings);
  PINGTI_RETURN_IF_ERROR(run.Start(make_policy));
  return run.Finish();
}

}  // namespace pingti::bench
