// See access_log.h.
#include "router/observer/access_log.h"

#include <string>

#include "common/base/log.h"

namespace pingti::router {
namespace {

class AccessLogObserver final : public RequestObserver {
 public:
  explicit AccessLogObserver(RateLimit* unauthenticated) : unauthenticated_(unauthenticated) {}

  void OnPlaced(const RequestInfo&, const SequencePlaced& event) override {
    worker_ = event.worker;
  }
  void OnResumed(const RequestInfo& request, const SequenceResumed& event) override {
    LogInfo(event.from_prompt ? "beam search begins again elsewhere" : "sequence resumed elsewhere",
            {{"request_id", request.id},
             {"choice", event.choice},
             {"tokens_so_far", event.tokens_so_far},
             {"reason", event.why.ToString()}});
  }
  void OnEnded(const RequestInfo& request, const RequestEnded& event) override {
    if (absl::IsUnauthenticated(event.status)) {
      if (!unauthenticated_->Take(event.at)) return;
      LogWarning("request without a valid key",
                 {{"request_id", request.id},
                  {"endpoint", request.endpoint},
                  {"code", event.code},
                  {"not_logged_before", unauthenticated_->TakeSkipped()}});
      return;
    }
    const double seconds = std::chrono::duration<double>(event.at - request.received).count();
    LogInfo("request finished", {{"request_id", request.id},
                                 {"endpoint", request.endpoint},
                                 {"model", request.model},
                                 {"key", request.tenant},
                                 {"code", event.code},
                                 {"prompt_tokens", event.usage.prompt_tokens},
                                 {"completion_tokens", event.usage.completion_tokens},
                                 {"seconds", seconds},
                                 {"worker", worker_},
                                 {"answer_id", request.answer_id},
                                 {"traceparent", request.trace_parent}});
  }

 private:
  RateLimit* const unauthenticated_;
  std::string worker_;  // the last that a sequence was placed at
};

}  // namespace

bool RateLimit::Take(TimePoint now) {
  const int64_t second =
      std::chrono::duration_cast<std::chrono::seconds>(now.time_since_epoch()).count();
  if (second_.exchange(second, std::memory_order_relaxed) != second) {
    taken_.store(0, std::memory_order_relaxed);
  }
  if (taken_.fetch_add(1, std::memory_order_relaxed) < per_second_) return true;
  skipped_.fetch_add(1, std::memory_order_relaxed);
  return false;
}

std::unique_ptr<RequestObserver> AccessLog::OnReceived(const RequestInfo&) {
  return std::make_unique<AccessLogObserver>(&unauthenticated_);
}

}  // namespace pingti::router
