// The two ends of a Generation that touch the worker's protocol: the sequence that goes up, and the
// outputs that come down. See generation.h.
#include <algorithm>
#include <utility>

#include "common/base/strings.h"
#include "router/api/api_error.h"
#include "router/pipeline/generation.h"

namespace pingti::router {
namespace {

using worker::v1::Finish;

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
  if (finish.reason() == Finish::REASON_DEADLINE) {
    return ApiError(absl::StatusCode::kDeadlineExceeded, "the request's time is over", "",
                    "timeout");
  }
  const auto code = finish.code() == 0 ? absl::StatusCode::kInternal
                                       : static_cast<absl::StatusCode>(finish.code());
  return ApiError(code, finish.message().empty() ? "the worker failed" : finish.message(), "",
                  code == absl::StatusCode::kInvalidArgument ? "invalid_value" : "worker_error");
}

void FillGrammar(const grammar::GrammarSource& source, worker::v1::Grammar* message) {
  switch (source.kind) {
    case grammar::GrammarSource::Kind::kJsonSchema:
      return message->set_json_schema(source.text);
    case grammar::GrammarSource::Kind::kJsonObject:
      return message->set_json_object(true);
    case grammar::GrammarSource::Kind::kRegex:
      return message->set_regex(source.text);
    case grammar::GrammarSource::Kind::kEbnf:
      return message->set_ebnf(source.text);
    case grammar::GrammarSource::Kind::kToolCalls:
      return message->set_tool_calls(source.text);
  }
}

}  // namespace

std::unique_ptr<worker::v1::Sequence> Generation::MakeSequence(const Choice& choice) const {
  auto sequence = std::make_unique<worker::v1::Sequence>();
  sequence->set_request_id(request_.id);
  const std::vector<uint32_t>& prompt = prompts_.token_ids[choice.prompt];
  sequence->mutable_prompt_token_ids()->Assign(prompt.begin(), prompt.end());
  sequence->mutable_generated_token_ids()->Assign(choice.generated.begin(), choice.generated.end());
  sequence->set_priority(request_.params.priority);
  const auto left =
      std::chrono::duration_cast<std::chrono::milliseconds>(Deadline() - context_->clock->Now());
  sequence->set_deadline_ms(
      static_cast<uint32_t>(std::clamp<int64_t>(left.count(), 1, UINT32_MAX)));
  if (!request_.tenant.empty()) sequence->set_cache_salt(request_.tenant);
  FillSampling(choice, sequence.get());
  if (prompts_.grammar.has_value()) FillGrammar(*prompts_.grammar, sequence->mutable_grammar());
  return sequence;
}

void Generation::FillSampling(const Choice& choice, worker::v1::Sequence* sequence) const {
  const GenerationParams& params = request_.params;
  const auto pick = [](std::optional<double> asked, std::optional<float> model, double api) {
    return static_cast<float>(asked.value_or(model.has_value() ? *model : api));
  };
  worker::v1::SamplingParams* sampling = sequence->mutable_sampling();
  sampling->set_temperature(pick(params.temperature, model_->temperature, 1));
  sampling->set_top_p(pick(params.top_p, model_->top_p, 1));
  sampling->set_min_p(pick(params.min_p, model_->min_p, 0));
  sampling->set_repetition_penalty(pick(params.repetition_penalty, model_->repetition_penalty, 1));
  sampling->set_top_k(params.top_k.value_or(model_->top_k.value_or(0)));
  sampling->set_presence_penalty(static_cast<float>(params.presence_penalty));
  sampling->set_frequency_penalty(static_cast<float>(params.frequency_penalty));
  sampling->set_seed(choice.seed);
  sampling->set_n(1);  // samples are sequences of their own, so that each can be resumed
  for (const auto& [id, bias] : params.logit_bias) {
    worker::v1::LogitBias* entry = sampling->add_logit_bias();
    entry->set_token_id(id);
    entry->set_bias(bias);
  }
  worker::v1::StopCriteria* stop = sequence->mutable_stop();
  // A worker scores a prompt on its way to the first token, which is then left out.
  stop->set_max_tokens(scores_only() ? 1 : params.max_tokens.value_or(0));
  stop->set_min_tokens(params.min_tokens);
  stop->mutable_stop_token_ids()->Assign(params.stop_token_ids.begin(),
                                         params.stop_token_ids.end());
  if (request_.suffix.has_value()) {
    for (const text::TokenId id : model_->fim->stops) {
      stop->add_stop_token_ids(static_cast<uint32_t>(id));
    }
  }
  stop->set_ignore_eos(params.ignore_eos);
  if (!params.logprobs) return;
  worker::v1::LogprobParams* logprobs = sequence->mutable_logprobs();
  logprobs->set_enabled(true);
  logprobs->set_top_logprobs(params.top_logprobs);
  logprobs->set_prompt(request_.echo && choice.generated.empty());
}

