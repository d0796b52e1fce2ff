// See wire.h.
#include "router/worker_link/wire.h"

#include <algorithm>
#include <utility>

#include "common/base/block_hash.h"

namespace pingti::router {
namespace {

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

void FillSampling(const SamplingParams& params, worker::v1::SamplingParams* message) {
  message->set_temperature(params.temperature);
  message->set_top_p(params.top_p);
  message->set_top_k(params.top_k);
  message->set_min_p(params.min_p);
  message->set_presence_penalty(params.presence_penalty);
  message->set_frequency_penalty(params.frequency_penalty);
  message->set_repetition_penalty(params.repetition_penalty);
  message->set_seed(params.seed);
  // Samples are sequences of their own, so that each can be resumed: only beams have more than one.
  message->set_n(params.n);
  if (params.beam.num_beams > 1) {
    worker::v1::BeamParams* beam = message->mutable_beam();
    beam->set_num_beams(params.beam.num_beams);
    beam->set_length_penalty(params.beam.length_penalty);
    beam->set_early_stopping(params.beam.early_stopping);
    beam->set_never_stop_early(params.beam.never_stop_early);
  }
  for (const auto& [id, bias] : params.logit_bias) {
    worker::v1::LogitBias* entry = message->add_logit_bias();
    entry->set_token_id(id);
    entry->set_bias(bias);
  }
}

void FillStop(const StopCriteria& stop, worker::v1::StopCriteria* message) {
  message->set_max_tokens(stop.max_tokens);
  message->set_min_tokens(stop.min_tokens);
  message->mutable_stop_token_ids()->Assign(stop.stop_token_ids.begin(), stop.stop_token_ids.end());
  message->set_ignore_eos(stop.ignore_eos);
  message->mutable_stop_texts()->Assign(stop.stop_texts.begin(), stop.stop_texts.end());
}

TokenScores ToScores(const worker::v1::TokenLogprobs& message) {
  TokenScores scores{message.logprob(), {}};
  scores.top.reserve(static_cast<size_t>(message.top_size()));
  for (const worker::v1::TokenLogprob& top : message.top()) {
    scores.top.push_back({top.token_id(), top.logprob()});
  }
  return scores;
}

Finish::Reason ToReason(worker::v1::Finish::Reason reason) {
  using Message = worker::v1::Finish;
  switch (reason) {
    case Message::REASON_STOP_TOKEN:
      return Finish::Reason::kStopToken;
    case Message::REASON_MAX_TOKENS:
      return Finish::Reason::kMaxTokens;
    case Message::REASON_CONTEXT_FULL:
      return Finish::Reason::kContextFull;
    case Message::REASON_CANCELLED:
      return Finish::Reason::kCancelled;
    case Message::REASON_DEADLINE:
      return Finish::Reason::kDeadline;
    case Message::REASON_REJECTED:
      return Finish::Reason::kRejected;
    case Message::REASON_ERROR:
      return Finish::Reason::kError;
    case Message::REASON_PREEMPTED:
      return Finish::Reason::kPreempted;
    case Message::REASON_STOP_TEXT:
      return Finish::Reason::kStopText;
    default:  // a newer worker's
      return Finish::Reason::kUnspecified;
  }
}

SequenceOutput ToOutput(worker::v1::SequenceOutput* message) {
  SequenceOutput output;
  output.sequence_id = message->sequence_id();
  output.sample_index = message->sample_index();
  output.token_ids.assign(message->token_ids().begin(), message->token_ids().end());
  for (const auto& scores : message->logprobs()) output.logprobs.push_back(ToScores(scores));
  for (const auto& scores : message->prompt_logprobs()) {
    output.prompt_logprobs.push_back(ToScores(scores));
  }
  output.cached_prompt_tokens = message->cached_prompt_tokens();
  if (message->has_finish()) {
    worker::v1::Finish* finish = message->mutable_finish();
    output.finish =
        Finish{ToReason(finish->reason()), finish->code(), std::move(*finish->mutable_message())};
  }
  return output;
}

// Policies compare these: no NaN, nothing below 0 and nothing infinite.
double Plausible(float value) {
  constexpr float kMost = 1e9f;
  return value >= 0 ? std::min(value, kMost) : 0;
}

KvEvent ToEvent(const worker::v1::KvEvent& message) {
  switch (message.event_case()) {
    case worker::v1::KvEvent::kStored:
      return {KvEvent::Kind::kStored,
              {message.stored().block_hashes().begin(), message.stored().block_hashes().end()}};
    case worker::v1::KvEvent::kRemoved:
      return {KvEvent::Kind::kRemoved,
              {message.removed().block_hashes().begin(), message.removed().block_hashes().end()}};
    case worker::v1::KvEvent::kCleared:
    case worker::v1::KvEvent::EVENT_NOT_SET:  // a newer worker's
      break;
  }
  return {KvEvent::Kind::kCleared};
}

}  // namespace

std::string_view FinishReasonName(Finish::Reason reason) {
  switch (reason) {
    case Finish::Reason::kUnspecified:
      return "unspecified";
    case Finish::Reason::kStopToken:
      return "stop_token";
    case Finish::Reason::kMaxTokens:
      return "max_tokens";
    case Finish::Reason::kContextFull:
      return "context_full";
    case Finish::Reason::kCancelled:
      return "cancelled";
    case Finish::Reason::kDeadline:
      return "deadline";
    case Finish::Reason::kRejected:
      return "rejected";
    case Finish::Reason::kError:
      return "error";
    case Finish::Reason::kPreempted:
      return "preempted";
    case Finish::Reason::kStopText:
      return "stop_text";
  }
  return "";
}

worker::v1::Sequence ToWire(const Sequence& sequence) {
  worker::v1::Sequence message;
  message.set_sequence_id(sequence.sequence_id);
  message.set_request_id(sequence.request_id);
  message.mutable_prompt_token_ids()->Assign(sequence.prompt_token_ids.begin(),
                                             sequence.prompt_token_ids.end());
  message.mutable_generated_token_ids()->Assign(sequence.generated_token_ids.begin(),
                                                sequence.generated_token_ids.end());
  FillSampling(sequence.sampling, message.mutable_sampling());
  FillStop(sequence.stop, message.mutable_stop());
  if (sequence.logprobs.has_value()) {
    worker::v1::LogprobParams* logprobs = message.mutable_logprobs();
    logprobs->set_enabled(true);
    logprobs->set_top_logprobs(sequence.logprobs->top_logprobs);
    logprobs->set_prompt(sequence.logprobs->prompt);
  }
  if (sequence.grammar.has_value()) FillGrammar(*sequence.grammar, message.mutable_grammar());
  message.set_priority(sequence.priority);
  message.set_deadline_ms(sequence.deadline_ms);
  message.set_cache_salt(sequence.cache_salt);
  message.set_adapter(sequence.adapter);
  message.set_no_speculation(!sequence.speculation);
  message.set_output_interval_ms(static_cast<uint32_t>(sequence.output_interval.count()));
  return message;
}

StepOutput FromWire(worker::v1::StepOutput* message) {
  StepOutput step;
  step.outputs.reserve(static_cast<size_t>(message->outputs_size()));
  for (worker::v1::SequenceOutput& output : *message->mutable_outputs()) {
    step.outputs.push_back(ToOutput(&output));
  }
  return step;
}

LoadReport FromWire(const worker::v1::LoadReport& message) {
  LoadReport report;
  report.running_sequences = message.running_sequences();
  report.waiting_sequences = message.waiting_sequences();
  report.waiting_uncached_tokens = message.waiting_uncached_tokens();
  report.kv_total_blocks = message.kv_total_blocks();
  report.kv_leased_blocks = message.kv_leased_blocks();
  report.prefill_tokens_per_s = Plausible(message.prefill_tokens_per_s());
  report.step_ms = Plausible(message.step_ms());
  report.includes_sequence_id = message.includes_sequence_id();
  return report;
}

SubmitCredit FromWire(const worker::v1::SubmitCredit& message) {
  return {message.max_waiting_sequences(), message.max_waiting_tokens()};
}

std::vector<AdapterInfo> FromWire(const worker::v1::AdapterList& message) {
  std::vector<AdapterInfo> adapters;
  for (const worker::v1::Adapter& adapter : message.adapters()) {
    const bool is_usable = !adapter.name().empty() && !adapter.id().empty() &&
                           adapter.id().size() <= kMaxAdapterIdBytes;
    if (is_usable) adapters.push_back({adapter.id(), adapter.name()});
  }
  return adapters;
}

KvEvents FromWire(const worker::v1::KvEvents& message) {
  KvEvents events;
  events.first_event_id = message.first_event_id();
  events.events.reserve(static_cast<size_t>(message.events_size()));
  for (const worker::v1::KvEvent& event : message.events()) events.events.push_back(ToEvent(event));
  return events;
}

}  // namespace pingti::router
