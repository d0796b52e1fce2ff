// See metrics_watcher.h.
#include "router/observer/metrics_watcher.h"

#include <string>
#include <utility>

namespace pingti::router {
namespace {

double Seconds(TimePoint from, TimePoint to) {
  return std::chrono::duration<double>(to - from).count();
}

// Handles are looked up once a request, so that its tokens cost no lock.
class MetricsObserver final : public RequestObserver {
 public:
  MetricsObserver(metrics::RouterMetrics* metrics, ModelLabels* labels)
      : metrics_(metrics), labels_(labels) {}

  void OnAccepted(const RequestInfo& request, const RequestAccepted& event) override {
    accepted_ = true;
    model_ = labels_->Of(event.model);
    const std::string_view model_id = labels_->Of(event.model_id);
    metrics_->requests_in_flight.Increment();
    prompt_tokens_ = metrics_->prompt_tokens.With({model_id});
    time_to_first_token_ = metrics_->time_to_first_token_seconds.With({model_id});
    inter_token_latency_ = metrics_->inter_token_latency_seconds.With({model_id});
    queue_time_ = metrics_->queue_time_seconds.With({model_id});
    output_tokens_ = metrics_->output_tokens.With({model_id});
    queued_ = metrics_->queued_requests.With({model_id});
    class_time_to_first_token_ =
        metrics_->class_time_to_first_token_seconds.With({request.tenant_class});
    class_output_tokens_ = metrics_->class_tokens.With({request.tenant_class, "output"});
  }
  void OnTokenized(const RequestInfo&, const RequestTokenized& event) override {
    uncounted_prompt_tokens_ = event.prompt_tokens;
  }
  void OnQueued(const RequestInfo& request, const SequenceQueued&) override {
    // Only now is it certain that admission let the request in.
    const uint64_t tokens = std::exchange(uncounted_prompt_tokens_, 0);
    if (tokens > 0) {
      prompt_tokens_.Increment(static_cast<double>(tokens));
      metrics_->class_tokens.With({request.tenant_class, "prompt"})
          .Increment(static_cast<double>(tokens));
    }
    ++num_queued_;
    queued_.Increment();
  }
  void OnPlaced(const RequestInfo&, const SequencePlaced& event) override {
    --num_queued_;
    queued_.Decrement();
    queue_time_.Observe(Seconds(event.queued_at, event.at));
  }
  void OnTokens(const RequestInfo& request, const TokensArrived& event) override {
    const auto num_tokens = static_cast<double>(event.num_tokens);
    output_tokens_.Increment(num_tokens);
    class_output_tokens_.Increment(num_tokens);
    if (event.previous.has_value()) {
      inter_token_latency_.Observe(Seconds(*event.previous, event.at) / num_tokens);
    } else {
      time_to_first_token_.Observe(Seconds(request.received, event.at));
      class_time_to_first_token_.Observe(Seconds(request.received, event.at));
      CountObjective(request, event.at);
    }
  }
  bool hears_tokens() const override { return true; }
  void OnResumed(const RequestInfo&, const SequenceResumed& event) override {
    (event.from_prompt ? metrics_->restarted_searches : metrics_->resumed_sequences).Increment();
  }
  void OnEnded(const RequestInfo& request, const RequestEnded& event) override {
    if (accepted_) metrics_->requests_in_flight.Decrement();
    if (num_queued_ > 0) queued_.Decrement(num_queued_);  // what never had a worker
    if (absl::IsCancelled(event.status)) metrics_->client_disconnects.Increment();
    metrics_->requests.With({request.endpoint, model_, event.code}).Increment();
    if (!request.tenant_class.empty()) {
      metrics_->class_requests.With({request.tenant_class, event.code}).Increment();
    }
    metrics_->request_duration_seconds.With({request.endpoint, model_})
        .Observe(Seconds(request.received, event.at));
  }

 private:
  // Of the request's first token alone: its other choices do not count.
  void CountObjective(const RequestInfo& request, TimePoint at) {
    if (request.first_token_objective.count() == 0 || std::exchange(counted_objective_, true)) {
      return;
    }
    const bool met = at - request.received <= request.first_token_objective;
    // Both series are there from the first on, for ratios.
    metrics_->class_first_tokens.With({request.tenant_class, "met"}).Increment(met ? 1 : 0);
    metrics_->class_first_tokens.With({request.tenant_class, "missed"}).Increment(met ? 0 : 1);
  }

  metrics::RouterMetrics* const metrics_;
  ModelLabels* const labels_;
  // What every token touches stands together.
  metrics::Counter output_tokens_;
  metrics::Counter class_output_tokens_;
  metrics::Histogram inter_token_latency_;
  bool accepted_ = false;
  bool counted_objective_ = false;
  // Empty until the request is accepted: anybody can make up names of models that do not exist, and
  // they stay out of the labels.
  std::string model_;
  uint64_t uncounted_prompt_tokens_ = 0;
  int num_queued_ = 0;  // choices that wait for a worker
  metrics::Gauge queued_;
  metrics::Counter prompt_tokens_;
  metrics::Histogram time_to_first_token_;
  metrics::Histogram queue_time_;
  metrics::Histogram class_time_to_first_token_;
};

}  // namespace

std::unique_ptr<RequestObserver> MetricsWatcher::OnReceived(const RequestInfo&) {
  return std::make_unique<MetricsObserver>(metrics_, &labels_);
}

}  // namespace pingti::router
