// See engine_core.h: requests on their way in, and the order of a step's phases.
#include "worker/engine/engine_core.h"

#include <algorithm>
#include <utility>

#include "common/base/check.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "worker/backend/backend.h"

namespace pingti::worker {
namespace {

// Reading counts of experts waits for the device, which the end of a step does anyway, and copies
// one number for each expert of each layer.
constexpr std::chrono::seconds kExpertWindow{10};

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
      mask_budget_(options.mask_limits),
      finisher_(&scheduler_, &outputs_, &stats_),
      taker_(&scheduler_, &outputs_, &finisher_, &stats_, limits_.vocab_size),
      beams_(&scheduler_, &outputs_, &finisher_, &stats_, options_.vocabulary.get()),
      pacer_(options.max_step_time),
      speculator_(options.drafts, options.max_drafts, clock),
      adapter_slots_(model),
      batch_(options.budget, limits_.max_context_tokens / options.kv_block_tokens + 1,
             &adapter_slots_) {
  plan_.chunks.reserve(options.budget.max_sequences);
  plan_.preempted.reserve(options.budget.max_sequences);
  copies_.reserve(options.budget.max_sequences);
}

EngineCore::~EngineCore() {
  requests_.ForEach([&](RequestGroup* group) {
    for (auto& sample : group->samples) scheduler_.Remove(&sample->sequence);
  });
}

void EngineCore::OpenSession(SessionId id, std::unique_ptr<SessionSink> sink) {
  outputs_.Open(id, std::move(sink));
  requests_.OpenSession(id);
}

void EngineCore::CloseSession(SessionId id) {
  requests_.ForEachOf(id, [&](RequestGroup* group) {
    ForgetWaiting(group);
    for (auto& sample : group->samples) scheduler_.Remove(&sample->sequence);
    stats_.finished[static_cast<int>(FinishReason::kCancelled)] += 1;
  });
  finisher_.Forget(id);
  requests_.CloseSession(id);
  outputs_.Close(id);
}

bool EngineCore::Submit(SessionId session, Request request) {
  if (!requests_.has_session(session)) return false;  // closed meanwhile
  outputs_.Accept(session, request.sequence_id);
  if (RequestGroup* same = requests_.Find(session, request.sequence_id); same != nullptr) {
    // Outputs of the two could not be told apart, so both end, in one answer.
    finisher_.FinishRequest(same, FinishReason::kError,
                            absl::AlreadyExistsError(Concat("sequence_id ", request.sequence_id,
                                                            " came twice: expected a new one")));
    return false;
  }
  absl::Status status = ValidateRequest(request, limits_);
  if (status.ok() && static_cast<int32_t>(scheduler_.state().waiting.size() + awaiting_.size() +
                                          replays_.size()) >= options_.max_waiting_sequences) {
    status = absl::ResourceExhaustedError(Concat(
        "the queue is full: ", options_.max_waiting_sequences, " sequences wait at this worker"));
  }
  if (!status.ok()) {
    Reject(session, request, std::move(status));
    return false;
  }

  RequestGroup* group = requests_.Add(std::make_unique<RequestGroup>(
      std::move(request), session, next_order_++, limits_, options_.kv_block_tokens));
  if (!device_.ok()) {
    finisher_.FinishRequest(group, FinishReason::kPreempted, device_);
    return false;
  }
  group->awaits_grammar = group->request.grammar.has_value();
  group->awaits_adapter = !group->request.adapter_id.empty();
  if (group->awaits_grammar || group->awaits_adapter) {
    awaiting_.insert(group);
  } else {
    Enqueue(group);
  }
  return group->awaits_grammar;
}

void EngineCore::GoOn(RequestGroup* group) {
  if (group->awaits_grammar || group->awaits_adapter) return;
  awaiting_.erase(group);
  if (group->samples[0]->grammar != nullptr) {
    replays_.push_back({group, 0});
  } else {
    Enqueue(group);
  }
}

void EngineCore::GiveUp(RequestGroup* group, const absl::Status& why) {
  awaiting_.erase(group);
  finisher_.FinishRequest(group, FinishReason::kRejected, why);
}

void EngineCore::Reject(SessionId session, const Request& request, absl::Status status) {
  LogInfo("request rejected", {{"request_id", request.request_id}, {"reason", status.ToString()}});
  Finish finish;
  finish.reason = FinishReason::kRejected;
  finish.status = std::move(status);
  finish.usage.prompt_tokens = static_cast<int32_t>(request.prompt_token_ids.size());
  outputs_.Add(session, request.sequence_id)->finish = std::move(finish);
  stats_.finished[static_cast<int>(FinishReason::kRejected)] += 1;
}

void EngineCore::SetGrammar(SessionId session, uint64_t sequence_id,
                            absl::StatusOr<std::shared_ptr<grammar::CompiledGrammar>> compiled) {
  RequestGroup* group = requests_.Find(session, sequence_id);
  if (group == nullptr || group->done || !group->awaits_grammar) return;
  if (!compiled.ok()) return GiveUp(group, compiled.status());
  group->awaits_grammar = false;
  group->samples[0]->grammar = std::make_unique<GrammarState>(*std::move(compiled));
  GoOn(group);
}

void EngineCore::SetAdapter(SessionId session, uint64_t sequence_id,
                            absl::StatusOr<AdapterPtr> adapter) {
  RequestGroup* group = requests_.Find(session, sequence_id);
  if (group == nullptr || group->done || !group->awaits_adapter) return;
  if (!adapter.ok()) return GiveUp(group, adapter.status());
  group->TakeAdapter(*std::move(adapter));
  GoOn(group);
}

bool EngineCore::AdvanceReplays() {
  const bool any = !replays_.empty();
  while (!replays_.empty() && mask_budget_.has_left()) {
    Replay& replay = replays_.front();
    RequestGroup* group = replay.group;
    if (group->done) {
      replays_.pop_front();
      continue;
    }
    const std::vector<int32_t>& tokens = group->request.generated_token_ids;
    GrammarState& grammar = *group->samples[0]->grammar;
    const int64_t before = grammar.work();
    const absl::Status status = grammar.Replay(tokens, options_.mask_limits.most, &replay.next);
    mask_budget_.Spend(grammar.work() - before);
    if (status.ok() && replay.next < tokens.size()) continue;
    replays_.pop_front();
    if (status.ok()) {
      Enqueue(group);
    } else {
      finisher_.FinishRequest(group, FinishReason::kRejected, status);
    }
  }
  return any;
}

void EngineCore::ForgetWaiting(RequestGroup* group) {
  awaiting_.erase(group);
  std::erase_if(replays_, [&](const Replay& replay) { return replay.group == group; });
}

void EngineCore::Enqueue(RequestGroup* group) {
  Sample* first = group->samples[0].get();
  Sequence& sequence = first->sequence;
  if (!group->request.generated_token_ids.empty()) {
    if (std::optional<Finish> finish = group->CheckFinished(*first, sequence.tokens.back())) {
      // Resumed after its very last token.
      return finisher_.FinishSample(group, first, *std::move(finish));
    }
  }
  sequence.num_uncached_estimate =
      sequence.target() - Scheduler::CountCachedBlocks(cache_, sequence) * options_.kv_block_tokens;
  scheduler_.Add(&sequence);
}

void EngineCore::Cancel(SessionId session, std::span<const uint64_t> sequence_ids) {
  for (const uint64_t id : sequence_ids) {
    RequestGroup* group = requests_.Find(session, id);
    if (group == nullptr) continue;
    finisher_.FinishRequest(group, FinishReason::kCancelled, absl::OkStatus());
  }
}

void EngineCore::GiveBackAll(const absl::Status& why) {
  requests_.ForEach(
      [&](RequestGroup* group) { finisher_.FinishRequest(group, FinishReason::kPreempted, why); });
}

bool EngineCore::Step() {
  const TimePoint begin = clock_->Now();
  const SchedulerState& queues = scheduler_.state();
  mask_budget_.BeginStep(queues.running.size() + queues.waiting.size() + replays_.size() <= 1);
  const bool replayed = AdvanceReplays();
  StepBudget budget = options_.budget;
  budget.max_adapters = model_->num_adapter_slots();
  budget.max_prefill_tokens = pacer_.max_prefill_tokens();
  speculator_.Propose(queues.running, budget, &stats_);
  Scheduler::Plan(scheduler_.state(), budget, begin, &plan_);
  const bool has_batch = !plan_.chunks.empty();
  if (plan_.changes_anything()) {
    copies_.clear();
    scheduler_.Apply(plan_, &copies_);
    for (Sequence* sequence : plan_.expired) {
      finisher_.FinishRequest(sequence->group, FinishReason::kDeadline, absl::OkStatus());
    }
  }
  if (has_batch) {
    ++step_;
    NoteAdmissions();
    const absl::Status status = RunModel();
    if (status.ok()) {
      consecutive_failures_ = 0;
      TakeResults();
    } else {
      HandleFailedStep(status);
    }
  }
  const bool progressed = replayed || plan_.changes_anything() || !finisher_.retired().empty();
  EraseRetired();
  if (has_batch) {
    stats_.duration = clock_->Now() - begin;
    rates_.Add(stats_);
    pacer_.Add(stats_);
    speculator_.Add(stats_);
  }
  Publish();
  return progressed;
}

void EngineCore::NoteAdmissions() {
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

absl::Status EngineCore::RunModel() {
  PINGTI_RETURN_IF_ERROR(adapter_slots_.Load(plan_, &stats_));
  batch_.Build(plan_, copies_);
  PINGTI_RETURN_IF_ERROR(model_->Forward(batch_.forward(), batch_.copies()));
  // While a device still computes.
  batch_.FillGrammarMasks(&mask_budget_);
  if (batch_.draws_anything()) {
    PINGTI_RETURN_IF_ERROR(model_->Sample(batch_.sampling_rows(), batch_.sampled()));
  }
  if (!batch_.logprob_requests().empty()) {
    PINGTI_RETURN_IF_ERROR(model_->Logprobs(batch_.logprob_requests(), batch_.logprob_results()));
  }
  return NoteExpertImbalance();
}

absl::Status EngineCore::NoteExpertImbalance() {
  const TimePoint now = clock_->Now();
  if (now < next_look_at_experts_) return absl::OkStatus();
  next_look_at_experts_ = now + kExpertWindow;
  PINGTI_ASSIGN_OR_RETURN(stats_.expert_imbalance, model_->TakeExpertImbalance());
  return absl::OkStatus();
}

void EngineCore::TakeResults() {
  for (size_t i = 0; i < plan_.chunks.size(); ++i) TakeChunk(i);
  speculator_.AfterStep(plan_, batch_.forward(), &stats_);
  // Replaces sequences: no chunk may be looked at after this.
  beams_.AdvanceAll();
}

void EngineCore::TakeChunk(size_t index) {
  const PlannedChunk& chunk = plan_.chunks[index];
  Sequence* sequence = chunk.sequence;
  RequestGroup* group = sequence->group;
  if (sequence->row_per_token) {
    group->TakePromptLogprobs(sequence->num_computed, batch_.prompt_logprobs(index));
    sequence->row_per_token = sequence->num_computed + chunk.num_tokens < group->num_prompt() - 1;
  }
  // A beam that an earlier chunk of its group ended is not in the queues any more.
  if (group->done || sequence->state != Sequence::State::kRunning) return;
  const std::span<SampledToken> drawn = batch_.drawn(index);
  const int32_t num_rows = batch_.num_rows(index);
  if (num_rows > 0 && drawn.empty()) return taker_.PutOff(chunk, num_rows);
  if (!drawn.empty() && group->first_token == TimePoint::max()) {
    group->first_token = clock_->Now();
  }
  if (!drawn.empty() && group->beam == nullptr) {
    PlannedChunk taken = chunk;
    taken.num_tokens -= num_rows - static_cast<int32_t>(drawn.size());
    Sample* sample = group->samples[sequence->index].get();
    const int32_t num_output = sample->num_output;
    taker_.Take(taken, drawn, batch_.mask_status(index));
    // One token more than drafts that stood; none if the sample failed.
    const int32_t num_accepted = std::max(0, sample->num_output - num_output - 1);
    speculator_.Learn(sample, static_cast<int32_t>(drawn.size()) - 1, num_accepted, &stats_);
    return;
  }
  scheduler_.Commit(sequence, chunk.num_tokens);
  if (drawn.empty()) return;
  Sample* beam = group->samples[sequence->index].get();
  absl::Status status = CheckDrawn(drawn[0], *beam, limits_.vocab_size);
  if (status.ok() && beam->grammar != nullptr) status = batch_.mask_status(index)[0];
  if (!status.ok()) return beams_.Fail(group, status);
  beams_.TakeCandidates(group, beam, &drawn[0]);
}

void EngineCore::HandleFailedStep(const absl::Status& status) {
  ++consecutive_failures_;
  LogError("engine step failed", {{"step", step_}, {"error", status.ToString()}});
  if (IsDeviceLost(status)) {
    device_ = status;
    return GiveBackAll(status);
  }
  for (const PlannedChunk& chunk : plan_.chunks) {
    finisher_.FinishRequest(chunk.sequence->group, FinishReason::kError, status);
  }
}

void EngineCore::EraseRetired() {
  for (RequestGroup* group : finisher_.retired()) {
    ForgetWaiting(group);
    requests_.Erase(group);
  }
  finisher_.ClearRetired();
}

void EngineCore::Publish() {
  outputs_.Publish(step_);
  if (observer_ != nullptr) {
    if (!cache_.events().empty()) observer_->OnCacheEvents(cache_.events());
    observer_->OnStepEnd(stats_, load());
  }
  cache_.ClearEvents();
  stats_ = StepStats();
}

LoadSnapshot EngineCore::load() const {
  LoadSnapshot load;
  load.step = step_;
  load.running_sequences = static_cast<int32_t>(scheduler_.state().running.size());
  for (const Sequence* sequence : scheduler_.state().waiting) {
    load.waiting_sequences += sequence->num_places;
    load.waiting_uncached_tokens += sequence->num_uncached_estimate;
  }
  for (const Sequence* sequence : scheduler_.state().running) {
    if (!sequence->decodes()) load.waiting_uncached_tokens += std::max(0, sequence->pending());
  }
  const BlockPool& pool = cache_.pool();
  load.kv_total_blocks = pool.total();
  load.kv_leased_blocks = pool.leased();
  load.kv_cached_blocks = pool.cached();
  load.prefill_tokens_per_s = rates_.prefill_tokens_per_s();
  load.decode_tokens_per_s = rates_.decode_tokens_per_s();
  load.step_ms = rates_.step_ms();
  load.preemptions_total = scheduler_.preemptions_total();
  return load;
}

void EngineCore::PreemptForTest(size_t running_index) {
  const auto& running = scheduler_.state().running;
  if (running_index < running.size()) scheduler_.Preempt(running[running_index]);
}

}  // namespace pingti::worker
