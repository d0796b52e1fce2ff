// See request_life.h.
#include "router/observer/request_life.h"

#include <utility>

#include "common/base/strings.h"
#include "router/api/api_error.h"

namespace pingti::router {
namespace {

constexpr size_t kMaxModelBytes = 128;

std::string CodeOf(Transport transport, const absl::Status& status) {
  if (transport == Transport::kGrpc) return absl::StatusCodeToString(status.code());
  return Concat(status.ok() ? 200 : ToHttpError(status).status);
}

}  // namespace

RequestLife::RequestLife(RequestInfo info, std::span<RequestWatcher* const> watchers,
                         const Clock* clock)
    : info_(std::move(info)), clock_(clock) {
  info_.received = clock_->Now();
  for (RequestWatcher* const watcher : watchers) {
    observers_.push_back(watcher->OnReceived(info_));
    if (observers_.back()->hears_tokens()) token_observers_.push_back(observers_.back().get());
  }
}

RequestLife::~RequestLife() { End(absl::CancelledError("the client is gone")); }

void RequestLife::SetModel(std::string_view model) { info_.model = Shorten(model, kMaxModelBytes); }

void RequestLife::Accepted(std::string_view model, std::string_view model_id) {
  const RequestAccepted event{clock_->Now(), model, model_id};
  for (const auto& observer : observers_) observer->OnAccepted(info_, event);
}

void RequestLife::Tokenized(uint64_t prompt_tokens) {
  const RequestTokenized event{clock_->Now(), prompt_tokens};
  for (const auto& observer : observers_) observer->OnTokenized(info_, event);
}

void RequestLife::Queued(const SequenceQueued& event) {
  for (const auto& observer : observers_) observer->OnQueued(info_, event);
}

void RequestLife::Placed(const SequencePlaced& event) {
  for (const auto& observer : observers_) observer->OnPlaced(info_, event);
}

void RequestLife::Tokens(const TokensArrived& event) {
  for (RequestObserver* const observer : token_observers_) observer->OnTokens(info_, event);
}

void RequestLife::Resumed(const SequenceResumed& event) {
  for (const auto& observer : observers_) observer->OnResumed(info_, event);
}

void RequestLife::End(const absl::Status& status, const UsageCounts& usage) {
  if (std::exchange(ended_, true)) return;
  const RequestEnded event{clock_->Now(), status, CodeOf(info_.transport, status), usage};
  for (const auto& observer : observers_) observer->OnEnded(info_, event);
}

}  // namespace pingti::router
