// See convert.h.
#include "worker/server/convert.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <string_view>
#include <utility>

#include "common/base/strings.h"
#include "proto/pingti/worker/v1/worker.pb.h"

namespace pingti::worker {
namespace {

constexpr uint32_t kMostOutputIntervalMs = 1'000;  // as worker.proto says

// Values past int32 are no use to the engine; the largest one fails its checks by name.
int32_t Clamp(uint32_t value) {
  constexpr uint32_t kMost = std::numeric_limits<int32_t>::max();
  return static_cast<int32_t>(value < kMost ? value : kMost);
}

template <typename Ids>
std::vector<int32_t> Tokens(const Ids& ids) {
  std::vector<int32_t> tokens;
  tokens.reserve(ids.size());
  for (const uint32_t id : ids) tokens.push_back(Clamp(id));
  return tokens;
}

SamplingParameters SamplingFrom(const v1::SamplingParams& message) {
  SamplingParameters s;
  s.temperature = message.temperature();
  s.top_p = message.top_p() == 0.0f ? 1.0f : message.top_p();
  s.top_k = Clamp(message.top_k());
  s.min_p = message.min_p();
  s.presence_penalty = message.presence_penalty();
  s.frequency_penalty = message.frequency_penalty();
  s.repetition_penalty = message.repetition_penalty() == 0.0f ? 1.0f : message.repetition_penalty();
  s.seed = message.seed();
  for (const v1::LogitBias& bias : message.logit_bias()) {
    s.logit_bias.push_back({Clamp(bias.token_id()), bias.bias()});
  }
  s.allowed_token_ids = Tokens(message.allowed_token_ids());
  s.n = message.n() == 0 ? 1 : Clamp(message.n());
  if (message.has_beam() && message.beam().num_beams() > 1) {
    s.beam.num_beams = Clamp(message.beam().num_beams());
    s.beam.length_penalty = message.beam().length_penalty();
    s.beam.early_stopping = message.beam().never_stop_early() ? EarlyStopping::kNever
                            : message.beam().early_stopping() ? EarlyStopping::kTrue
                                                              : EarlyStopping::kFalse;
  }
  return s;
}

void GrammarFrom(const v1::Grammar& message, Request* request) {
  using Kind = grammar::GrammarSource::Kind;
  switch (message.source_case()) {
    case v1::Grammar::kJsonSchema:
      request->grammar = {Kind::kJsonSchema, message.json_schema()};
      return;
    case v1::Grammar::kJsonObject:
      request->grammar = {Kind::kJsonObject, ""};
      return;
    case v1::Grammar::kRegex:
      request->grammar = {Kind::kRegex, message.regex()};
      return;
    case v1::Grammar::kEbnf:
      request->grammar = {Kind::kEbnf, message.ebnf()};
      return;
    case v1::Grammar::kToolCalls:
      request->grammar = {Kind::kToolCalls, message.tool_calls()};
      return;
    case v1::Grammar::SOURCE_NOT_SET:
      break;
  }
  request->unsupported =
      absl::UnimplementedError("grammar: this worker knows none of the message's sources");
}

v1::Finish::Reason ReasonOf(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStopToken:
      return v1::Finish::REASON_STOP_TOKEN;
    case FinishReason::kStopText:
      return v1::Finish::REASON_STOP_TEXT;
    case FinishReason::kMaxTokens:
      return v1::Finish::REASON_MAX_TOKENS;
    case FinishReason::kContextFull:
      return v1::Finish::REASON_CONTEXT_FULL;
    case FinishReason::kCancelled:
      return v1::Finish::REASON_CANCELLED;
    case FinishReason::kDeadline:
      return v1::Finish::REASON_DEADLINE;
    case FinishReason::kRejected:
      return v1::Finish::REASON_REJECTED;
    case FinishReason::kError:
      return v1::Finish::REASON_ERROR;
    case FinishReason::kPreempted:
      return v1::Finish::REASON_PREEMPTED;
  }
  return v1::Finish::REASON_UNSPECIFIED;
}

uint32_t Micros(int64_t us) {
  constexpr int64_t kMost = std::numeric_limits<uint32_t>::max();
  return static_cast<uint32_t>(us < 0 ? 0 : us > kMost ? kMost : us);
}

void LogprobsToProto(const TokenLogprobs& logprobs, v1::TokenLogprobs* message) {
  message->set_logprob(logprobs.logprob);
  for (const TopLogprob& top : logprobs.top) {
    v1::TokenLogprob* entry = message->add_top();
    entry->set_token_id(static_cast<uint32_t>(top.token_id));
    entry->set_logprob(top.logprob);
  }
}

}  // namespace

