// See generation.h: events and life cycle. generation_output.cc turns outputs into deltas.
#include "router/pipeline/generation.h"

#include <algorithm>
#include <utility>

#include "boost/json.hpp"
#include "common/base/strings.h"
#include "router/api/api_error.h"
#include "router/pipeline/call_syntax.h"
#include "router/pipeline/output_grammar.h"
#include "router/pipeline/tool_call_marks.h"

namespace pingti::router {

using std::chrono::steady_clock;

// One sending of one choice. The dispatcher's queue and the worker's books hold it.
class Generation::Attempt final : public SequenceHandler {
 public:
  Attempt(std::shared_ptr<Generation> generation, size_t choice, uint64_t attempt)
      : generation_(std::move(generation)), choice_(choice), attempt_(attempt) {}

  void OnPlaced(const SequencePlace& place) override {
    generation_->Deliver(Placed{choice_, attempt_, place});
  }
  void OnOutput(SequenceOutput output) override {
    generation_->Deliver(Output{choice_, attempt_, std::move(output)});
  }
  void OnLost(const absl::Status& why) override {
    generation_->Deliver(Lost{choice_, attempt_, why, /*queue_timeout=*/false});
  }
  void OnQueueTimeout() override {
    generation_->Deliver(Lost{choice_, attempt_, absl::OkStatus(), /*queue_timeout=*/true});
  }

