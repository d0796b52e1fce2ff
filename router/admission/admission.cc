// See admission.h.
#include "router/admission/admission.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "router/api/api_error.h"

namespace pingti::router {
namespace {

constexpr double kRateWindowSeconds = 10;
constexpr int kHoldingTimeWindow = 12;  // requests
constexpr int kMaxRetryAfterSeconds = 60;
// A sequence's answer beside its prompt, when keys are compared.
constexpr uint64_t kAnswerTokens = 256;

absl::Status Full(std::string message, int retry_after) {
  return WithRetryAfter(
      ApiError(absl::StatusCode::kResourceExhausted, std::move(message), "", "rate_limit_exceeded"),
      retry_after);
}

int WholeSeconds(double seconds) {
  return static_cast<int>(
      std::clamp(std::ceil(seconds), 1.0, static_cast<double>(kMaxRetryAfterSeconds)));
}

uint64_t WorkOf(size_t sequences, uint64_t tokens) { return tokens + kAnswerTokens * sequences; }

// That count as used of a key's tokens until its answer is known.
uint64_t ChargedTokens(const AdmissionRequest& request) {
  return request.tokens + request.answer_tokens;
}

// Who takes turns with others, as GenerationRequest::line.
const std::string& LineOf(const AdmissionRequest& request) {
  return request.tenant.empty() ? request.network : request.tenant;
}

}  // namespace

AdmissionController::Rank AdmissionController::RankOf(const Ticket& ticket) {
  return {ticket.request_.priority, ~ticket.arrival_};
}

absl::Status AdmissionController::CheckEverFits(const AdmissionRequest& request) const {
  const auto too_many = [&](size_t limit) {
    return ApiError(absl::StatusCode::kInvalidArgument,
                    Concat("the request asks for ", request.sequences,
                           " sequences (prompts times n), expected at most ", limit),
                    "n", "invalid_value");
  };
  if (request.sequences > options_.max_queued_sequences) {
    return too_many(options_.max_queued_sequences);
  }
  if (options_.max_concurrent_sequences > 0 &&
      request.sequences > options_.max_concurrent_sequences) {
    return too_many(options_.max_concurrent_sequences);
  }
  if (request.tenant.empty()) return absl::OkStatus();
  const size_t most = MaxConcurrentOf(request.tenant);
  if (most > 0 && request.sequences > most) return too_many(most);
  const int32_t ceiling = MaxPriorityOf(request.tenant);
  if (request.priority <= ceiling) return absl::OkStatus();
  return FieldError("priority", Concat("'priority' is ", request.priority, ", expected at most ",
                                       ceiling, " with this API key"));
}

int32_t AdmissionController::MaxPriorityOf(const std::string& tenant) const {
  const auto own = limits_.find(tenant);
  return own == limits_.end() ? options_.max_priority
                              : own->second.max_priority.value_or(options_.max_priority);
}

size_t AdmissionController::MaxConcurrentOf(const std::string& tenant) const {
  const auto own = limits_.find(tenant);
  return ShareOf(own == limits_.end()
                     ? options_.max_concurrent_per_key
                     : own->second.max_concurrent.value_or(options_.max_concurrent_per_key));
}

std::chrono::milliseconds AdmissionController::ObjectiveOf(const std::string& tenant) const {
  const auto own = limits_.find(tenant);
  const auto objective = options_.first_token_objectives.find(
      own == limits_.end() ? Tenant{}.tenant_class : own->second.tenant_class);
  return objective == options_.first_token_objectives.end() ? std::chrono::milliseconds(0)
                                                            : objective->second;
}

uint64_t AdmissionController::ShareOf(uint64_t limit) const {
  return (limit + options_.limits_divided_by - 1) / options_.limits_divided_by;
}

void AdmissionController::ApplyRates() {
  std::map<std::string, Tenant> shares = limits_;
  for (auto& [name, tenant] : shares) {
    tenant.requests_per_minute = ShareOf(tenant.requests_per_minute);
    tenant.tokens_per_minute = ShareOf(tenant.tokens_per_minute);
  }
  rates_.SetTenants(shares, clock_->Now());
}

void AdmissionController::SetOptions(const AdmissionOptions& options) {
  MutexLock lock(&mutex_);
  options_ = options;
  ApplyRates();
}

void AdmissionController::SetTenants(std::map<std::string, Tenant> tenants) {
  MutexLock lock(&mutex_);
  std::erase_if(holding_of_key_, [&](const auto& key) { return !tenants.contains(key.first); });
  limits_ = std::move(tenants);
  ApplyRates();
}

Quota AdmissionController::QuotaOf(const std::string& tenant) const {
  MutexLock lock(&mutex_);
  return rates_.QuotaOf(tenant, clock_->Now());
}

absl::Status AdmissionController::CheckConcurrency(const AdmissionRequest& request) {
  if (options_.max_concurrent_sequences > 0 &&
      concurrent_sequences_ + request.sequences > options_.max_concurrent_sequences) {
    return Full(Concat("too many sequences at once: ", concurrent_sequences_,
                       " are under way, this request has ", request.sequences, ", limit ",
                       options_.max_concurrent_sequences),
                RetryAfterSeconds(
                    concurrent_sequences_ + request.sequences - options_.max_concurrent_sequences,
                    concurrent_sequences_, holding_));
  }
  const size_t most = request.tenant.empty() ? 0 : MaxConcurrentOf(request.tenant);
  if (most == 0) return absl::OkStatus();
  const auto tenant = accounts_.find(request.tenant);
  const size_t used = tenant == accounts_.end() ? 0 : tenant->second.concurrent_sequences;
  if (used + request.sequences <= most) return absl::OkStatus();
  const auto own = holding_of_key_.find(request.tenant);
  return Full(Concat("too many sequences at once with this API key: ", used,
                     " are under way, this request has ", request.sequences, ", limit ", most),
              RetryAfterSeconds(used + request.sequences - most, used,
                                own == holding_of_key_.end() ? holding_ : own->second));
}

absl::Status AdmissionController::CheckQueue(const AdmissionRequest& request) {
  // A prompt larger than the whole budget may still run when it is alone.
  if (queued_sequences_ == 0) return absl::OkStatus();
  if (queued_sequences_ + request.sequences > options_.max_queued_sequences) {
    return Full(
        Concat("the queue is full: ", queued_sequences_, " sequences wait, this request has ",
               request.sequences, ", limit ", options_.max_queued_sequences),
        RetryAfterSeconds());
  }
  if (queued_tokens_ + request.tokens > options_.max_queued_tokens) {
    return Full(
        Concat("the queue is full: ", queued_tokens_, " prompt tokens wait, this request has ",
               request.tokens, ", limit ", options_.max_queued_tokens),
        RetryAfterSeconds());
  }
  return absl::OkStatus();
}

double AdmissionController::PredictedWaitSeconds(const AdmissionRequest& request) {
  if (start_rate_ <= 0 || queued_sequences_ == 0) return 0;
  double all_work = 0;
  double own_work = static_cast<double>(WorkOf(request.sequences, request.tokens));
  size_t sequences = 0;
  size_t other_lines = 0;
  for (const auto& [line, account] : accounts_) {
    double work = 0;
    for (const auto& [rank, ticket] : account.waiting) {
      if (rank.first < request.priority) continue;
      work += static_cast<double>(WorkOf(ticket->waiting_sequences_, ticket->waiting_tokens_));
      sequences += ticket->waiting_sequences_;
    }
    all_work += work;
    if (line == LineOf(request)) {
      own_work += work;
    } else if (work > 0) {
      ++other_lines;
    }
  }
  if (all_work <= 0) return 0;
  const double ahead = std::min(all_work, own_work * static_cast<double>(other_lines + 1));
  return ahead / all_work * static_cast<double>(sequences) / start_rate_;
}

absl::Status AdmissionController::CheckPredictedWait(const AdmissionRequest& request) {
  std::chrono::milliseconds most = options_.max_predicted_wait;
  const std::chrono::milliseconds objective = ObjectiveOf(request.tenant);
  if (objective.count() > 0) most = most.count() > 0 ? std::min(most, objective) : objective;
  const double limit = std::chrono::duration<double>(most).count();
  if (limit <= 0) return absl::OkStatus();
  const double wait = PredictedWaitSeconds(request);
  if (wait <= limit) return absl::OkStatus();
  return Full(Concat("the request would wait about ", WholeSeconds(wait),
                     " s for its turn, expected at most ", limit),
              WholeSeconds(wait - limit));
}

AdmissionController::Ticket* AdmissionController::FindVictim(const AdmissionRequest& request) {
  // The lowest priority that waits; of the keys that have such requests, the one with most work.
  Accounts::iterator from = accounts_.end();
  const auto lowest = [](const Accounts::iterator& it) {
    return it->second.waiting.begin()->first.first;
  };
  for (auto it = accounts_.begin(); it != accounts_.end(); ++it) {
    if (it->second.waiting.empty()) continue;
    if (from == accounts_.end() || lowest(it) < lowest(from) ||
        (lowest(it) == lowest(from) && it->second.queued_work > from->second.queued_work)) {
      from = it;
    }
  }
  if (from == accounts_.end() || lowest(from) > request.priority) return nullptr;
  Ticket* victim = from->second.waiting.begin()->second;
  if (lowest(from) < request.priority) return victim;
  if (from->first == LineOf(request)) return nullptr;
  const auto own = accounts_.find(LineOf(request));
  const uint64_t own_work = (own == accounts_.end() ? 0 : own->second.queued_work) +
                            WorkOf(request.sequences, request.tokens);
  const uint64_t left =
      from->second.queued_work - WorkOf(victim->waiting_sequences_, victim->waiting_tokens_);
  return left >= own_work ? victim : nullptr;
}

void AdmissionController::EnterQueue(Ticket* ticket) {
  queued_sequences_ += ticket->waiting_sequences_;
  queued_tokens_ += ticket->waiting_tokens_;
  Account& tenant = accounts_[LineOf(ticket->request_)];
  tenant.queued_work += WorkOf(ticket->waiting_sequences_, ticket->waiting_tokens_);
  tenant.waiting.emplace(RankOf(*ticket), ticket);
}

void AdmissionController::LeaveQueue(Ticket* ticket) {
  queued_sequences_ -= ticket->waiting_sequences_;
  queued_tokens_ -= ticket->waiting_tokens_;
  Account& tenant = accounts_[LineOf(ticket->request_)];
  tenant.queued_work -= WorkOf(ticket->waiting_sequences_, ticket->waiting_tokens_);
  tenant.waiting.erase(RankOf(*ticket));
}

absl::StatusOr<std::unique_ptr<AdmissionController::Ticket>> AdmissionController::Admit(
    AdmissionRequest request, OnDisplaced on_displaced) {
  std::unique_ptr<Ticket> ticket(new Ticket(this, std::move(request), std::move(on_displaced)));
  std::vector<OnDisplaced> displaced;
  absl::Status why;
  {
    MutexLock lock(&mutex_);
    PINGTI_RETURN_IF_ERROR(CheckEverFits(ticket->request_));
    absl::Status refused = CheckConcurrency(ticket->request_);
    if (refused.ok()) {
      refused =
          rates_.Check(ticket->request_.tenant, ChargedTokens(ticket->request_), clock_->Now());
    }
    if (refused.ok()) refused = CheckPredictedWait(ticket->request_);
    std::vector<Ticket*> victims;
    while (refused.ok()) {
      refused = CheckQueue(ticket->request_);
      if (refused.ok()) break;
      Ticket* victim = FindVictim(ticket->request_);
      if (victim == nullptr) break;
      refused = absl::OkStatus();
      LeaveQueue(victim);
      victims.push_back(victim);
    }
    if (!refused.ok()) {
      for (Ticket* victim : victims) EnterQueue(victim);
      return refused;
    }
    why = Full(
        "the queue is full, and a request came that goes before this one: of a higher priority, or "
        "of an API key that has less waiting",
        RetryAfterSeconds());
    for (Ticket* victim : victims) {
      victim->waiting_sequences_ = 0;
      victim->waiting_tokens_ = 0;
      victim->displaced_ = true;
      displaced.push_back(victim->on_displaced_);
    }
    ticket->arrival_ = arrivals_++;
    ticket->admitted_at_ = clock_->Now();
    ticket->first_token_objective_ = ObjectiveOf(ticket->request_.tenant);
    ticket->waiting_sequences_ = ticket->request_.sequences;
    ticket->waiting_tokens_ = ticket->request_.tokens;
    concurrent_sequences_ += ticket->request_.sequences;
    accounts_[LineOf(ticket->request_)].concurrent_sequences += ticket->request_.sequences;
    EnterQueue(ticket.get());
    rates_.Charge(ticket->request_.tenant, 1, static_cast<double>(ChargedTokens(ticket->request_)),
                  ticket->admitted_at_);
  }
  for (const OnDisplaced& tell : displaced) tell(why);
  return ticket;
}

void AdmissionController::CountStart() {
  const auto now = clock_->Now();
  const double gap = std::chrono::duration<double>(now - last_start_).count();
  const double weight = 1 - std::exp(-std::min(gap, 1e3) / kRateWindowSeconds);
  start_rate_ += weight * (1 / std::max(gap, 1e-6) - start_rate_);
  last_start_ = now;
}

void AdmissionController::HoldingTime::Add(double seconds) {
  if (count < kHoldingTimeWindow) ++count;
  mean_s += (seconds - mean_s) / count;
}

void AdmissionController::CountEnd(const Ticket& ticket) {
  const double seconds = std::chrono::duration<double>(clock_->Now() - ticket.admitted_at_).count();
  holding_.Add(seconds);
  if (!ticket.request_.tenant.empty()) holding_of_key_[ticket.request_.tenant].Add(seconds);
}

void AdmissionController::SettleRates(const Ticket& ticket) {
  const AdmissionRequest& request = ticket.request_;
  const bool refused = ticket.displaced_ && !ticket.started_;
  const double used = refused ? 0 : static_cast<double>(request.tokens + ticket.output_tokens_);
  rates_.Charge(request.tenant, refused ? -1 : 0,
                used - static_cast<double>(ChargedTokens(request)), clock_->Now());
}

int AdmissionController::RetryAfterSeconds() {
  if (start_rate_ <= 0) return 1;
  return WholeSeconds(static_cast<double>(queued_sequences_) / start_rate_);
}

int AdmissionController::RetryAfterSeconds(size_t needed, size_t used,
                                           const HoldingTime& holding) const {
  return WholeSeconds(static_cast<double>(needed) * holding.mean_s / static_cast<double>(used));
}

void AdmissionController::Ticket::OnSequenceStarted() {
  MutexLock lock(&controller_->mutex_);
  controller_->CountStart();
  started_ = true;
  if (waiting_sequences_ == 0) return;  // displaced, but the token was faster
  controller_->LeaveQueue(this);
  waiting_tokens_ -= waiting_tokens_ / waiting_sequences_;
  --waiting_sequences_;
  // The others go on waiting, but cannot be displaced without the one that runs.
  controller_->queued_sequences_ += waiting_sequences_;
  controller_->queued_tokens_ += waiting_tokens_;
  controller_->accounts_[LineOf(request_)].queued_work +=
      WorkOf(waiting_sequences_, waiting_tokens_);
}

bool AdmissionController::Ticket::displaced() const {
  MutexLock lock(&controller_->mutex_);
  return displaced_ && !started_;
}

AdmissionController::Ticket::~Ticket() {
  MutexLock lock(&controller_->mutex_);
  const auto tenant = controller_->accounts_.find(LineOf(request_));
  if (tenant == controller_->accounts_.end() || arrival_ == 0) return;  // never admitted
  controller_->LeaveQueue(this);
  controller_->CountEnd(*this);
  controller_->SettleRates(*this);
  controller_->concurrent_sequences_ -= request_.sequences;
  tenant->second.concurrent_sequences -= request_.sequences;
  if (tenant->second.concurrent_sequences == 0) controller_->accounts_.erase(tenant);
}

size_t AdmissionController::queued_sequences() const {
  MutexLock lock(&mutex_);
  return queued_sequences_;
}

uint64_t AdmissionController::queued_tokens() const {
  MutexLock lock(&mutex_);
  return queued_tokens_;
}

size_t AdmissionController::concurrent_sequences() const {
  MutexLock lock(&mutex_);
  return concurrent_sequences_;
}

}  // namespace pingti::router
