// Tells the observers of one request what happens to it. Who moves the request on holds this and
// calls the function of that name, once per event.
#pragma once

#include <chrono>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "common/base/clock.h"
#include "router/observer/request_observer.h"

namespace pingti::router {

// Thread-compatible: first the transport's, then its Generation's. Shared between those two.
class RequestLife {
 public:
  // The request has arrived. `clock` must outlive this.
  RequestLife(RequestInfo info, std::span<RequestWatcher* const> watchers, const Clock* clock);
  // A request that nobody ended is one whose client left before it began.
  ~RequestLife();
  RequestLife(const RequestLife&) = delete;
  RequestLife& operator=(const RequestLife&) = delete;

  const RequestInfo& info() const { return info_; }
  // What the transport learns one after the other.
  void SetTenant(std::string_view tenant, std::string_view tenant_class) {
    info_.tenant = tenant;
    info_.tenant_class = tenant_class;
  }
  void SetModel(std::string_view model);
  void SetFirstTokenObjective(std::chrono::milliseconds objective) {
    info_.first_token_objective = objective;
  }
  // `id` may be the answer's own, where the client sent none.
  void SetAnswerId(std::string_view id, std::string_view answer_id) {
    info_.id = id;
    info_.answer_id = answer_id;
  }

  void Accepted(std::string_view model, std::string_view model_id);
  void Tokenized(uint64_t prompt_tokens);
  void Queued(const SequenceQueued& event);
  void Placed(const SequencePlaced& event);
  void Tokens(const TokensArrived& event);
  void Resumed(const SequenceResumed& event);
  // Before the client can know of it. Only the first call counts.
  void End(const absl::Status& status, const UsageCounts& usage = {});

 private:
  RequestInfo info_;
  const Clock* const clock_;
  std::vector<std::unique_ptr<RequestObserver>> observers_;
  absl::InlinedVector<RequestObserver*, 2> token_observers_;  // of them
  bool ended_ = false;
};

}  // namespace pingti::router