 private:
  const std::shared_ptr<Generation> generation_;
  const size_t choice_;
  const uint64_t attempt_;
};

Generation::Generation(const GenerationContext* context, GenerationRequest request,
                       std::shared_ptr<const ServedModel> model, std::shared_ptr<ResponseSink> sink,
                       std::shared_ptr<RequestLife> life)
    : context_(context),
      request_(std::move(request)),
      model_(std::move(model)),
      sink_(std::move(sink)),
      life_(std::move(life)),
      arrived_(context->clock->Now()),
      last_sent_(arrived_.time_since_epoch().count()) {}

void Generation::Start() {
  auto prepare = [self = shared_from_this()] {
    if (self->done()) return;  // the client left while this waited
    self->Deliver(
        Prepared{PreparePrompts(*self->model_, self->request_, self->context_->clock->WallNow())});
  };
  // A grammar is compiled to check it, which may take long however short the request is.
  const bool is_inline = request_.body_bytes <= context_->options.inline_bytes;
  const bool has_grammar = request_.is_constrained() || request_.strict_tools;
  if (!is_inline || !has_grammar) {
    prepare();
  } else if (!context_->pool->TryPost(TaskLength::kLong, prepare)) {
    Deliver(Prepared{PoolFull()});
  }
}

void Generation::Cancel(absl::Status why) { Deliver(Cancelled{std::move(why)}); }

void Generation::Tick() {
  if (done()) return;
  const steady_clock::time_point now = context_->clock->Now();
  const steady_clock::time_point last{
      steady_clock::duration(last_sent_.load(std::memory_order_relaxed))};
  const bool quiet = now - last >= context_->options.keep_alive;
  if (now < Deadline() && !quiet && !holds_.load(std::memory_order_relaxed)) return;
  Deliver(Ticked{});
}

steady_clock::time_point Generation::Deadline() const {
  const steady_clock::time_point own = arrived_ + context_->options.request_timeout;
  return std::min(own, request_.deadline.value_or(own));
}

void Generation::Deliver(Event&& event) {
  mailbox_.Deliver(std::move(event), [this](Event&& next) {
    now_ = context_->clock->Now();
    std::visit([this](auto&& one) { Handle(std::move(one)); }, std::move(next));
  });
}

void Generation::Handle(Prepared&& event) {
  if (done()) return;
  if (!event.prompts.ok()) return Fail(event.prompts.status());
  prompts_ = *std::move(event.prompts);
  life_->Tokenized(prompts_.num_tokens());
  // The beams of a search share their prompt.
  const bool has_beams = request_.params.beams() > 1;
  absl::StatusOr<std::unique_ptr<AdmissionController::Ticket>> ticket = context_->admission->Admit(
      {.tenant = request_.tenant,
       .network = request_.network,
       .priority = request_.params.priority,
       .sequences = request_.num_sequences(),
       .tokens = prompts_.num_tokens() * (has_beams ? 1 : request_.params.width()),
       .answer_tokens = ExpectedAnswerTokens()},
      [generation = weak_from_this()](const absl::Status& why) {
        const std::shared_ptr<Generation> self = generation.lock();
        if (self != nullptr) self->Deliver(Displaced{why});
      });
  if (!ticket.ok()) return Fail(ticket.status());
  ticket_ = *std::move(ticket);
  life_->SetFirstTokenObjective(ticket_->first_token_objective());
  MakeChoices();
  for (size_t i = 0; i < choices_.size() && !done(); ++i) {
    if (has_beams && i % request_.params.n != 0) {
      choices_[i].state = Choice::State::kFinished;  // the prompt's first stands for it
      continue;
    }
    if (HasThoughtEnough(choices_[i])) {
      EndThought(i, {.index = static_cast<uint32_t>(i)});
    } else {
      SubmitChoice(i);
    }
  }
}

uint64_t Generation::ExpectedAnswerTokens() const {
  // Clients often allow far more than they get: more than this is counted once it has come.
  constexpr uint32_t kMost = 256;
  const uint32_t each = std::min(request_.params.max_tokens.value_or(kMost), kMost);
  return each * request_.num_sequences();
}

void Generation::ReturnTicket() {
  if (ticket_ == nullptr) return;
  uint64_t tokens = 0;
  for (const Choice& choice : choices_) tokens += choice.stream->num_tokens();
  ticket_->SetOutputTokens(tokens);
  ticket_ = nullptr;
}

void Generation::MakeChoices() {
  uint64_t seed = 0;
  if (request_.params.seed.has_value()) {
    seed = *request_.params.seed;
  } else {
    std::array<uint8_t, sizeof(seed)> bytes;
    context_->entropy->Fill(bytes);
    std::copy(bytes.begin(), bytes.end(), reinterpret_cast<uint8_t*>(&seed));
  }
  if (!request_.params.stop.empty()) stops_.emplace(request_.params.stop);
  const GenerationParams& params = request_.params;
  const uint32_t per_prompt = params.beams() > 1 ? params.n : params.width();
  if (per_prompt > params.n) {
    drawn_ = std::make_unique<DrawnAnswers>(request_.num_prompts(), per_prompt);
  }
  choices_.resize(request_.num_prompts() * per_prompt);
  unfinished_ = choices_.size();
  for (size_t i = 0; i < choices_.size(); ++i) {
    Choice& choice = choices_[i];
    choice.prompt = i / per_prompt;
    // Sample 0 has the client's own seed; the odd constant (2^64 / golden ratio) keeps others
    // apart.
    choice.seed = seed + (i % per_prompt) * 0x9e3779b97f4a7c15u;
    choice.stream = std::make_unique<ChoiceStream>(
        model_.get(), stops_.has_value() ? &*stops_ : nullptr, StreamOptions());
  }
}

ChoiceStream::Options Generation::StreamOptions() const {
  ChoiceStream::Options options;
  options.include_stop = request_.params.include_stop;
  if (request_.kind != GenerationRequest::Kind::kChat) return options;
  // A constrained answer has no room for reasoning, unless its grammar says so.
  options.split_reasoning = !request_.is_constrained() || ThinksBeforeGrammar(*model_, request_);
  options.reasoning_open = prompts_.reasoning_open;
  const auto new_id = [entropy = context_->entropy] { return RandomId("call_", entropy); };
  const ToolCallFormat calls =
      request_.parse_tool_calls ? model_->tool_calls : ToolCallFormat::kNone;
  for (const std::string_view mark : SpecialMarks(*model_, calls)) {
    options.marks.push_back(*model_->tokenizer->FindToken(mark));
    options.marks_are_tokens =
        options.marks_are_tokens || (options.split_reasoning && mark == kHarmonyMessage);
  }
  // A custom tool's text is taken out of arguments that are whole.
  const bool passes_on = request_.require_tool_call && request_.custom_tools.empty();
  if (passes_on) {
    options.tool_calls =
        std::make_unique<HeldToolCalls>(ForcedCallFrames(*model_, request_), new_id);
    return options;
  }
  const ToolCallFormat written = request_.require_tool_call ? ForcedCallFormat(*model_) : calls;
  if (request_.parse_tool_calls) {
    options.tool_calls =
        MakeToolCallParser(written, {.tools = &request_.template_context->at("tools").get_array(),
                                     .custom_tools = &request_.custom_tools,
                                     .most_calls = request_.parallel_tool_calls ? SIZE_MAX : 1,
                                     .new_id = new_id});
  }
  options.call_mark = CallMark(calls);
  // Harmony's call ends a turn, by a token that not every file of such a model calls an end.
  options.ends_with_call = !request_.parallel_tool_calls || written == ToolCallFormat::kHarmony;
  return options;
}

void Generation::SubmitChoice(size_t index) {
  Choice& choice = choices_[index];
  choice.state = Choice::State::kQueued;
  choice.attempt = next_attempt_++;
  choice.prompt_scores.clear();
  if (request_.params.beams() > 1) choice.beams.assign(request_.params.n, {});
  choice.worker = 0;
  choice.job_id = context_->dispatcher->NextJobId();
  choice.queued_at = context_->clock->Now();
  life_->Queued({choice.queued_at, index});
  SequenceJob job;
  job.id = choice.job_id;
  job.fingerprint = model_->fingerprint;
  job.line = request_.line();
  job.weight = request_.weight;
  job.sequence = MakeSequence(choice);
  job.handler = std::make_shared<Attempt>(shared_from_this(), index, choice.attempt);
  job.excluded_workers = choice.excluded;
  job.priority = request_.params.priority;
  // A search that begins again was paid for, too.
  job.resumed = !choice.generated.empty() || (request_.params.beams() > 1 && choice.started);
  job.tokens =
      static_cast<uint32_t>(prompts_.token_ids[choice.prompt].size() + choice.generated.size());
  job.context_tokens = ContextTokens(choice);
  job.block_hashes = prompts_.block_hashes[choice.prompt];
  job.affinity_hint = request_.affinity_hint;
  job.queued_at = choice.queued_at;
  if (!job.resumed) choice.counted_tokens = job.expected_answer();
  job.give_up_at = std::min(choice.queued_at + context_->options.queue_timeout, Deadline());
  context_->dispatcher->Submit(std::move(job));
}

bool Generation::IsCurrent(size_t choice, uint64_t attempt) const {
  return !done() && choices_[choice].attempt == attempt;
}

void Generation::Handle(Placed&& event) {
  if (!IsCurrent(event.choice, event.attempt)) {
    context_->dispatcher->CancelPlaced(event.place.worker, event.place.sequence_id);
    return;
  }
  Choice& choice = choices_[event.choice];
  choice.state = Choice::State::kPlaced;
  choice.worker = event.place.worker;
  choice.sequence_id = event.place.sequence_id;
  choice.worker_holds = event.place.holds_outputs && OutputInterval(choice).count() > 0;
  life_->Placed(
      {context_->clock->Now(), event.choice, event.place.worker_address, choice.queued_at});
}

void Generation::Handle(Lost&& event) {
  if (!IsCurrent(event.choice, event.attempt)) return;
  if (!event.queue_timeout) return Resume(event.choice, /*orderly=*/false, event.why);
  Fail(WithRetryAfter(ApiError(absl::StatusCode::kUnavailable,
                               Concat("no worker of model '", model_->id, "' had room within ",
                                      context_->options.queue_timeout.count(), " ms"),
                               "", "queue_timeout"),
                      5));
}

void Generation::Resume(size_t index, bool orderly, const absl::Status& why) {
  // A rolling restart may hand a long answer back many times. The bound only ends a circle.
  constexpr int kMaxHandBacks = 100;
  Choice& choice = choices_[index];
  ++(orderly ? choice.hand_backs : choice.failures);
  if (choice.failures >= context_->options.max_attempts || choice.hand_backs >= kMaxHandBacks) {
    Fail(ApiError(absl::StatusCode::kUnavailable,
                  Concat("the request failed on ", choice.failures + choice.hand_backs,
                         " workers, the last time with: ", std::string(why.message())),
                  "", "worker_unavailable"));
    return;
  }
  life_->Resumed({.at = context_->clock->Now(),
                  .choice = index,
                  .tokens_so_far = choice.generated.size(),
                  .from_prompt = request_.params.beams() > 1,
                  .why = why});
  SubmitChoice(index);
}

void Generation::Handle(Displaced&& event) {
  if (!done() && ticket_->displaced()) Fail(event.why);
}

void Generation::Handle(Cancelled&& event) {
  if (done()) return;
  Fail(event.why);
}

void Generation::Handle(Ticked&&) {
  if (done()) return;
  if (now_ >= Deadline()) {
    Fail(
        ApiError(absl::StatusCode::kDeadlineExceeded, "the request's time is over", "", "timeout"));
    return;
  }
  SendHeld();
  const steady_clock::time_point last{
      steady_clock::duration(last_sent_.load(std::memory_order_relaxed))};
  if (done() || now_ - last < context_->options.keep_alive) return;
  last_sent_.store(now_.time_since_epoch().count(), std::memory_order_relaxed);
  sink_->OnKeepAlive();
}

void Generation::CancelAtWorkers() {
  // First: what waits would else take the places that the others leave.
  for (const Choice& choice : choices_) {
    if (choice.state == Choice::State::kQueued) context_->dispatcher->CancelQueued(choice.job_id);
  }
  for (Choice& choice : choices_) {
    if (choice.state == Choice::State::kPlaced) {
      context_->dispatcher->CancelPlaced(choice.worker, choice.sequence_id);
    }
    choice.state = Choice::State::kFinished;
    choice.attempt = 0;
  }
}

void Generation::Fail(const absl::Status& status) {
  CancelAtWorkers();
  done_.store(true, std::memory_order_release);
  ReturnTicket();
  life_->End(status);
  for (Choice& choice : choices_) {
    if (!choice.held.empty()) sink_->OnDelta(std::move(choice.held));
  }
  sink_->OnError(status);
}

bool Generation::SendDrawn() {
  for (ChoiceDelta& delta : drawn_->TakeBest(request_.params.n)) {
    if (!sink_->OnDelta(std::move(delta))) return false;
  }
  return true;
}

void Generation::CompleteIfFinished() {
  if (unfinished_ > 0 || done()) return;
  if (drawn_ != nullptr && !SendDrawn()) {
    return Handle(Cancelled{absl::CancelledError("the client is gone")});
  }
  UsageCounts usage;
  for (const std::vector<uint32_t>& ids : prompts_.token_ids) {
    usage.prompt_tokens += static_cast<uint32_t>(ids.size());
  }
  std::vector<uint32_t> cached(prompts_.token_ids.size(), 0);
  for (const Choice& choice : choices_) {
    usage.completion_tokens += choice.stream->num_tokens();
    usage.reasoning_tokens += choice.stream->reasoning_tokens();
    cached[choice.prompt] = std::max(cached[choice.prompt], choice.cached_prompt_tokens);
  }
  for (const uint32_t tokens : cached) usage.cached_prompt_tokens += tokens;
  usage.cached_prompt_tokens = std::min(usage.cached_prompt_tokens, usage.prompt_tokens);
  done_.store(true, std::memory_order_release);
  ReturnTicket();
  life_->End(absl::OkStatus(), usage);
  sink_->OnDone(usage);
}

}  // namespace pingti::router