Request FromProto(const v1::Sequence& message, TimePoint now) {
  Request request;
  request.sequence_id = message.sequence_id();
  request.request_id = message.request_id();
  request.prompt_token_ids = Tokens(message.prompt_token_ids());
  request.generated_token_ids = Tokens(message.generated_token_ids());
  request.sampling = SamplingFrom(message.sampling());
  request.stop.max_tokens = Clamp(message.stop().max_tokens());
  request.stop.min_tokens = Clamp(message.stop().min_tokens());
  request.stop.stop_token_ids = Tokens(message.stop().stop_token_ids());
  request.stop.ignore_eos = message.stop().ignore_eos();
  request.stop.stop_texts.assign(message.stop().stop_texts().begin(),
                                 message.stop().stop_texts().end());
  request.logprobs.enabled = message.logprobs().enabled();
  request.logprobs.top_logprobs = Clamp(message.logprobs().top_logprobs());
  request.logprobs.prompt = message.logprobs().prompt();
  request.priority = message.priority();
  request.arrival = now;
  if (message.deadline_ms() > 0) {
    request.deadline = now + std::chrono::milliseconds(message.deadline_ms());
  }
  request.cache_salt = message.cache_salt();
  request.speculate = !message.no_speculation();
  request.output_interval =
      std::chrono::milliseconds(std::min(message.output_interval_ms(), kMostOutputIntervalMs));
  if (message.has_grammar()) GrammarFrom(message.grammar(), &request);
  return request;
}

void ToProto(SequenceOutput&& output, v1::SequenceOutput* message) {
  message->set_sequence_id(output.sequence_id);
  message->set_sample_index(static_cast<uint32_t>(output.sample_index));
  for (const int32_t token : output.token_ids) {
    message->add_token_ids(static_cast<uint32_t>(token));
  }
  for (const auto& logprobs : output.logprobs) LogprobsToProto(logprobs, message->add_logprobs());
  for (const auto& logprobs : output.prompt_logprobs) {
    LogprobsToProto(logprobs, message->add_prompt_logprobs());
  }
  message->set_cached_prompt_tokens(static_cast<uint32_t>(output.cached_prompt_tokens));
  if (output.finish) ToProto(*output.finish, message->mutable_finish());
}

void ToProto(const Finish& finish, v1::Finish* message) {
  message->set_reason(ReasonOf(finish.reason));
  if (!finish.status.ok()) {
    // absl's codes are google.rpc.Code's.
    message->set_code(static_cast<uint32_t>(finish.status.raw_code()));
    const auto text = finish.status.message();
    message->set_message(text.data(), text.size());
  }
  if (finish.stop_token_id >= 0) {
    message->set_stop_token_id(static_cast<uint32_t>(finish.stop_token_id));
  }
  message->set_cumulative_logprob(finish.cumulative_logprob);
  v1::Usage* usage = message->mutable_usage();
  usage->set_prompt_tokens(static_cast<uint32_t>(finish.usage.prompt_tokens));
  usage->set_cached_prompt_tokens(static_cast<uint32_t>(finish.usage.cached_prompt_tokens));
  usage->set_output_tokens(static_cast<uint32_t>(finish.usage.output_tokens));
  usage->set_preemptions(static_cast<uint32_t>(finish.usage.preemptions));
  usage->set_queue_us(Micros(finish.usage.queue_us));
  usage->set_prefill_us(Micros(finish.usage.prefill_us));
}

void ToProto(const LoadSnapshot& load, uint64_t includes_sequence_id, v1::LoadReport* message) {
  message->set_step(load.step);
  message->set_running_sequences(static_cast<uint32_t>(load.running_sequences));
  message->set_waiting_sequences(static_cast<uint32_t>(load.waiting_sequences));
  message->set_waiting_uncached_tokens(static_cast<uint64_t>(load.waiting_uncached_tokens));
  message->set_kv_total_blocks(static_cast<uint64_t>(load.kv_total_blocks));
  message->set_kv_leased_blocks(static_cast<uint64_t>(load.kv_leased_blocks));
  message->set_kv_cached_blocks(static_cast<uint64_t>(load.kv_cached_blocks));
  message->set_prefill_tokens_per_s(static_cast<float>(load.prefill_tokens_per_s));
  message->set_decode_tokens_per_s(static_cast<float>(load.decode_tokens_per_s));
  message->set_step_ms(static_cast<float>(load.step_ms));
  message->set_preemptions_total(static_cast<uint64_t>(load.preemptions_total));
  message->set_includes_sequence_id(includes_sequence_id);
}

void ToProto(std::span<const CacheEvent> events, v1::KvEvents* message) {
  const CacheEvent* previous = nullptr;
  for (const CacheEvent& event : events) {
    const bool same_kind = previous != nullptr && previous->kind == event.kind;
    if (event.kind == CacheEvent::Kind::kStored) {
      if (!same_kind || event.parent_hash == 0 || event.parent_hash != previous->hash) {
        message->add_events()->mutable_stored()->set_parent_hash(event.parent_hash);
      }
      message->mutable_events(message->events_size() - 1)
          ->mutable_stored()
          ->add_block_hashes(event.hash);
    } else {
      if (!same_kind) message->add_events();
      message->mutable_events(message->events_size() - 1)
          ->mutable_removed()
          ->add_block_hashes(event.hash);
    }
    previous = &event;
  }
}

}  // namespace pingti::worker
