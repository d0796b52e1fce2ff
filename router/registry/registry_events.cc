// What links report to the WorkerRegistry. See worker_registry.h.
#include <algorithm>
#include <iterator>
#include <utility>

#include "common/base/log.h"
#include "common/base/stable_hash.h"
#include "common/base/strings.h"
#include "router/registry/worker_registry.h"

namespace pingti::router {
namespace {

// A worker's word on the size of its cache is believed up to here.
constexpr uint64_t kMaxIndexedBlocks = 1u << 20;

}  // namespace

// An event that does something outside of the lock: CloseAll waits for its end.
class WorkerRegistry::EventScope {
 public:
  explicit EventScope(WorkerRegistry* registry) : registry_(registry) {
    MutexLock lock(&registry_->mutex_);
    ++registry_->num_events_;
  }
  ~EventScope() {
    MutexLock lock(&registry_->mutex_);
    if (--registry_->num_events_ == 0) registry_->no_events_.NotifyAll();
  }
  EventScope(const EventScope&) = delete;
  EventScope& operator=(const EventScope&) = delete;

 private:
  WorkerRegistry* const registry_;
};

void WorkerRegistry::OnConnecting(LinkId link) {
  MutexLock lock(&mutex_);
  const auto worker = workers_.find(link);
  if (worker != workers_.end()) worker->second.state = WorkerState::kConnecting;
}

void WorkerRegistry::OnReady(LinkId link, const WorkerInfo& info) {
  const EventScope scope(this);
  auto prefixes = std::make_shared<WorkerPrefixes>(
      &prefix_index_, std::min(info.kv_total_blocks, kMaxIndexedBlocks));
  auto expected = std::make_shared<ExpectedPrefixes>(&expected_index_);
  {
    MutexLock lock(&mutex_);
    const auto found = workers_.find(link);
    if (found == workers_.end() || found->second.dropped) return;
    Worker& worker = found->second;
    worker.state = WorkerState::kReady;
    worker.key = next_key_++;
    keys_[worker.key] = link;
    worker.info = info;
    worker.load = {.other_zone = worker.load.other_zone};
    worker.load.worker = worker.key;
    worker.load.address_hash = StableHash(worker.address);
    worker.load.max_batch_size = info.max_batch_size;
    worker.reported_sequence_id = 0;
    worker.dispatched = metrics_->worker_dispatch.With({worker.address});
    std::swap(worker.prefixes, prefixes);
    std::swap(worker.expected, expected);
    worker.breaker = Breaker(breaker_options_);
    LogInfo("worker ready", {{"worker", worker.address},
                             {"worker_id", info.worker_id},
                             {"model", info.model->id},
                             {"fingerprint", info.model->fingerprint}});
  }
  on_capacity_();
}

void WorkerRegistry::RecordFinish(Worker* worker, const Finish& finish) {
  switch (finish.reason) {
    case Finish::Reason::kStopToken:
    case Finish::Reason::kStopText:
    case Finish::Reason::kMaxTokens:
    case Finish::Reason::kContextFull:
      worker->breaker.OnSuccess();
      break;
    case Finish::Reason::kError:
      // What a client's request causes by itself says nothing of the worker.
      if (finish.code == static_cast<uint32_t>(absl::StatusCode::kInvalidArgument)) {
        worker->breaker.OnNeutral();
      } else {
        worker->breaker.OnFailure(clock_->Now());
      }
      break;
    default:  // refused, cancelled, late or handed back: no verdict on the worker
      worker->breaker.OnNeutral();
      break;
  }
}

std::span<const uint64_t> WorkerRegistry::CachedBlocks(const Worker& worker, const Booking& booking,
                                                       const SequenceOutput& first_output) {
  const uint32_t block_tokens = std::max(worker.info.model->kv_block_tokens, 1u);
  const size_t num_cached = first_output.cached_prompt_tokens / block_tokens;
  return booking.block_hashes.first(std::min(num_cached, booking.block_hashes.size()));
}

bool WorkerRegistry::TakeOutput(const Worker& worker, Booking* booking, SequenceOutput* output) {
  const absl::Status status = CheckOutput(*output, booking->limits);
  if (status.ok()) {
    booking->limits.Count(*output);
    return true;
  }
  LogWarning("a worker sent what cannot be",
             {{"worker", worker.address}, {"error", std::string(status.message())}});
  const bool ended = output->finish.has_value() && booking->limits.num_answers() == 1;
  const uint64_t id = output->sequence_id;
  *output = SequenceOutput{};
  output->sequence_id = id;
  output->finish =
      Finish{Finish::Reason::kError, static_cast<uint32_t>(absl::StatusCode::kAborted),
             Concat("worker ", worker.address, " sent ", std::string(status.message()))};
  return ended;
}

bool WorkerRegistry::IsLast(const Booking& booking, const SequenceOutput& output) {
  if (!output.finish.has_value()) return false;
  switch (output.finish->reason) {
    case Finish::Reason::kStopToken:
    case Finish::Reason::kStopText:
    case Finish::Reason::kMaxTokens:
    case Finish::Reason::kContextFull:
      return booking.limits.all_ended();
    default:  // what ends one answer so ends all of them
      return true;
  }
}

std::shared_ptr<WorkerPrefixes> WorkerRegistry::FindPrefixes(LinkId link) {
  MutexLock lock(&mutex_);
  const auto found = workers_.find(link);
  return found == workers_.end() ? nullptr : found->second.prefixes;
}

void WorkerRegistry::OnStepOutput(LinkId link, StepOutput step) {
  const EventScope scope(this);
  std::vector<std::shared_ptr<SequenceHandler>> handlers;
  handlers.reserve(step.outputs.size());
  std::vector<uint64_t> unknown;
  std::shared_ptr<WorkerChannel> channel;
  std::vector<std::span<const uint64_t>> learned;  // kept by `handlers`, as `ended`
  std::vector<std::span<const uint64_t>> ended;
  std::shared_ptr<WorkerPrefixes> prefixes;
  std::shared_ptr<ExpectedPrefixes> expected;
  bool capacity = false;
  {
    MutexLock lock(&mutex_);
    const auto found = workers_.find(link);
    if (found == workers_.end()) return;
    Worker& worker = found->second;
    prefixes = worker.prefixes;
    expected = worker.expected;
    // A step has its sequences mostly in the order of sending: the next one is looked at first.
    Bookings::iterator next = worker.bookings.begin();
    for (SequenceOutput& output : step.outputs) {
      const bool is_next = next != worker.bookings.end() && next->first == output.sequence_id;
      const auto booking = is_next ? next : worker.bookings.find(output.sequence_id);
      if (booking == worker.bookings.end()) {
        if (!output.finish.has_value()) unknown.push_back(output.sequence_id);
        handlers.push_back(nullptr);
        continue;
      }
      next = std::next(booking);
      if (!TakeOutput(worker, &booking->second, &output)) unknown.push_back(output.sequence_id);
      capacity |= !booking->second.started || output.finish.has_value();
      handlers.push_back(booking->second.handler);
      if (!booking->second.started) {
        const auto blocks = CachedBlocks(worker, booking->second, output);
        if (!blocks.empty()) learned.push_back(blocks);
      }
      Start(&worker, booking->first, &booking->second);
      if (IsLast(booking->second, output)) {
        ended.push_back(booking->second.block_hashes);
        RecordFinish(&worker, *output.finish);
        Release(&worker, booking);
      }
    }
    if (!unknown.empty()) channel = worker.channel;
  }
  for (const auto blocks : learned) {
    if (prefixes != nullptr) prefixes->Add(blocks);
  }
  for (const auto blocks : ended) {
    if (expected != nullptr) expected->Remove(blocks);
  }
  for (size_t i = 0; i < handlers.size(); ++i) {
    if (handlers[i] != nullptr) handlers[i]->OnOutput(std::move(step.outputs[i]));
  }
  // Cancelled while this was under way, sent just as its session was replaced, or ended here for
  // what the worker said.
  for (const uint64_t id : unknown) {
    if (channel != nullptr) channel->Cancel(id);
  }
  if (capacity) on_capacity_();
}

void WorkerRegistry::OnLoadReport(LinkId link, const LoadReport& report) {
  MutexLock lock(&mutex_);
  const auto found = workers_.find(link);
  if (found == workers_.end()) return;
  Worker& worker = found->second;
  WorkerLoad& load = worker.load;
  load.running_sequences = report.running_sequences;
  load.waiting_sequences = report.waiting_sequences;
  load.waiting_uncached_tokens = report.waiting_uncached_tokens;
  load.kv_used_fraction = report.kv_total_blocks == 0
                              ? 0
                              : std::min(1.0, static_cast<double>(report.kv_leased_blocks) /
                                                  static_cast<double>(report.kv_total_blocks));
  load.prefill_tokens_per_s = report.prefill_tokens_per_s;
  load.step_ms = report.step_ms;
  worker.reported_sequence_id = report.includes_sequence_id;
  load.sent_sequences = 0;
  load.sent_tokens = 0;
  for (auto it = worker.bookings.upper_bound(worker.reported_sequence_id);
       it != worker.bookings.end(); ++it) {
    load.sent_sequences += it->second.sequences;
    if (!it->second.started) load.sent_tokens += it->second.uncached_tokens;
  }
}

void WorkerRegistry::OnKvEvents(LinkId link, const KvEvents& events) {
  const std::shared_ptr<WorkerPrefixes> prefixes = FindPrefixes(link);
  if (prefixes != nullptr) prefixes->Apply(events);
}

void WorkerRegistry::OnSubmitCredit(LinkId link, const SubmitCredit& credit) {
  const EventScope scope(this);
  {
    MutexLock lock(&mutex_);
    const auto found = workers_.find(link);
    if (found == workers_.end()) return;
    found->second.info.credit_sequences = credit.max_waiting_sequences;
    found->second.info.credit_tokens = credit.max_waiting_tokens;
  }
  on_capacity_();
}

void WorkerRegistry::OnAdapters(LinkId link,
                                std::vector<std::shared_ptr<const ServedModel>> adapters) {
  const EventScope scope(this);
  {
    MutexLock lock(&mutex_);
    const auto found = workers_.find(link);
    if (found == workers_.end()) return;
    found->second.info.adapters = std::move(adapters);
    LogInfo("adapters of a worker changed",
            {{"worker", found->second.address}, {"adapters", found->second.info.adapters.size()}});
  }
  on_capacity_();
}

void WorkerRegistry::OnDraining(LinkId link) {
  MutexLock lock(&mutex_);
  const auto found = workers_.find(link);
  if (found == workers_.end() || found->second.state != WorkerState::kReady) return;
  found->second.state = WorkerState::kDraining;
  LogInfo("worker draining", {{"worker", found->second.address}});
}

void WorkerRegistry::OnLost(LinkId link, const absl::Status& why) {
  const EventScope scope(this);
  Bookings lost;
  // Leave their indexes after the lock.
  std::shared_ptr<WorkerPrefixes> prefixes;
  std::shared_ptr<ExpectedPrefixes> expected;
  {
    MutexLock lock(&mutex_);
    const auto found = workers_.find(link);
    if (found == workers_.end()) return;
    Worker& worker = found->second;
    keys_.erase(worker.key);
    worker.key = 0;
    worker.state = WorkerState::kDead;
    worker.waiting_sequences = 0;
    worker.waiting_tokens = 0;
    prefixes = std::exchange(worker.prefixes, nullptr);
    expected = std::exchange(worker.expected, nullptr);
    lost = std::exchange(worker.bookings, {});
  }
  for (auto& [id, booking] : lost) booking.handler->OnLost(why);
  if (!lost.empty()) on_capacity_();
}

}  // namespace pingti::router
