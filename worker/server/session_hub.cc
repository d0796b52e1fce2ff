// See session_hub.h.
#include "worker/server/session_hub.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

namespace pingti::worker {

SessionHub::SessionHub(HubOptions options, metrics::WorkerMetrics* metrics)
    : options_(std::move(options)), metrics_(metrics) {
  if (metrics_ == nullptr) return;
  for (int i = 0; i < kNumFinishReasons; ++i) {
    finished_[i] =
        metrics_->sequences_finished.With({FinishReasonName(static_cast<FinishReason>(i))});
  }
}

SessionHub::~SessionHub() { Stop(); }

void SessionHub::Start() {
  thread_ = std::thread([this] { Run(); });
}

void SessionHub::Stop() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    rung_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

void SessionHub::Add(std::shared_ptr<SessionWriter> writer, std::shared_ptr<Outbox> outbox,
                     uint32_t output_credit, uint32_t max_message_bytes) {
  // Large enough that headers do not count, small enough that nothing urgent waits for long.
  constexpr size_t kEnvelopeBytes = 4u << 20;
  size_t most = std::min(kEnvelopeBytes, options_.max_message_bytes);
  if (max_message_bytes > 0) most = std::min<size_t>(most, max_message_bytes);
  MutexLock lock(&mutex_);
  const SessionWriter* key = writer.get();
  sessions_[key] = {std::move(writer), outbox};
  outbox->Open(options_.identity, CreditPerSession(), output_credit, most);
  outbox->SetLoad(load_);
  if (!adapters_.empty()) outbox->SetAdapters(adapters_);
  if (draining()) outbox->SetDraining(drain_deadline_ms_);
  DivideCredit();
  bell_ = true;
  rung_.NotifyOne();
}

void SessionHub::Remove(const SessionWriter* writer) {
  Entry removed;  // destroyed outside the lock
  MutexLock lock(&mutex_);
  const auto it = sessions_.find(writer);
  if (it == sessions_.end()) return;
  removed = std::move(it->second);
  sessions_.erase(it);
  DivideCredit();
  bell_ = true;
  rung_.NotifyOne();
}

size_t SessionHub::num_sessions() const {
  MutexLock lock(&mutex_);
  return sessions_.size();
}

void SessionHub::Ring() {
  MutexLock lock(&mutex_);
  if (bell_) return;
  bell_ = true;
  rung_.NotifyOne();
}

void SessionHub::RingAt(TimePoint at) {
  if (at <= std::chrono::steady_clock::now()) return Ring();
  MutexLock lock(&mutex_);
  if (at >= release_at_) return;
  release_at_ = at;
  rung_.NotifyOne();
}

void SessionHub::SetAdapters(std::vector<AdapterInfo> adapters) {
  MutexLock lock(&mutex_);
  adapters_ = std::move(adapters);
  for (auto& [key, entry] : sessions_) entry.outbox->SetAdapters(adapters_);
  bell_ = true;
  rung_.NotifyOne();
}

void SessionHub::AnnounceDraining(uint32_t deadline_ms) {
  MutexLock lock(&mutex_);
  drain_deadline_ms_ = deadline_ms;
  draining_.store(true, std::memory_order_release);
  for (auto& [key, entry] : sessions_) entry.outbox->SetDraining(deadline_ms);
  bell_ = true;
  rung_.NotifyOne();
}

void SessionHub::EndAll() {
  std::vector<std::shared_ptr<SessionWriter>> writers;
  {
    MutexLock lock(&mutex_);
    for (auto& [key, entry] : sessions_) writers.push_back(entry.writer);
  }
  for (auto& writer : writers) writer->EndWhenFlushed();
}

void SessionHub::OnStepEnd(const StepStats& stats, const LoadSnapshot& load) {
  if (metrics_ != nullptr) RecordMetrics(stats, load);
  MutexLock lock(&mutex_);
  load_ = load;
  if (!ChangedMuch(load)) return;
  report_now_ = true;
  bell_ = true;
  rung_.NotifyOne();
}

void SessionHub::OnCacheEvents(std::span<const CacheEvent> events) {
  MutexLock lock(&mutex_);
  for (auto& [key, entry] : sessions_) entry.outbox->AddCacheEvents(events);
  bell_ = true;
  rung_.NotifyOne();
}

void SessionHub::RecordMetrics(const StepStats& stats, const LoadSnapshot& load) {
  metrics::WorkerMetrics& m = *metrics_;
  m.running_sequences.Set(load.running_sequences);
  m.waiting_sequences.Set(load.waiting_sequences);
  m.kv_blocks.Set(load.kv_total_blocks);
  m.kv_blocks_leased.Set(load.kv_leased_blocks);
  m.kv_blocks_cached.Set(load.kv_cached_blocks);
  for (int i = 0; i < kNumFinishReasons; ++i) {
    if (stats.finished[i] > 0) finished_[i].Increment(stats.finished[i]);
  }
  if (load.preemptions_total > preemptions_seen_) {
    m.preemptions.Increment(static_cast<double>(load.preemptions_total - preemptions_seen_));
    preemptions_seen_ = load.preemptions_total;
  }
  if (stats.num_tokens == 0) return;
  m.steps.Increment();
  m.step_duration_seconds.Observe(std::chrono::duration<double>(stats.duration).count());
  m.batch_tokens.Observe(stats.num_tokens);
  m.batch_sequences.Observe(stats.num_sequences);
  m.prompt_tokens.Increment(stats.admitted_prompt_tokens);
  m.cached_tokens.Increment(stats.admitted_cached_tokens);
  m.output_tokens.Increment(stats.output_tokens);
  if (stats.expert_imbalance.has_value()) m.expert_imbalance.Set(*stats.expert_imbalance);
  m.adapter_slot_loads.Increment(stats.adapter_slot_loads);
  m.adapter_evictions.Increment(stats.adapter_evictions);
  m.drafts.Increment(stats.num_drafts);
  m.drafts_accepted.Increment(stats.num_accepted_drafts);
  m.draft_reads.Increment(static_cast<double>(stats.num_read_for_drafts));
  m.draft_seconds.Increment(std::chrono::duration<double>(stats.draft_time).count());
  for (int32_t length = 0; length <= kMaxDrafts; ++length) {
    for (int32_t i = 0; i < stats.accepted_lengths[length]; ++i) {
      m.drafts_accepted_length.Observe(length);
    }
  }
}

bool SessionHub::ChangedMuch(const LoadSnapshot& load) const {
  const auto much = [](int32_t now, int32_t before) {
    return std::abs(now - before) >= std::max(4, before / 4);
  };
  return much(load.waiting_sequences, reported_.waiting_sequences) ||
         much(load.running_sequences, reported_.running_sequences) ||
         std::abs(load.kv_leased_blocks - reported_.kv_leased_blocks) * 8 > load.kv_total_blocks;
}

SubmitCredit SessionHub::CreditPerSession() const {
  const uint32_t count = std::max<uint32_t>(1, static_cast<uint32_t>(sessions_.size()));
  SubmitCredit credit = options_.total_credit;
  credit.max_waiting_sequences = std::max(1u, credit.max_waiting_sequences / count);
  credit.max_waiting_tokens = std::max(1u, credit.max_waiting_tokens / count);
  return credit;
}

void SessionHub::DivideCredit() {
  const SubmitCredit credit = CreditPerSession();
  for (auto& [key, entry] : sessions_) entry.outbox->SetCredit(credit);
}

void SessionHub::Run() {
  auto next_report = std::chrono::steady_clock::now() + options_.report_interval;
  std::vector<std::shared_ptr<SessionWriter>> writers;
  while (true) {
    {
      MutexLock lock(&mutex_);
      while (!bell_ && !stopping_) {
        if (!rung_.WaitUntil(&mutex_, std::min(next_report, release_at_))) break;
      }
      if (stopping_) return;
      bell_ = false;
      const auto now = std::chrono::steady_clock::now();
      if (report_now_ || now >= next_report) {
        for (auto& [key, entry] : sessions_) entry.outbox->SetLoad(load_);
        reported_ = load_;
        report_now_ = false;
        next_report = now + options_.report_interval;
      }
      release_at_ = TimePoint::max();
      for (auto& [key, entry] : sessions_) {
        release_at_ = std::min(release_at_, entry.outbox->ReleaseHeld(now));
        writers.push_back(entry.writer);
      }
    }
    for (auto& writer : writers) writer->Flush();
    writers.clear();
  }
}

}  // namespace pingti::worker
