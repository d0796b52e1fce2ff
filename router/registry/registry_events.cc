// What links report to the WorkerRegistry. See worker_registry.h.
#include <algorithm>
#include <utility>

#include "common/base/log.h"
#include "proto/pingti/worker/v1/worker.pb.h"
#include "router/registry/worker_registry.h"

namespace pingti::router {
namespace {

// A worker's word on the size of its cache is believed up to here: 20 MB of index.
constexpr uint64_t kMaxIndexedBlocks = 1u << 20;

}  // namespace

void WorkerRegistry::OnConnecting(LinkId link) {
  MutexLock lock(&mutex_);
  const auto worker = workers_.find(link);
  if (worker != workers_.end()) worker->second.state = WorkerState::kConnecting;
}

void WorkerRegistry::OnReady(LinkId link, const WorkerInfo& info) {
  {
    MutexLock lock(&mutex_);
    const auto found = workers_.find(link);
    if (found == workers_.end() || found->second.dropped) return;
    Worker& worker = found->second;
    worker.state = WorkerState::kReady;
    worker.key = next_key_++;
    keys_[worker.key] = link;
    worker.info = info;
    worker.load = {};
    worker.load.worker = worker.key;
    worker.load.max_batch_size = info.max_batch_size;
    worker.reported_sequence_id = 0;
    worker.dispatched = metrics_->worker_dispatch.With({worker.address});
    worker.prefixes = PrefixIndex(std::min(info.kv_total_blocks, kMaxIndexedBlocks));
    worker.breaker = Breaker(breaker_options_);
    LogInfo("worker ready", {{"worker", worker.address},
                             {"worker_id", info.worker_id},
                             {"model", info.model->id},
                             {"fingerprint", info.model->fingerprint}});
  }
  on_capacity_();
}

void WorkerRegistry::RecordFinish(Worker* worker, const worker::v1::SequenceOutput& output) {
  using worker::v1::Finish;
  switch (output.finish().reason()) {
    case Finish::REASON_STOP_TOKEN:
    case Finish::REASON_MAX_TOKENS:
    case Finish::REASON_CONTEXT_FULL:
      worker->breaker.OnSuccess();
      break;
    case Finish::REASON_ERROR:
      worker->breaker.OnFailure(clock_->Now());
      break;
    default:  // refused, cancelled, late or handed back: no verdict on the worker
      worker->breaker.OnNeutral();
      break;
  }
}

void WorkerRegistry::LearnPrefix(Worker* worker, const Booking& booking,
                                 const worker::v1::SequenceOutput& first_output) {
  const uint32_t block_tokens = std::max(worker->info.model->kv_block_tokens, 1u);
  const size_t num_cached = first_output.cached_prompt_tokens() / block_tokens;
  worker->prefixes.Add(
      booking.block_hashes.first(std::min(num_cached, booking.block_hashes.size())));
}

void WorkerRegistry::OnStepOutput(LinkId link, worker::v1::StepOutput* output) {
  std::vector<std::shared_ptr<SequenceHandler>> handlers;
  handlers.reserve(static_cast<size_t>(output->outputs_size()));
  std::vector<uint64_t> unknown;
  std::shared_ptr<WorkerChannel> channel;
  bool capacity = false;
  {
    MutexLock lock(&mutex_);
    const auto found = workers_.find(link);
    if (found == workers_.end()) return;
    Worker& worker = found->second;
    for (const worker::v1::SequenceOutput& item : output->outputs()) {
      const auto booking = worker.bookings.find(item.sequence_id());
      if (booking == worker.bookings.end()) {
        if (!item.has_finish()) unknown.push_back(item.sequence_id());
        handlers.push_back(nullptr);
        continue;
      }
      capacity |= !booking->second.started || item.has_finish();
      handlers.push_back(booking->second.handler);
      if (!booking->second.started) LearnPrefix(&worker, booking->second, item);
      Start(&worker, booking->first, &booking->second);
      if (item.has_finish()) {
        RecordFinish(&worker, item);
        Release(&worker, booking);
      }
    }
    if (!unknown.empty()) channel = worker.channel;
  }
  for (size_t i = 0; i < handlers.size(); ++i) {
    worker::v1::SequenceOutput* item = output->mutable_outputs(static_cast<int>(i));
    if (handlers[i] != nullptr) handlers[i]->OnOutput(item);
  }
  // Cancelled while this was under way, or sent just as its session was replaced.
  for (const uint64_t id : unknown) {
    if (channel != nullptr) channel->Cancel(id);
  }
  if (capacity) on_capacity_();
}

void WorkerRegistry::OnLoadReport(LinkId link, const worker::v1::LoadReport& report) {
  MutexLock lock(&mutex_);
  const auto found = workers_.find(link);
  if (found == workers_.end()) return;
  Worker& worker = found->second;
  WorkerLoad& load = worker.load;
  load.running_sequences = report.running_sequences();
  load.waiting_sequences = report.waiting_sequences();
  load.waiting_uncached_tokens = report.waiting_uncached_tokens();
  load.kv_used_fraction = report.kv_total_blocks() == 0
                              ? 0
                              : static_cast<double>(report.kv_leased_blocks()) /
                                    static_cast<double>(report.kv_total_blocks());
  load.prefill_tokens_per_s = report.prefill_tokens_per_s();
  load.step_ms = report.step_ms();
  worker.reported_sequence_id = report.includes_sequence_id();
  load.sent_sequences = 0;
  load.sent_tokens = 0;
  for (auto it = worker.bookings.upper_bound(worker.reported_sequence_id);
       it != worker.bookings.end(); ++it) {
    ++load.sent_sequences;
    if (!it->second.started) load.sent_tokens += it->second.uncached_tokens;
  }
}

void WorkerRegistry::OnKvEvents(LinkId link, const worker::v1::KvEvents& events) {
  MutexLock lock(&mutex_);
  const auto found = workers_.find(link);
  if (found != workers_.end()) found->second.prefixes.Apply(events);
}

void WorkerRegistry::OnSubmitCredit(LinkId link, const worker::v1::SubmitCredit& credit) {
  {
    MutexLock lock(&mutex_);
    const auto found = workers_.find(link);
    if (found == workers_.end()) return;
    found->second.info.credit_sequences = credit.max_waiting_sequences();
    found->second.info.credit_tokens = credit.max_waiting_tokens();
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
  std::map<uint64_t, Booking> lost;
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
    worker.prefixes = PrefixIndex(0);
    lost = std::exchange(worker.bookings, {});
  }
  for (auto& [id, booking] : lost) booking.handler->OnLost(why);
  if (!lost.empty()) on_capacity_();
}

}  // namespace pingti::router
