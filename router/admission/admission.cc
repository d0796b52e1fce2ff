// See admission.h.
#include "router/admission/admission.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "common/base/strings.h"
#include "router/api/api_error.h"

namespace pingti::router {
namespace {

constexpr double kRateWindowSeconds = 10;
constexpr int kMaxRetryAfterSeconds = 60;

absl::Status Full(std::string message, int retry_after) {
  return WithRetryAfter(
      ApiError(absl::StatusCode::kResourceExhausted, std::move(message), "", "rate_limit_exceeded"),
      retry_after);
}

}  // namespace

absl::StatusOr<std::unique_ptr<AdmissionController::Ticket>> AdmissionController::Admit(
    const std::string& tenant, uint64_t tokens) {
  MutexLock lock(&mutex_);
  if (queued_requests_ >= options_.max_queued_requests) {
    return Full(Concat("the queue is full: ", queued_requests_, " requests wait, limit ",
                       options_.max_queued_requests),
                RetryAfterSeconds());
  }
  // A prompt larger than the whole budget may still run when it is alone.
  if (queued_requests_ > 0 && queued_tokens_ + tokens > options_.max_queued_tokens) {
    return Full(
        Concat("the queue is full: ", queued_tokens_, " prompt tokens wait, this request has ",
               tokens, ", limit ", options_.max_queued_tokens),
        RetryAfterSeconds());
  }
  if (options_.max_concurrent_requests > 0 &&
      concurrent_requests_ >= options_.max_concurrent_requests) {
    return Full(Concat("too many requests at once: limit ", options_.max_concurrent_requests), 1);
  }
  if (options_.max_concurrent_per_key > 0 && !tenant.empty()) {
    const auto used = per_key_.find(tenant);
    if (used != per_key_.end() && used->second >= options_.max_concurrent_per_key) {
      return Full(Concat("too many requests at once with this API key: limit ",
                         options_.max_concurrent_per_key),
                  1);
    }
  }
  ++queued_requests_;
  ++concurrent_requests_;
  queued_tokens_ += tokens;
  if (!tenant.empty()) ++per_key_[tenant];
  return std::unique_ptr<Ticket>(new Ticket(this, tenant, tokens));
}

void AdmissionController::Start(uint64_t tokens) {
  --queued_requests_;
  queued_tokens_ -= tokens;
  const auto now = clock_->Now();
  const double gap = std::chrono::duration<double>(now - last_start_).count();
  const double weight = 1 - std::exp(-std::min(gap, 1e3) / kRateWindowSeconds);
  start_rate_ += weight * (1 / std::max(gap, 1e-6) - start_rate_);
  last_start_ = now;
}

int AdmissionController::RetryAfterSeconds() {
  if (start_rate_ <= 0) return 1;
  const double seconds = std::ceil(static_cast<double>(queued_requests_) / start_rate_);
  return static_cast<int>(std::clamp(seconds, 1.0, static_cast<double>(kMaxRetryAfterSeconds)));
}

void AdmissionController::Ticket::MarkStarted() {
  if (std::exchange(started_, true)) return;
  MutexLock lock(&controller_->mutex_);
  controller_->Start(tokens_);
}

AdmissionController::Ticket::~Ticket() {
  MutexLock lock(&controller_->mutex_);
  if (!started_) {
    --controller_->queued_requests_;
    controller_->queued_tokens_ -= tokens_;
  }
  --controller_->concurrent_requests_;
  if (tenant_.empty()) return;
  const auto used = controller_->per_key_.find(tenant_);
  if (--used->second == 0) controller_->per_key_.erase(used);
}

size_t AdmissionController::queued_requests() const {
  MutexLock lock(&mutex_);
  return queued_requests_;
}

uint64_t AdmissionController::queued_tokens() const {
  MutexLock lock(&mutex_);
  return queued_tokens_;
}

size_t AdmissionController::concurrent_requests() const {
  MutexLock lock(&mutex_);
  return concurrent_requests_;
}

}  // namespace pingti::router
