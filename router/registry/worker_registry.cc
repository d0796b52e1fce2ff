// See worker_registry.h. Placement and books; the callbacks of the links are in registry_events.cc.
#include "router/registry/worker_registry.h"

#include <algorithm>
#include <limits>
#include <set>
#include <utility>

#include "common/base/log.h"

namespace pingti::router {

std::string_view WorkerStateName(WorkerState state) {
  switch (state) {
    case WorkerState::kConnecting:
      return "connecting";
    case WorkerState::kReady:
      return "ready";
    case WorkerState::kDraining:
      return "draining";
    case WorkerState::kDead:
      return "dead";
  }
  return "";
}

WorkerRegistry::WorkerRegistry(BreakerOptions breaker, const Clock* clock,
                               metrics::RouterMetrics* metrics)
    : breaker_options_(breaker), clock_(clock), metrics_(metrics) {}

WorkerRegistry::~WorkerRegistry() {
  CloseAll();
  Reap();
}

void WorkerRegistry::Connect(LinkFactory factory, std::function<void()> on_capacity) {
  factory_ = std::move(factory);
  on_capacity_ = std::move(on_capacity);
}

void WorkerRegistry::SetAddresses(const std::vector<WorkerAddress>& workers) {
  std::map<std::string, bool> wanted;  // whether in another zone, by address
  for (const WorkerAddress& worker : workers) wanted.emplace(worker.address, worker.other_zone);
  std::vector<LinkId> gone;
  std::vector<std::pair<LinkId, std::string>> fresh;
  {
    MutexLock lock(&mutex_);
    std::set<std::string> known;
    for (auto& [id, worker] : workers_) {
      known.insert(worker.address);
      if (const auto found = wanted.find(worker.address); found != wanted.end()) {
        worker.load.other_zone = found->second;
        continue;
      }
      worker.dropped = true;
      gone.push_back(id);
    }
    for (const auto& [address, other_zone] : wanted) {
      if (known.contains(address)) continue;
      const LinkId id = next_link_++;
      Worker& worker = workers_.emplace(id, breaker_options_).first->second;
      worker.address = address;
      worker.load.other_zone = other_zone;
      fresh.emplace_back(id, address);
    }
  }
  for (const LinkId id : gone) {
    OnLost(id, absl::UnavailableError("discovery dropped the worker's address"));
    MutexLock lock(&mutex_);
    const auto worker = workers_.find(id);
    if (worker == workers_.end()) continue;
    LogInfo("worker dropped", {{"worker", worker->second.address}});
    if (worker->second.channel != nullptr) retired_.push_back(std::move(worker->second.channel));
    metrics_->worker_dispatch.Remove({worker->second.address});
    workers_.erase(worker);
  }
  for (const auto& [id, address] : fresh) {
    std::shared_ptr<WorkerChannel> channel = factory_(id, address);
    MutexLock lock(&mutex_);
    const auto worker = workers_.find(id);
    if (worker != workers_.end()) {
      worker->second.channel = std::move(channel);
    } else {
      retired_.push_back(std::move(channel));
    }
  }
  Reap();
}

void WorkerRegistry::Reap() {
  std::vector<std::shared_ptr<WorkerChannel>> free;
  MutexLock lock(&mutex_);
  const auto unused = std::partition(retired_.begin(), retired_.end(),
                                     [](const auto& channel) { return channel.use_count() > 1; });
  free.assign(std::make_move_iterator(unused), std::make_move_iterator(retired_.end()));
  retired_.erase(unused, retired_.end());
  // `free` is destroyed after the lock: closing a link joins threads that may call back.
}

void WorkerRegistry::CloseAll() {
  SetAddresses({});
  // A link that was held by its own event could not be freed yet, and would call back later.
  while (true) {
    {
      MutexLock lock(&mutex_);
      while (num_events_ > 0) no_events_.Wait(&mutex_);
      if (retired_.empty()) return;
    }
    Reap();
    MutexLock lock(&mutex_);
    if (num_events_ == 0) return;  // the rest is held by those who use the registry
  }
}

std::shared_ptr<const ServedModel> WorkerRegistry::FindModel(std::string_view name) const {
  std::shared_ptr<const ServedModel> best;
  uint32_t best_ready = 0;
  for (const ModelStatus& status :
       StatusesOf([name](const ServedModel& model) { return model.Answers(name); })) {
    const bool newer = best != nullptr && status.ready_workers == best_ready &&
                       status.model->created_unix_s > best->created_unix_s;
    if (best == nullptr || status.ready_workers > best_ready || newer) {
      best = status.model;
      best_ready = status.ready_workers;
    }
  }
  return best;
}

bool WorkerRegistry::Serves(const WorkerInfo& info, std::string_view fingerprint) {
  return info.model->fingerprint == fingerprint ||
         std::any_of(info.adapters.begin(), info.adapters.end(),
                     [&](const auto& model) { return model->fingerprint == fingerprint; });
}

bool WorkerRegistry::CanHold(const Worker& worker, std::string_view fingerprint,
                             uint32_t context_tokens) {
  return worker.state == WorkerState::kReady && Serves(worker.info, fingerprint) &&
         context_tokens <= worker.info.model->max_context_tokens;
}

bool WorkerRegistry::HasReadyWorker(std::string_view fingerprint, uint32_t context_tokens) const {
  MutexLock lock(&mutex_);
  return std::any_of(workers_.begin(), workers_.end(), [&](const auto& entry) {
    return CanHold(entry.second, fingerprint, context_tokens);
  });
}

std::vector<ModelStatus> WorkerRegistry::Models() const {
  return StatusesOf([](const ServedModel&) { return true; });
}

template <typename Which>
std::vector<ModelStatus> WorkerRegistry::StatusesOf(Which which) const {
  // One build may be served under several ids.
  std::map<std::pair<std::string_view, std::string_view>, ModelStatus> by_build_and_id;
  const auto count = [&](const std::shared_ptr<const ServedModel>& model, bool ready) {
    if (!which(*model)) return;
    ModelStatus& status = by_build_and_id[{model->fingerprint, model->id}];
    const bool larger =
        status.model == nullptr || model->max_context_tokens > status.model->max_context_tokens;
    // What a ready worker offers counts before what one that is away does.
    const bool first_ready = ready && status.ready_workers == 0;
    if (first_ready || (larger && (ready || status.ready_workers == 0))) status.model = model;
    if (ready) ++status.ready_workers;
  };
  MutexLock lock(&mutex_);
  for (const auto& [id, worker] : workers_) {
    if (worker.info.model == nullptr) continue;
    const bool ready = worker.state == WorkerState::kReady;
    count(worker.info.model, ready);
    for (const auto& adapter : worker.info.adapters) count(adapter, ready);
  }
  std::vector<ModelStatus> models;
  for (auto& [key, status] : by_build_and_id) models.push_back(std::move(status));
  return models;
}

std::vector<WorkerStatus> WorkerRegistry::Workers() const {
  std::vector<WorkerStatus> result;
  MutexLock lock(&mutex_);
  for (const auto& [id, worker] : workers_) {
    result.push_back({worker.address, worker.info.worker_id,
                      worker.info.model == nullptr ? "" : worker.info.model->id, worker.state,
                      static_cast<uint32_t>(worker.bookings.size())});
  }
  return result;
}

std::vector<ReadyWorker> WorkerRegistry::ReadyWorkers(std::string_view model) const {
  std::vector<ReadyWorker> ready;
  MutexLock lock(&mutex_);
  for (const auto& [id, worker] : workers_) {
    if (worker.state != WorkerState::kReady || worker.channel == nullptr) continue;
    if (!model.empty() && !worker.info.model->Answers(model)) continue;
    ready.push_back({worker.address, worker.info.model->id, worker.channel});
  }
  return ready;
}

uint32_t WorkerRegistry::num_ready() const {
  MutexLock lock(&mutex_);
  return static_cast<uint32_t>(std::count_if(workers_.begin(), workers_.end(), [](const auto& w) {
    return w.second.state == WorkerState::kReady;
  }));
}

WorkerRegistry::Candidate WorkerRegistry::MakeCandidate(const Worker& worker, uint32_t sequences) {
  Candidate candidate{worker.load, worker.prefixes->slot(), worker.expected->slot()};
  if (worker.waiting_sequences == 0) {
    // A prompt or a search larger than the whole credit must still get through: alone.
    candidate.has_place = true;
    candidate.free_tokens = std::numeric_limits<uint64_t>::max();
  } else {
    candidate.has_place = worker.waiting_sequences + sequences <= worker.info.credit_sequences;
    candidate.free_tokens = worker.info.credit_tokens -
                            std::min<uint64_t>(worker.waiting_tokens, worker.info.credit_tokens);
  }
  return candidate;
}

std::vector<WorkerLoad> WorkerRegistry::Candidates(std::string_view fingerprint, uint32_t tokens,
                                                   const std::vector<WorkerKey>& excluded,
                                                   std::span<const uint64_t> block_hashes,
                                                   uint32_t context_tokens,
                                                   uint32_t sequences) const {
  std::vector<Candidate> others;
  std::vector<Candidate> failed_before;
  bool any_other = false;
  uint32_t block_tokens = 0;
  {
    const auto now = clock_->Now();
    MutexLock lock(&mutex_);
    for (const auto& [id, worker] : workers_) {
      if (!CanHold(worker, fingerprint, context_tokens)) continue;
      const bool is_excluded =
          std::find(excluded.begin(), excluded.end(), worker.key) != excluded.end();
      any_other |= !is_excluded;
      if (worker.channel == nullptr || !worker.breaker.Allows(now)) continue;
      (is_excluded ? failed_before : others).push_back(MakeCandidate(worker, sequences));
      block_tokens = worker.info.model->kv_block_tokens;
    }
  }
  const std::vector<Candidate>& candidates = any_other ? others : failed_before;
  if (std::none_of(candidates.begin(), candidates.end(),
                   [](const Candidate& candidate) { return candidate.has_place; })) {
    return {};
  }
  // A slot may by now belong to another session: its load is then off, and booking it fails.
  const PrefixIndex::Match cached = prefix_index_.Find(block_hashes);
  const PrefixIndex::Match expected = expected_index_.Find(block_hashes);
  std::vector<WorkerLoad> loads;
  bool any_credit = false;
  for (const Candidate& candidate : candidates) {
    WorkerLoad& load = loads.emplace_back(candidate.load);
    const size_t blocks =
        std::max(cached.Blocks(candidate.cached_slot), expected.Blocks(candidate.expected_slot));
    load.cached_prompt_tokens = blocks * block_tokens;
    load.has_credit =
        candidate.has_place &&
        tokens - std::min<uint64_t>(load.cached_prompt_tokens, tokens) <= candidate.free_tokens;
    any_credit |= load.has_credit;
  }
  if (!any_credit) loads.clear();
  return loads;
}

uint32_t WorkerRegistry::RoomFor(const Worker& worker, uint32_t tokens) {
  const uint32_t context = worker.info.model->max_context_tokens;
  return context == 0 ? UINT32_MAX : context - std::min(tokens, context);
}

WorkerRegistry::Worker* WorkerRegistry::FindByKey(WorkerKey key) {
  const auto link = keys_.find(key);
  return link == keys_.end() ? nullptr : &workers_.at(link->second);
}

WorkerRegistry::Booked WorkerRegistry::Book(WorkerKey key, uint32_t tokens,
                                            std::shared_ptr<SequenceHandler> handler,
                                            uint64_t cached_tokens,
                                            std::span<const uint64_t> block_hashes,
                                            BookingSize size) {
  const auto uncached_tokens =
      tokens - static_cast<uint32_t>(std::min<uint64_t>(cached_tokens, tokens));
  Booked booked;
  std::shared_ptr<ExpectedPrefixes> expected;
  {
    MutexLock lock(&mutex_);
    Worker* worker = FindByKey(key);
    if (worker == nullptr || worker->state != WorkerState::kReady || worker->channel == nullptr) {
      return {};
    }
    booked = {worker->channel,
              {key, worker->address, next_sequence_id_++, worker->info.holds_outputs}};
    expected = worker->expected;
    worker->bookings.emplace(
        booked.place.sequence_id,
        Booking{uncached_tokens, std::move(handler), block_hashes,
                OutputLimits(worker->info.model->vocab_size,
                             std::min(size.most_output, RoomFor(*worker, tokens)), tokens,
                             size.answers),
                size.sequences});
    worker->waiting_sequences += size.sequences;
    worker->waiting_tokens += uncached_tokens;
    worker->load.sent_sequences += size.sequences;
    worker->load.sent_tokens += uncached_tokens;
    worker->breaker.OnSent(clock_->Now());
    worker->dispatched.Increment();
  }
  // Nothing is sent before this returns, so no output can take out what is not yet in.
  expected->Add(block_hashes);
  return booked;
}

void WorkerRegistry::Start(Worker* worker, uint64_t sequence_id, Booking* booking) {
  if (booking->started) return;
  booking->started = true;
  worker->waiting_sequences -= booking->sequences;
  worker->waiting_tokens -= booking->uncached_tokens;
  if (sequence_id > worker->reported_sequence_id) {
    worker->load.sent_tokens -= booking->uncached_tokens;
  }
}

void WorkerRegistry::Release(Worker* worker, Bookings::iterator booking) {
  Start(worker, booking->first, &booking->second);
  if (booking->first > worker->reported_sequence_id) {
    worker->load.sent_sequences -= booking->second.sequences;
  } else {
    // The report that counted it is old.
    worker->load.running_sequences -=
        std::min(booking->second.sequences, worker->load.running_sequences);
  }
  worker->bookings.erase(booking);
}

void WorkerRegistry::Cancel(WorkerKey key, uint64_t sequence_id) {
  std::shared_ptr<WorkerChannel> channel;
  std::shared_ptr<SequenceHandler> handler;  // freed after the lock
  std::span<const uint64_t> block_hashes;    // kept by `handler`
  std::shared_ptr<ExpectedPrefixes> expected;
  {
    MutexLock lock(&mutex_);
    Worker* worker = FindByKey(key);
    if (worker == nullptr) return;
    const auto booking = worker->bookings.find(sequence_id);
    if (booking == worker->bookings.end()) return;
    handler = std::move(booking->second.handler);
    block_hashes = booking->second.block_hashes;
    expected = worker->expected;
    channel = worker->channel;
    worker->breaker.OnNeutral();
    Release(worker, booking);
  }
  expected->Remove(block_hashes);
  channel->Cancel(sequence_id);
  on_capacity_();
}

}  // namespace pingti::router
