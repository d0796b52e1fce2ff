// The two ends of a Generation that touch the worker's protocol: the sequence that goes up, and the
// outputs that come down. See generation.h.
#include <algorithm>
#include <iterator>
#include <utility>

#include "common/base/strings.h"
#include "router/api/api_error.h"
#include "router/pipeline/generation.h"
#include "router/pipeline/output_grammar.h"

namespace pingti::router {
namespace {

// Codes of REJECTED and ERROR that say "not here, not now" rather than "never".
bool IsTransient(uint32_t code) {
  switch (static_cast<absl::StatusCode>(code)) {
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kAborted:
      return true;
    default:
      return false;
  }
}

absl::Status FromFinish(const Finish& finish) {
  if (finish.reason == Finish::Reason::kDeadline) {
    return ApiError(absl::StatusCode::kDeadlineExceeded, "the request's time is over", "",
                    "timeout");
  }
  const auto code =
      finish.code == 0 ? absl::StatusCode::kInternal : static_cast<absl::StatusCode>(finish.code);
  return ApiError(code, finish.message.empty() ? "the worker failed" : finish.message, "",
                  code == absl::StatusCode::kInvalidArgument ? "invalid_value" : "worker_error");
}

}  // namespace

Sequence Generation::MakeSequence(const Choice& choice) const {
  Sequence sequence;
  sequence.request_id = request_.id;
  sequence.prompt_token_ids = prompts_.token_ids[choice.prompt];
  sequence.generated_token_ids = choice.generated;
  sequence.priority = request_.params.priority;
  const auto left =
      std::chrono::duration_cast<std::chrono::milliseconds>(Deadline() - context_->clock->Now());
  sequence.deadline_ms = static_cast<uint32_t>(std::clamp<int64_t>(left.count(), 1, UINT32_MAX));
  sequence.cache_salt = request_.tenant;
  sequence.adapter = model_->adapter;
  sequence.speculation = request_.params.speculation;
  sequence.output_interval = OutputInterval(choice);
  sequence.sampling = MakeSampling(choice);
  sequence.stop = MakeStop(choice);
  sequence.grammar = prompts_.grammar;
  if (request_.params.logprobs) {
    sequence.logprobs =
        LogprobParams{request_.params.top_logprobs, request_.echo && choice.generated.empty()};
  } else if (drawn_ != nullptr) {
    sequence.logprobs.emplace();  // answers are compared by them
  }
  return sequence;
}

std::chrono::milliseconds Generation::OutputInterval(const Choice& choice) const {
  // Where this router finds the end, in tokens that it has read, the worker would compute beyond it
  // while it holds them. A search says nothing until it is over.
  const bool ends_here = choice.stream->may_end() || request_.thinking_budget.has_value();
  if (ends_here || request_.params.beams() > 1) return std::chrono::milliseconds(0);
  // Nobody sees the tokens of an answer that is not streamed before its end. They are what another
  // worker resumes it with, and its key's turns in the queue are counted by them.
  constexpr std::chrono::milliseconds kWhole{200};
  const std::chrono::milliseconds streamed = context_->options.stream_interval;
  return request_.stream ? streamed : std::max(streamed, kWhole);
}

SamplingParams Generation::MakeSampling(const Choice& choice) const {
  const GenerationParams& params = request_.params;
  const auto pick = [](std::optional<double> asked, std::optional<float> model, double api) {
    return static_cast<float>(asked.value_or(model.has_value() ? *model : api));
  };
  SamplingParams sampling;
  sampling.temperature = pick(params.temperature, model_->temperature, 1);
  sampling.top_p = pick(params.top_p, model_->top_p, 1);
  sampling.min_p = pick(params.min_p, model_->min_p, 0);
  sampling.repetition_penalty = pick(params.repetition_penalty, model_->repetition_penalty, 1);
  sampling.top_k = params.top_k.value_or(model_->top_k.value_or(0));
  sampling.presence_penalty = static_cast<float>(params.presence_penalty);
  sampling.frequency_penalty = static_cast<float>(params.frequency_penalty);
  sampling.seed = choice.seed;
  sampling.logit_bias = params.logit_bias;
  if (params.beams() > 1) {
    sampling.temperature = 0;  // the model's own is for what is drawn
    sampling.n = params.n;
    sampling.beam = MakeBeams();
  }
  return sampling;
}

uint32_t Generation::MaxTokens(const Choice& choice) const {
  if (!request_.params.max_tokens.has_value()) return 0;
  const size_t left = model_->max_context_tokens - prompts_.token_ids[choice.prompt].size();
  return static_cast<uint32_t>(std::min<size_t>(*request_.params.max_tokens, left));
}

StopCriteria Generation::MakeStop(const Choice& choice) const {
  const GenerationParams& params = request_.params;
  StopCriteria stop;
  // A worker scores a prompt on its way to the first token, which is then left out.
  stop.max_tokens = scores_only() ? 1 : MaxTokens(choice);
  stop.min_tokens =
      stop.max_tokens == 0 ? params.min_tokens : std::min(params.min_tokens, stop.max_tokens);
  stop.stop_token_ids = params.stop_token_ids;
  if (request_.suffix.has_value()) {
    for (const text::TokenId id : model_->fim->stops) {
      stop.stop_token_ids.push_back(static_cast<uint32_t>(id));
    }
  }
  stop.ignore_eos = params.ignore_eos;
  if (params.beams() > 1) stop.stop_texts = params.stop;
  return stop;
}

void Generation::CountAnswer(Choice* choice, bool at_end) {
  constexpr uint32_t kStep = 64;  // tokens between two calls: they take the queue's lock
  const auto tokens = static_cast<uint32_t>(choice->generated.size());
  if (tokens == choice->counted_tokens) return;
  if (!at_end && tokens < choice->counted_tokens + kStep) return;
  const double more = static_cast<double>(tokens) - choice->counted_tokens;
  context_->dispatcher->CountAnswer(request_.line(), request_.weight, more);
  choice->counted_tokens = tokens;
}

void Generation::Handle(Output&& event) {
  if (!IsCurrent(event.choice, event.attempt)) return;
  if (request_.params.beams() > 1) return TakeBeams(event.choice, std::move(event.output));
  Choice& choice = choices_[event.choice];
  SequenceOutput& output = event.output;
  const bool has_finish = output.finish.has_value();
  ChoiceDelta delta = std::exchange(choice.held, {});
  delta.index = static_cast<uint32_t>(event.choice);
  // A long prompt's come in several outputs, the first of them without tokens.
  std::move(output.prompt_logprobs.begin(), output.prompt_logprobs.end(),
            std::back_inserter(choice.prompt_scores));
  if (!output.token_ids.empty()) {
    if (!std::exchange(choice.started, true)) ticket_->OnSequenceStarted();
    choice.cached_prompt_tokens =
        std::max(choice.cached_prompt_tokens, output.cached_prompt_tokens);
    if (!choice.echoed) Echo(&choice, &delta);
    if (scores_only()) return FinishScored(&choice, has_finish, std::move(delta));
    RecordTokens(event.choice, output.token_ids.size());
    const After after = PushTokens(&choice, output, &delta);
    CountAnswer(&choice, /*at_end=*/false);
    if (after != After::kGoOn && !has_finish) {
      context_->dispatcher->CancelPlaced(choice.worker, choice.sequence_id);
    }
    if (after == After::kThoughtOver) return EndThought(event.choice, std::move(delta));
    if (after == After::kAnswerOver) {
      FinishChoice(&choice, FinishReason::kStop, &delta);
      return Send(std::move(delta));
    }
  }
  if (!has_finish) return Send(std::move(delta));
  switch (output.finish->reason) {
    case Finish::Reason::kStopToken:
      FinishChoice(&choice, FinishReason::kStop, &delta);
      break;
    case Finish::Reason::kContextFull:
      if (GoOnAtLargerWorker(event.choice, &delta)) return;
      [[fallthrough]];
    case Finish::Reason::kMaxTokens:
      FinishChoice(&choice, FinishReason::kLength, &delta);
      break;
    default:
      Send(std::move(delta));
      if (!done()) HandleAbnormalEnd(event.choice, *output.finish);
      return;
  }
  Send(std::move(delta));
}

uint32_t Generation::ContextTokens(const Choice& choice) const {
  const size_t next = choice.generated.size() + 1;
  const size_t output = std::max<size_t>(next, MaxTokens(choice));
  return static_cast<uint32_t>(prompts_.token_ids[choice.prompt].size() + output);
}

bool Generation::GoOnAtLargerWorker(size_t index, ChoiceDelta* delta) {
  Choice& choice = choices_[index];
  if (!context_->dispatcher->HasWorkerFor(model_->fingerprint, ContextTokens(choice))) return false;
  choice.state = Choice::State::kFinished;  // at that worker
  choice.attempt = 0;
  Send(std::move(*delta));
  if (done()) return true;
  Resume(index, /*orderly=*/true, absl::UnavailableError("the worker's context is full"));
  return true;
}

void Generation::FinishScored(Choice* choice, bool at_end, ChoiceDelta delta) {
  if (!at_end) context_->dispatcher->CancelPlaced(choice->worker, choice->sequence_id);
  FinishChoice(choice, FinishReason::kLength, &delta);
  Send(std::move(delta));
}

Generation::After Generation::PushTokens(Choice* choice, const SequenceOutput& output,
                                         ChoiceDelta* delta) {
  const size_t index = delta->index;
  const size_t num_tokens = output.token_ids.size();
  const bool ends_with_stop =
      output.finish.has_value() && output.finish->reason == Finish::Reason::kStopToken;
  for (size_t i = 0; i < num_tokens; ++i) {
    choice->generated.push_back(output.token_ids[i]);
    const bool is_last = i + 1 == num_tokens;
    const TokenScores* logprobs = i < output.logprobs.size() ? &output.logprobs[i] : nullptr;
    if (drawn_ != nullptr && logprobs != nullptr) drawn_->AddLogprob(index, logprobs->logprob);
    if (!request_.params.logprobs) logprobs = nullptr;
    if (ends_with_stop && is_last) {
      choice->stream->PushStopToken();
      continue;
    }
    if (choice->stream->Push(output.token_ids[i], logprobs, delta)) return After::kAnswerOver;
    const bool is_over = output.finish.has_value() && is_last;
    if (!is_over && HasThoughtEnough(*choice)) return After::kThoughtOver;
  }
  return After::kGoOn;
}

bool Generation::HasThoughtEnough(const Choice& choice) const {
  return request_.thinking_budget.has_value() && choice.stream->thinking() &&
         choice.stream->reasoning_tokens() >= *request_.thinking_budget;
}

void Generation::EndThought(size_t index, ChoiceDelta delta) {
  Choice& choice = choices_[index];
  choice.state = Choice::State::kFinished;
  choice.attempt = 0;
  const std::string_view end = ThoughtEnd(*model_, request_);
  std::vector<text::TokenId> ids;
  if (const std::optional<text::TokenId> id = model_->tokenizer->FindToken(end)) {
    ids.push_back(*id);
  } else if (!model_->tokenizer->Encode(end, {.add_special_tokens = false}, &ids).ok()) {
    return Fail(ApiError(absl::StatusCode::kInternal, "the thought could not be ended", "", ""));
  }
  for (const text::TokenId id : ids) {
    choice.generated.push_back(static_cast<uint32_t>(id));
    choice.stream->Push(static_cast<uint32_t>(id), nullptr, &delta);
  }
  const uint32_t most = MaxTokens(choice);
  if (most > 0 && choice.generated.size() >= most) {
    FinishChoice(&choice, FinishReason::kLength, &delta);
    return Send(std::move(delta));
  }
  Send(std::move(delta));
  if (!done()) SubmitChoice(index);
}

void Generation::RecordTokens(size_t index, size_t num_tokens) {
  Choice& choice = choices_[index];
  const bool is_first = choice.generated.empty();
  life_->Tokens({now_, index, num_tokens,
                 is_first ? std::nullopt : std::optional<TimePoint>(choice.last_token)});
  choice.last_token = now_;
  choice.failures = choice.hand_backs = 0;
}

void Generation::Echo(Choice* choice, ChoiceDelta* delta) {
  choice->echoed = true;
  const std::vector<TokenScores> scores = std::move(choice->prompt_scores);
  if (!request_.echo) return;
  const std::vector<uint32_t>& prompt = prompts_.token_ids[choice->prompt];
  text::Detokenizer detokenizer(model_->tokenizer.get(), /*skip_special_tokens=*/true);
  for (size_t i = 0; i < prompt.size(); ++i) {
    if (request_.params.logprobs) {
      TokenLogprob entry;
      entry.bytes = model_->tokenizer->TokenBytes(static_cast<text::TokenId>(prompt[i]));
      entry.text_offset = delta->content.size();
      entry.has_logprob = i > 0 && i < scores.size();
      if (entry.has_logprob) {
        const TokenScores& given = scores[i];
        entry.logprob = given.logprob;
        for (const ScoredToken& top : given.top) {
          entry.top.push_back(
              {std::string(model_->tokenizer->TokenBytes(static_cast<text::TokenId>(top.token_id))),
               top.logprob});
        }
      }
      delta->logprobs.push_back(std::move(entry));
    }
    delta->content += detokenizer.Push(static_cast<text::TokenId>(prompt[i]));
  }
  delta->content += detokenizer.Finish();
  choice->stream->SetTextOffset(delta->content.size());
}

void Generation::FinishChoice(Choice* choice, FinishReason reason, ChoiceDelta* delta) {
  CountAnswer(choice, /*at_end=*/true);
  choice->stream->Finish(reason, delta);
  choice->state = Choice::State::kFinished;
  choice->attempt = 0;
  --unfinished_;
}

void Generation::HandleAbnormalEnd(size_t index, const Finish& finish) {
  Choice& choice = choices_[index];
  const bool transient =
      finish.reason == Finish::Reason::kPreempted ||
      finish.reason == Finish::Reason::kCancelled ||  // not by us: the attempt would be over
      ((finish.reason == Finish::Reason::kRejected || finish.reason == Finish::Reason::kError) &&
       IsTransient(finish.code));
  choice.state = Choice::State::kFinished;  // at that worker; nothing is left to cancel there
  choice.attempt = 0;
  if (!transient) return Fail(FromFinish(finish));
  choice.excluded.push_back(choice.worker);
  Resume(index, finish.reason == Finish::Reason::kPreempted,
         absl::UnavailableError(Concat(FinishReasonName(finish.reason), " ", finish.message)));
}

void Generation::Send(ChoiceDelta delta) {
  if (drawn_ != nullptr) {
    drawn_->Add(std::move(delta));
  } else if (!delta.empty()) {
    Choice& choice = choices_[delta.index];
    const bool may_wait =
        request_.stream && !choice.worker_holds && delta.finish == FinishReason::kNone;
    if (may_wait && now_ < choice.sent_at + context_->options.stream_interval) {
      choice.held = std::move(delta);
      holds_.store(true, std::memory_order_relaxed);
    } else if (!SendNow(std::move(delta))) {
      return;
    }
  }
  CompleteIfFinished();
}

bool Generation::SendNow(ChoiceDelta delta) {
  choices_[delta.index].sent_at = now_;
  last_sent_.store(now_.time_since_epoch().count(), std::memory_order_relaxed);
  if (sink_->OnDelta(std::move(delta))) return true;
  Handle(Cancelled{absl::CancelledError("the client is gone")});
  return false;
}

void Generation::SendHeld() {
  if (!holds_.exchange(false, std::memory_order_relaxed)) return;
  for (Choice& choice : choices_) {
    if (choice.held.empty()) continue;
    if (now_ < choice.sent_at + context_->options.stream_interval) {
      holds_.store(true, std::memory_order_relaxed);
    } else if (!SendNow(std::exchange(choice.held, {}))) {
      return;
    }
  }
}

}  // namespace pingti::router