void Generation::Handle(Output event) {
  if (!IsCurrent(event.choice, event.attempt)) return;
  Choice& choice = choices_[event.choice];
  const worker::v1::SequenceOutput& output = event.output;
  const bool has_finish = output.has_finish();
  const Finish::Reason reason = output.finish().reason();
  ChoiceDelta delta;
  delta.index = static_cast<uint32_t>(event.choice);
  if (output.token_ids_size() > 0) {
    ticket_->MarkStarted();
    choice.cached_prompt_tokens =
        std::max(choice.cached_prompt_tokens, output.cached_prompt_tokens());
    if (!choice.echoed) Echo(&choice, output, &delta);
    if (scores_only()) return FinishScored(&choice, has_finish, std::move(delta));
    RecordTokens(&choice, output.token_ids_size());
    if (!PushTokens(&choice, output, &delta)) {
      if (!has_finish) context_->dispatcher->CancelPlaced(choice.worker, choice.sequence_id);
      FinishChoice(&choice, FinishReason::kStop, &delta);
      return Send(std::move(delta));
    }
  }
  if (!has_finish) return Send(std::move(delta));
  switch (reason) {
    case Finish::REASON_STOP_TOKEN:
      FinishChoice(&choice, FinishReason::kStop, &delta);
      break;
    case Finish::REASON_MAX_TOKENS:
    case Finish::REASON_CONTEXT_FULL:
      FinishChoice(&choice, FinishReason::kLength, &delta);
      break;
    default:
      Send(std::move(delta));
      if (!done()) HandleAbnormalEnd(event.choice, output.finish());
      return;
  }
  Send(std::move(delta));
}

void Generation::FinishScored(Choice* choice, bool at_end, ChoiceDelta delta) {
  if (!at_end) context_->dispatcher->CancelPlaced(choice->worker, choice->sequence_id);
  FinishChoice(choice, FinishReason::kLength, &delta);
  Send(std::move(delta));
}

bool Generation::PushTokens(Choice* choice, const worker::v1::SequenceOutput& output,
                            ChoiceDelta* delta) {
  const bool ends_with_stop =
      output.has_finish() && output.finish().reason() == Finish::REASON_STOP_TOKEN;
  for (int i = 0; i < output.token_ids_size(); ++i) {
    choice->generated.push_back(output.token_ids(i));
    if (ends_with_stop && i + 1 == output.token_ids_size()) {
      choice->stream->PushStopToken();
      continue;
    }
    const worker::v1::TokenLogprobs* logprobs =
        i < output.logprobs_size() ? &output.logprobs(i) : nullptr;
    if (choice->stream->Push(output.token_ids(i), logprobs, delta)) return false;
  }
  return true;
}

void Generation::RecordTokens(Choice* choice, int num_tokens) {
  const auto now = context_->clock->Now();
  output_tokens_.Increment(num_tokens);
  if (choice->generated.empty()) {
    time_to_first_token_.Observe(std::chrono::duration<double>(now - arrived_).count());
  } else {
    inter_token_latency_.Observe(std::chrono::duration<double>(now - choice->last_token).count() /
                                 num_tokens);
  }
  choice->last_token = now;
}

void Generation::Echo(Choice* choice, const worker::v1::SequenceOutput& output,
                      ChoiceDelta* delta) {
  choice->echoed = true;
  if (!request_.echo) return;
  const std::vector<uint32_t>& prompt = prompts_.token_ids[choice->prompt];
  text::Detokenizer detokenizer(model_->tokenizer.get(), /*skip_special_tokens=*/true);
  for (size_t i = 0; i < prompt.size(); ++i) {
    if (request_.params.logprobs) {
      TokenLogprob entry;
      entry.bytes = model_->tokenizer->TokenBytes(static_cast<text::TokenId>(prompt[i]));
      entry.text_offset = delta->content.size();
      entry.has_logprob = i > 0 && i < static_cast<size_t>(output.prompt_logprobs_size());
      if (entry.has_logprob) {
        const worker::v1::TokenLogprobs& given = output.prompt_logprobs(static_cast<int>(i));
        entry.logprob = given.logprob();
        for (const worker::v1::TokenLogprob& top : given.top()) {
          entry.top.push_back({std::string(model_->tokenizer->TokenBytes(
                                   static_cast<text::TokenId>(top.token_id()))),
                               top.logprob()});
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
  choice->stream->Finish(reason, delta);
  choice->state = Choice::State::kFinished;
  choice->attempt = 0;
  --unfinished_;
}

void Generation::HandleAbnormalEnd(size_t index, const Finish& finish) {
  Choice& choice = choices_[index];
  const bool transient =
      finish.reason() == Finish::REASON_PREEMPTED ||
      finish.reason() == Finish::REASON_CANCELLED ||  // not by us: the attempt would be over
      ((finish.reason() == Finish::REASON_REJECTED || finish.reason() == Finish::REASON_ERROR) &&
       IsTransient(finish.code()));
  choice.state = Choice::State::kFinished;  // at that worker; nothing is left to cancel there
  choice.attempt = 0;
  if (!transient) return Fail(FromFinish(finish));
  choice.excluded.push_back(choice.worker);
  Resume(index, absl::UnavailableError(
                    Concat(Finish::Reason_Name(finish.reason()), " ", finish.message())));
}

void Generation::Send(ChoiceDelta delta) {
  if (!delta.empty()) {
    last_sent_.store(context_->clock->Now().time_since_epoch().count(), std::memory_order_relaxed);
    if (!sink_->OnDelta(std::move(delta))) {
      Handle(Cancelled{absl::CancelledError("the client is gone")});
      return;
    }
  }
  CompleteIfFinished();
}

}  // namespace pingti::router
