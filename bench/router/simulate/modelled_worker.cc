// See modelled_worker.h.
#include "bench/router/simulate/modelled_worker.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "common/base/check.h"

namespace pingti::bench {
namespace {

constexpr double kMeanWeight = 0.1;     // of a new step in the reported means
constexpr uint32_t kMostRepeats = 64;   // steps that are taken together
constexpr uint32_t kLeastPrefill = 64;  // tokens of a prompt in a step beside decodes

void Follow(double* mean, double value) {
  *mean += (*mean == 0 ? 1 : kMeanWeight) * (value - *mean);
}

}  // namespace

ModelledWorker::ModelledWorker(ModelledWorkerSettings settings, EventQueue* events)
    : settings_(settings),
      events_(events),
      cache_(settings.cost.kv_tokens / settings.block_tokens) {}

void ModelledWorker::Connect(router::WorkerEvents* listener, router::LinkId link) {
  sessions_.push_back({listener, link});
}

void ModelledWorker::Submit(size_t session, uint64_t sequence_id, int32_t priority,
                            const SimulatedRequest* request) {
  sessions_[session].accepted = sequence_id;
  auto place = waiting_.end();
  while (place != waiting_.begin() && std::prev(place)->priority < priority) --place;
  waiting_.insert(place, Sequence{session, sequence_id, priority, request});
  RequestReport();
  if (!stepping_) {
    Step();
  } else if (step_repeats_ > 1) {
    // The newcomer joins at the next step that ends.
    const double passed = events_->now() - step_began_;
    const auto repeats = static_cast<uint32_t>(std::max(1.0, std::ceil(passed / step_s_)));
    if (repeats >= step_repeats_) return;
    step_repeats_ = repeats;
    events_->At(std::max(events_->now(), step_began_ + step_s_ * repeats),
                [this, number = ++step_number_] {
                  if (number == step_number_) EndStep(step_repeats_);
                });
  }
}

size_t ModelledWorker::CountCached(const Sequence& sequence) const {
  const auto& blocks = sequence.request->blocks;
  // At least one token is computed: its logits are what the sequence is after.
  const size_t most =
      std::min<size_t>((sequence.target() - 1) / settings_.block_tokens, blocks.size());
  return cache_.CountKnown(std::span(blocks).first(most));
}

bool ModelledWorker::LeaseFor(Sequence* sequence, uint32_t tokens) {
  const uint64_t have = sequence->named + sequence->unnamed;
  const uint64_t need = Blocks(uint64_t{sequence->computed} + tokens);
  if (need <= have) return true;
  if (need - have > cache_.available()) return false;
  cache_.LeaseNew(need - have);
  sequence->unnamed += need - have;
  return true;
}

void ModelledWorker::Release(Sequence* sequence) {
  cache_.Release(std::span(sequence->request->blocks).first(sequence->named), sequence->unnamed);
  sequence->named = 0;
  sequence->unnamed = 0;
  sequence->computed = 0;
}

bool ModelledWorker::PreemptLast(const Sequence* keep) {
  if (running_.empty() || &running_.back() == keep) return false;
  Sequence* victim = &running_.back();
  Release(victim);
  std::erase_if(plan_, [&](const Chunk& chunk) { return chunk.sequence == victim; });
  waiting_.splice(waiting_.begin(), running_, std::prev(running_.end()));
  ++service_.preemptions;
  return true;
}

void ModelledWorker::PlanDecodes() {
  for (auto it = running_.begin(); it != running_.end(); ++it) {
    if (!it->decodes()) continue;
    bool fits = LeaseFor(&*it, 1);
    while (!fits && PreemptLast(&*it)) fits = LeaseFor(&*it, 1);
    if (fits) plan_.push_back({&*it, 1});
  }
}

void ModelledWorker::PlanPrefills() {
  auto tokens_left = settings_.max_batch_tokens - static_cast<uint32_t>(plan_.size());
  if (!plan_.empty()) {
    const double most = settings_.max_step_s / settings_.cost.per_prefill;
    tokens_left = std::min(tokens_left, std::max(kLeastPrefill, static_cast<uint32_t>(most)));
  }
  for (Sequence& sequence : running_) {
    if (sequence.decodes() || tokens_left == 0) continue;
    const uint32_t chunk = std::min(sequence.pending(), tokens_left);
    if (!LeaseFor(&sequence, chunk)) continue;
    plan_.push_back({&sequence, chunk});
    tokens_left -= chunk;
  }
  Admit(&tokens_left);
}

void ModelledWorker::Admit(uint32_t* tokens_left) {
  while (!waiting_.empty() && running_.size() < settings_.max_batch_size && *tokens_left > 0) {
    Sequence& sequence = waiting_.front();
    const size_t hits = CountCached(sequence);
    const auto known = std::span(sequence.request->blocks).first(hits);
    // Each running sequence may ask for a block before this one is done.
    const uint64_t need = Blocks(sequence.target()) - hits + cache_.CountIdle(known);
    if (need + running_.size() > cache_.available() && !running_.empty()) return;
    cache_.LeaseKnown(known);
    sequence.named = hits;
    sequence.computed = static_cast<uint32_t>(hits) * settings_.block_tokens;
    if (!sequence.told_cached) sequence.cached = sequence.computed;
    running_.splice(running_.end(), waiting_, waiting_.begin());
    const uint32_t chunk = std::min(sequence.pending(), *tokens_left);
    PINGTI_CHECK_MSG(LeaseFor(&sequence, chunk), "a prompt is longer than the whole cache");
    plan_.push_back({&sequence, chunk});
    *tokens_left -= chunk;
  }
}

void ModelledWorker::Step() {
  plan_.clear();
  PlanDecodes();
  PlanPrefills();
  if (plan_.empty()) return;
  uint64_t decodes = 0;
  uint64_t context = 0;
  uint64_t prefill = 0;
  double pairs = 0;
  uint32_t repeats = kMostRepeats;
  for (const auto& [sequence, tokens] : plan_) {
    if (sequence->decodes()) {
      ++decodes;
      context += sequence->computed;
      repeats = std::min(repeats, sequence->request->output_tokens - sequence->generated);
    } else {
      prefill += tokens;
      pairs += static_cast<double>(tokens) * (sequence->computed + tokens / 2.0);
      repeats = 1;
    }
  }
  step_s_ = settings_.cost.StepSeconds(decodes, context, prefill, pairs);
  if (prefill > 0) Follow(&prefill_rate_, static_cast<double>(prefill) / step_s_);
  Follow(&mean_step_s_, step_s_);
  stepping_ = true;
  step_began_ = events_->now();
  // Further steps only where the cache has their blocks.
  while (repeats > 1 && decodes * Blocks(repeats) > cache_.available()) repeats /= 2;
  step_repeats_ = std::max(repeats, 1u);
  events_->After(step_s_ * step_repeats_, [this, number = ++step_number_] {
    if (number == step_number_) EndStep(step_repeats_);
  });
}

void ModelledWorker::Compute(Sequence* sequence, uint32_t tokens) {
  sequence->computed += tokens;
  const auto& blocks = sequence->request->blocks;
  while (sequence->named < blocks.size() &&
         (sequence->named + 1) * settings_.block_tokens <= sequence->computed) {
    cache_.Name(blocks[sequence->named++]);
    --sequence->unnamed;
  }
}

void ModelledWorker::Draw(Sequence* sequence, uint32_t tokens) {
  sequence->generated += tokens;
  const bool first = !sequence->told_cached;
  const bool last = sequence->generated >= sequence->request->output_tokens;
  if (!first && !last) return;
  router::SequenceOutput output;
  output.sequence_id = sequence->id;
  output.token_ids = {1};
  if (first) {
    output.cached_prompt_tokens = sequence->cached;
    service_.prompt_tokens += sequence->request->input_tokens;
    service_.cached_tokens += sequence->cached;
    sequence->told_cached = true;
  }
  if (last) output.finish.emplace().reason = router::Finish::Reason::kMaxTokens;
  sessions_[sequence->session].outputs.outputs.push_back(std::move(output));
}

void ModelledWorker::EndStep(uint32_t repeats) {
  stepping_ = false;
  service_.busy_s += step_s_ * repeats;
  for (const auto& [sequence, tokens] : plan_) {
    if (sequence->decodes()) {
      // Their blocks were counted when the steps were planned.
      LeaseFor(sequence, repeats);
      Compute(sequence, repeats);
      Draw(sequence, repeats);
    } else {
      Compute(sequence, tokens);
      if (sequence->pending() == 0) Draw(sequence, 1);
    }
  }
  for (auto it = running_.begin(); it != running_.end();) {
    const auto sequence = it++;
    if (sequence->generated < sequence->request->output_tokens) continue;
    Release(&*sequence);
    running_.erase(sequence);
  }
  SendOutputs();
  SendCacheEvents();
  RequestReport();
  Step();
}

void ModelledWorker::SendOutputs() {
  for (Session& session : sessions_) {
    if (session.outputs.outputs.empty()) continue;
    events_->After(settings_.network_s,
                   [&session, step = std::exchange(session.outputs, {})]() mutable {
                     session.listener->OnStepOutput(session.link, std::move(step));
                   });
  }
}

void ModelledWorker::SendCacheEvents() {
  const ModelledCache::Changes changes = cache_.TakeChanges();
  if (changes.stored.empty() && changes.removed.empty()) return;
  router::KvEvents events;
  if (!changes.removed.empty()) {
    events.events.push_back({router::KvEvent::Kind::kRemoved, changes.removed});
  }
  if (!changes.stored.empty()) {
    events.events.push_back({router::KvEvent::Kind::kStored, changes.stored});
  }
  for (Session& session : sessions_) {
    events.first_event_id = session.next_event_id;
    session.next_event_id += events.events.size();
    events_->After(settings_.network_s,
                   [&session, events] { session.listener->OnKvEvents(session.link, events); });
  }
}

bool ModelledWorker::ReportDiffers() const {
  const auto much = [](size_t now, uint32_t before) {
    const auto difference = std::abs(static_cast<int64_t>(now) - static_cast<int64_t>(before));
    return difference >= std::max<int64_t>(4, before / 4);
  };
  return much(waiting_.size(), reported_.waiting_sequences) ||
         much(running_.size(), reported_.running_sequences);
}

// As the hub of a worker's sessions does: at once after a large change, else by the interval.
void ModelledWorker::RequestReport() {
  if (ReportDiffers()) {
    Report();
  } else if (!report_requested_) {
    report_requested_ = true;
    events_->After(settings_.report_interval_s, [this] {
      report_requested_ = false;
      Report();
    });
  }
}

void ModelledWorker::Report() {
  router::LoadReport report;
  report.running_sequences = static_cast<uint32_t>(running_.size());
  report.waiting_sequences = static_cast<uint32_t>(waiting_.size());
  for (const Sequence& sequence : waiting_) {
    report.waiting_uncached_tokens +=
        sequence.target() - CountCached(sequence) * settings_.block_tokens;
  }
  for (const Sequence& sequence : running_) {
    if (!sequence.decodes()) report.waiting_uncached_tokens += sequence.pending();
  }
  report.kv_total_blocks = cache_.total();
  report.kv_leased_blocks = cache_.leased();
  report.prefill_tokens_per_s = prefill_rate_;
  report.step_ms = mean_step_s_ * 1e3;
  reported_ = report;
  for (Session& session : sessions_) {
    report.includes_sequence_id = session.accepted;
    events_->After(settings_.network_s,
                   [&session, report] { session.listener->OnLoadReport(session.link, report); });
  }
}

}  // namespace pingti::bench
