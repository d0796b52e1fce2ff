// See dispatcher.h.
#include "router/pipeline/dispatcher.h"

#include <algorithm>
#include <map>
#include <utility>

namespace pingti::router {

namespace {

// Tokens that a worker may add to a sequence; UINT32_MAX: up to the context's end.
uint32_t MostOutput(const Sequence& sequence) {
  if (sequence.stop.max_tokens == 0) return UINT32_MAX;
  const auto generated = static_cast<uint32_t>(sequence.generated_token_ids.size());
  return sequence.stop.max_tokens - std::min(generated, sequence.stop.max_tokens);
}

}  // namespace

Dispatcher::Dispatcher(WorkerRegistry* registry, std::unique_ptr<Policy> policy,
                       std::unique_ptr<QueueOrder> order, const Clock* clock,
                       DispatcherOptions options)
    : registry_(registry),
      clock_(clock),
      options_(options),
      policy_(std::move(policy)),
      queue_(std::move(order)) {}

void Dispatcher::Submit(SequenceJob job) {
  {
    MutexLock lock(&mutex_);
    queue_.Add(std::move(job));
  }
  Pump();
}

void Dispatcher::SetPolicy(std::unique_ptr<Policy> policy) {
  MutexLock lock(&mutex_);
  policy_ = std::move(policy);
}

bool Dispatcher::HasWorkerFor(std::string_view fingerprint, uint32_t context_tokens) const {
  return registry_->HasReadyWorker(fingerprint, context_tokens);
}

void Dispatcher::CancelQueued(uint64_t job_id) {
  SequenceJob job;  // freed after the lock
  MutexLock lock(&mutex_);
  queue_.Remove(job_id, &job);
}

void Dispatcher::CancelPlaced(WorkerKey worker, uint64_t sequence_id) {
  registry_->Cancel(worker, sequence_id);
}

void Dispatcher::CountAnswer(std::string_view line, double weight, double tokens) {
  MutexLock lock(&mutex_);
  queue_.CountAnswer(line, weight, tokens);
}

void Dispatcher::Pump() {
  if (pump_requests_.fetch_add(1) > 0) return;  // whoever is inside goes round once more
  int seen = 0;
  do {
    seen = pump_requests_.load();
    PumpOnce();
  } while (!pump_requests_.compare_exchange_strong(seen, 0));
}

WorkerLoad Dispatcher::Choose(const SequenceJob& job, const Waits& waits) {
  std::vector<WorkerLoad> candidates =
      registry_->Candidates(job.fingerprint, job.tokens, job.excluded_workers, job.block_hashes,
                            job.context_tokens, job.width());
  if (candidates.empty()) return {};
  if (!policy_->may_wait()) {
    std::erase_if(candidates, [](const WorkerLoad& load) { return !load.has_credit; });
  }
  for (WorkerLoad& load : candidates) {
    const auto waiting = waits.find(load.worker);
    if (waiting == waits.end()) continue;
    // They came first, so they will go first.
    load.sent_sequences += waiting->second.sequences;
    load.sent_tokens += waiting->second.tokens;
    load.has_credit = false;
  }
  return candidates[policy_->Pick({.prompt_tokens = job.tokens,
                                   .block_hashes = job.block_hashes,
                                   .affinity_hint = job.affinity_hint},
                                  candidates)];
}

void Dispatcher::PumpOnce() {
  struct Placement {
    SequenceJob job;
    SequencePlace place;
  };
  std::vector<Placement> placed;
  std::map<WorkerKey, std::shared_ptr<WorkerChannel>> channels;
  Waits waits;
  {
    MutexLock lock(&mutex_);
    queue_.TakePlaceable(
        [&](const SequenceJob& job) PINGTI_REQUIRES(mutex_) -> SequenceQueue::Placed {
          const WorkerLoad chosen = Choose(job, waits);
          if (chosen.worker == 0) return SequenceQueue::Placed::kNo;
          if (!chosen.has_credit) {
            waits[chosen.worker].sequences += job.width();
            waits[chosen.worker].tokens +=
                job.tokens - std::min<uint64_t>(chosen.cached_prompt_tokens, job.tokens);
            return SequenceQueue::Placed::kWaits;
          }
          // Booked at once, so that the next job of this round sees it in the load.
          WorkerRegistry::Booked booked = registry_->Book(
              chosen.worker, job.tokens, job.handler, chosen.cached_prompt_tokens, job.block_hashes,
              {.most_output = MostOutput(job.sequence),
               .answers = job.sequence.sampling.n,
               .sequences = job.width()});
          if (booked.channel == nullptr) return SequenceQueue::Placed::kNo;
          channels[chosen.worker] = std::move(booked.channel);
          placed.push_back({{}, std::move(booked.place)});
          return SequenceQueue::Placed::kYes;
        },
        [&](SequenceJob job) { placed.back().job = std::move(job); });
  }
  std::map<WorkerKey, std::vector<Sequence>> batches;
  for (Placement& placement : placed) {
    placement.job.handler->OnPlaced(placement.place);
    placement.job.sequence.sequence_id = placement.place.sequence_id;
    batches[placement.place.worker].push_back(std::move(placement.job.sequence));
  }
  for (auto& [worker, sequences] : batches) channels[worker]->Submit(std::move(sequences));
}

void Dispatcher::Tick() {
  std::vector<SequenceJob> expired;
  {
    MutexLock lock(&mutex_);
    const auto now = clock_->Now();
    expired = queue_.TakeExpired(now);
    if (options_.promote_after.count() > 0) queue_.Promote(now - options_.promote_after);
  }
  for (const SequenceJob& job : expired) job.handler->OnQueueTimeout();
  Pump();  // a breaker may have closed by time alone
}

size_t Dispatcher::queued() const {
  MutexLock lock(&mutex_);
  return queue_.size();
}

}  // namespace pingti::router
