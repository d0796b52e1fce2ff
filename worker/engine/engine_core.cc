// See engine_core.h: sessions, queues and the order of a step's phases.
#include "worker/engine/engine_core.h"

#include <algorithm>
#include <utility>

#include "common/base/check.h"
#include "common/base/log.h"
#include "common/base/strings.h"

namespace pingti::worker {
namespace {

RequestLimits LimitsOf(const Model& model, const EngineOptions& options) {
  RequestLimits limits;
  limits.vocab_size = model.vocab_size();
  const int64_t kv_tokens = static_cast<int64_t>(options.num_kv_blocks) * options.kv_block_tokens;
  const int32_t context = options.max_context_tokens > 0
                              ? std::min(options.max_context_tokens, model.max_context_tokens())
                              : model.max_context_tokens();
  limits.max_context_tokens = static_cast<int32_t>(std::min<int64_t>(context, kv_tokens));
  limits.max_batch_size = options.budget.max_sequences;
  limits.eos_token_ids = options.eos_token_ids;
  limits.grammars = options.vocabulary != nullptr;
  return limits;
}

void Blend(double* mean, double value) { *mean += (value - *mean) * 0.1; }

}  // namespace

EngineCore::EngineCore(Model* model, const Clock* clock, const EngineOptions& options,
                       EngineObserver* observer)
    : model_(model),
      clock_(clock),
      options_(options),
      observer_(observer),
      limits_(LimitsOf(*model, options)),
      cache_(options.num_kv_blocks, options.kv_block_tokens),
      scheduler_(&cache_, options.budget),
      batch_(options.budget, limits_.max_context_tokens / options.kv_block_tokens + 1) {
  plan_.chunks.reserve(options.budget.max_sequences);
  plan_.preempted.reserve(options.budget.max_sequences);
  copies_.reserve(options.budget.max_sequences);
}

EngineCore::~EngineCore() {
  for (auto& [id, session] : sessions_) {
    for (auto& [sequence_id, group] : session.groups) {
      for (auto& sample : group->samples) scheduler_.Remove(&sample->sequence);
    }
  }
}

void EngineCore::OpenSession(SessionId id, std::unique_ptr<SessionSink> sink) {
  const bool is_new = sessions_.try_emplace(id).second;
  PINGTI_CHECK(is_new);
  sessions_[id].sink = std::move(sink);
}

void EngineCore::CloseSession(SessionId id) {
  const auto it = sessions_.find(id);
  if (it == sessions_.end()) return;
  for (auto& [sequence_id, group] : it->second.groups) {
    StopAwaiting(group.get());
    for (auto& sample : group->samples) scheduler_.Remove(&sample->sequence);
    stats_.finished[static_cast<int>(FinishReason::kCancelled)] += 1;
    --num_groups_;
  }
  std::erase_if(retired_, [&](const RequestGroup* group) { return group->session == id; });
  sessions_.erase(it);
}

bool EngineCore::Submit(SessionId session_id, Request request) {
  const auto it = sessions_.find(session_id);
  if (it == sessions_.end()) return false;  // closed meanwhile
  Session& session = it->second;
  session.highest_sequence_id = std::max(session.highest_sequence_id, request.sequence_id);
  session.accepted_any = true;
  if (const auto same = session.groups.find(request.sequence_id); same != session.groups.end()) {
    // Outputs of the two could not be told apart, so both end, in one answer.
    FinishGroup(same->second.get(), FinishReason::kError,
                absl::AlreadyExistsError(Concat("sequence_id ", request.sequence_id,
                                                " came twice: expected a new one")));
    return false;
  }
  absl::Status status = ValidateRequest(request, limits_);
  if (status.ok() && static_cast<int32_t>(scheduler_.state().waiting.size() + num_awaiting_) >=
                         options_.max_waiting_sequences) {
    status = absl::ResourceExhaustedError(Concat(
        "the queue is full: ", options_.max_waiting_sequences, " sequences wait at this worker"));
  }
  if (!status.ok()) {
    Reject(&session, request, std::move(status));
    return false;
  }

  const uint64_t sequence_id = request.sequence_id;
  auto group = std::make_unique<RequestGroup>(std::move(request), session_id, next_order_++,
                                              limits_, options_.kv_block_tokens);
  RequestGroup* added = group.get();
  session.groups.emplace(sequence_id, std::move(group));
  ++num_groups_;
  if (!device_.ok()) {
    FinishGroup(added, FinishReason::kPreempted, device_);
    return false;
  }
  if (added->request.grammar.has_value()) {
    added->awaits_grammar = true;
    ++num_awaiting_;
    return true;
  }
  Enqueue(added);
  return false;
}

void EngineCore::SetGrammar(SessionId session_id, uint64_t sequence_id,
                            absl::StatusOr<std::shared_ptr<grammar::CompiledGrammar>> compiled) {
  const auto it = sessions_.find(session_id);
  if (it == sessions_.end()) return;
  const auto found = it->second.groups.find(sequence_id);
  if (found == it->second.groups.end() || !found->second->awaits_grammar) return;
  RequestGroup* group = found->second.get();
  StopAwaiting(group);
  absl::Status status = compiled.status();
  if (status.ok()) {
    Sample& first = *group->samples[0];
    first.grammar = std::make_unique<GrammarState>(*std::move(compiled));
    status = first.grammar->Replay(group->request.generated_token_ids);
  }
  if (!status.ok()) return FinishGroup(group, FinishReason::kRejected, status);
  Enqueue(group);
}

void EngineCore::StopAwaiting(RequestGroup* group) {
  if (group->awaits_grammar) --num_awaiting_;
  group->awaits_grammar = false;
}

void EngineCore::Enqueue(RequestGroup* group) {
  Sample* first = group->samples[0].get();
  if (std::optional<Finish> finish = group->request.generated_token_ids.empty()
                                         ? std::nullopt
                                         : group->CheckFinished(*first)) {
    // Resumed after its very last token.
    FinishSample(group, first, *finish);
    MaybeRetire(group);
    return;
  }
  Sequence& sequence = first->sequence;
  sequence.num_uncached_estimate =
      sequence.target() - Scheduler::CountCachedBlocks(cache_, sequence) * options_.kv_block_tokens;
  if (sequence.hold_back > 0 && sequence.target() == 0) {
    ForkSamples(group);  // nothing to share in a prompt of one token
  } else {
    scheduler_.Add(&sequence);
  }
}

void EngineCore::Cancel(SessionId session_id, std::span<const uint64_t> sequence_ids) {
  const auto it = sessions_.find(session_id);
  if (it == sessions_.end()) return;
  for (const uint64_t id : sequence_ids) {
    const auto group = it->second.groups.find(id);
    if (group == it->second.groups.end()) continue;
    FinishGroup(group->second.get(), FinishReason::kCancelled, absl::OkStatus());
  }
}

void EngineCore::GiveBackAll(const absl::Status& why) {
  for (auto& [id, session] : sessions_) {
    for (auto& [sequence_id, group] : session.groups) {
      FinishGroup(group.get(), FinishReason::kPreempted, why);
    }
  }
}

bool EngineCore::Step() {
  const TimePoint begin = clock_->Now();
  scheduler_.Plan(begin, &plan_);
  const bool has_batch = !plan_.chunks.empty();
  if (plan_.changes_anything()) {
    copies_.clear();
    scheduler_.Apply(plan_, &copies_);
    FinishExpired();
  }
  if (has_batch) {
    ++step_;
    Admitted();
    batch_.Build(plan_, copies_);
    const absl::Status status = RunModel();
    if (status.ok()) {
      consecutive_failures_ = 0;
      TakeResults();
    } else {
      HandleFailedStep(status);
    }
  }
  const bool progressed = plan_.changes_anything() || !retired_.empty();
  EraseRetired();
  if (has_batch) UpdateRates(clock_->Now() - begin);
  Publish();
  return progressed;
}

void EngineCore::Admitted() {
  const TimePoint now = clock_->Now();
  stats_.num_sequences = static_cast<int32_t>(plan_.chunks.size());
  stats_.num_tokens = plan_.num_tokens;
  stats_.num_decode_tokens = 0;
  for (const PlannedChunk& chunk : plan_.chunks) {
    const Sequence& sequence = *chunk.sequence;
    RequestGroup& group = *sequence.group;
    if (sequence.decodes()) stats_.num_decode_tokens += chunk.num_tokens;
    if (group.cached_prompt_tokens >= 0) continue;
    group.cached_prompt_tokens = std::min(sequence.num_cached, group.num_prompt());
    group.first_step = now;
    stats_.admitted_prompt_tokens += group.num_prompt();
    stats_.admitted_cached_tokens += group.cached_prompt_tokens;
  }
}

void EngineCore::Reject(Session* session, const Request& request, absl::Status status) {
  LogInfo("request rejected", {{"request_id", request.request_id}, {"reason", status.ToString()}});
  SequenceOutput* output = NewOutput(session, request.sequence_id);
  Finish finish;
  finish.reason = FinishReason::kRejected;
  finish.status = std::move(status);
  finish.usage.prompt_tokens = static_cast<int32_t>(request.prompt_token_ids.size());
  output->finish = std::move(finish);
  stats_.finished[static_cast<int>(FinishReason::kRejected)] += 1;
}

void EngineCore::EraseRetired() {
  for (RequestGroup* group : retired_) {
    const auto session = sessions_.find(group->session);
    if (session == sessions_.end()) continue;
    session->second.groups.erase(group->request.sequence_id);
    --num_groups_;
  }
  retired_.clear();
}

void EngineCore::Publish() {
  for (auto& [id, session] : sessions_) {
    if (session.accepted_any) session.sink->OnAccepted(session.highest_sequence_id);
    session.accepted_any = false;
    if (session.num_outputs == 0) continue;
    session.sink->OnStep(step_, std::span(session.outputs).first(session.num_outputs));
    session.num_outputs = 0;
  }
  if (observer_ != nullptr) {
    if (!cache_.events().empty()) observer_->OnCacheEvents(cache_.events());
    observer_->OnStepEnd(stats_, load());
  }
  cache_.ClearEvents();
  stats_ = StepStats();
}

void EngineCore::UpdateRates(std::chrono::nanoseconds duration) {
  stats_.duration = duration;
  const double seconds = std::chrono::duration<double>(duration).count();
  const int32_t prefill_tokens = stats_.num_tokens - stats_.num_decode_tokens;
  Blend(&mean_step_s_, seconds);
  if (prefill_tokens > 0) {
    Blend(&mean_prefill_s_, seconds);
    Blend(&mean_prefill_tokens_, prefill_tokens);
  }
  if (stats_.num_decode_tokens > 0) {
    Blend(&mean_decode_s_, seconds);
    Blend(&mean_decode_tokens_, stats_.num_decode_tokens);
  }
}

LoadSnapshot EngineCore::load() const {
  LoadSnapshot load;
  load.step = step_;
  load.running_sequences = static_cast<int32_t>(scheduler_.state().running.size());
  load.waiting_sequences = static_cast<int32_t>(scheduler_.state().waiting.size());
  for (const Sequence* sequence : scheduler_.state().waiting) {
    load.waiting_uncached_tokens += sequence->num_uncached_estimate;
  }
  const BlockPool& pool = cache_.pool();
  load.kv_total_blocks = pool.total();
  load.kv_leased_blocks = pool.leased();
  load.kv_cached_blocks = pool.cached();
  if (mean_prefill_s_ > 0) load.prefill_tokens_per_s = mean_prefill_tokens_ / mean_prefill_s_;
  if (mean_decode_s_ > 0) load.decode_tokens_per_s = mean_decode_tokens_ / mean_decode_s_;
  load.step_ms = mean_step_s_ * 1e3;
  load.preemptions_total = scheduler_.preemptions_total();
  return load;
}

void EngineCore::PreemptForTest(size_t running_index) {
  const auto& running = scheduler_.state().running;
  if (running_index < running.size()) scheduler_.Preempt(running[running_index]);
}

}  // namespace pingti::worker
