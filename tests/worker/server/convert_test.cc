// What a router's message becomes in the engine, and the engine's words in a message.
#include "worker/server/convert.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "proto/pingti/worker/v1/worker.pb.h"

namespace pingti::worker {
namespace {

TEST(FromProto, EveryWayOfEndingABeamSearchIsKept) {
  for (const bool early : {false, true}) {
    for (const bool never : {false, true}) {
      v1::Sequence message;
      message.mutable_sampling()->set_n(2);
      v1::BeamParams* beam = message.mutable_sampling()->mutable_beam();
      beam->set_num_beams(4);
      beam->set_length_penalty(0.5f);
      beam->set_early_stopping(early);
      beam->set_never_stop_early(never);
      const SamplingParameters sampling = FromProto(message, TimePoint()).sampling;
      EXPECT_EQ(sampling.n, 2);
      EXPECT_EQ(sampling.beam.num_beams, 4);
      EXPECT_EQ(sampling.beam.length_penalty, 0.5f);
      EXPECT_EQ(sampling.beam.early_stopping, never   ? EarlyStopping::kNever
                                              : early ? EarlyStopping::kTrue
                                                      : EarlyStopping::kFalse);
    }
  }
}

TEST(FromProto, OneBeamIsNoSearch) {
  v1::Sequence message;
  message.mutable_sampling()->mutable_beam()->set_num_beams(1);
  message.mutable_sampling()->mutable_beam()->set_length_penalty(3);
  EXPECT_FALSE(FromProto(message, TimePoint()).sampling.is_beam_search());
}

TEST(FromProto, EveryFieldIsTaken) {
  using Kind = grammar::GrammarSource::Kind;
  const TimePoint now = TimePoint(std::chrono::hours(1));
  v1::Sequence message;
  message.set_sequence_id(5);
  message.set_request_id("r");
  message.add_prompt_token_ids(7);
  message.add_generated_token_ids(8);
  v1::SamplingParams* sampling = message.mutable_sampling();
  sampling->set_temperature(0.5f);
  sampling->set_top_p(0.25f);
  sampling->set_top_k(3);
  sampling->set_min_p(0.125f);
  sampling->set_presence_penalty(1);
  sampling->set_frequency_penalty(-1);
  sampling->set_repetition_penalty(2);
  sampling->set_seed(~uint64_t{0});
  sampling->add_logit_bias()->set_token_id(4);
  sampling->mutable_logit_bias(0)->set_bias(-1.5f);
  sampling->add_allowed_token_ids(6);
  sampling->set_n(2);
  message.mutable_stop()->set_max_tokens(10);
  message.mutable_stop()->set_min_tokens(9);
  message.mutable_stop()->add_stop_token_ids(11);
  message.mutable_stop()->set_ignore_eos(true);
  message.mutable_stop()->add_stop_texts("END");
  message.mutable_logprobs()->set_enabled(true);
  message.mutable_logprobs()->set_top_logprobs(12);
  message.mutable_logprobs()->set_prompt(true);
  message.mutable_grammar()->set_regex("a+");
  message.set_priority(-13);
  message.set_deadline_ms(14);
  message.set_cache_salt("salt");
  message.set_no_speculation(true);
  message.set_output_interval_ms(50);
  const Request request = FromProto(message, now);
  EXPECT_EQ(request.sequence_id, 5u);
  EXPECT_EQ(request.request_id, "r");
  EXPECT_EQ(request.prompt_token_ids, std::vector<int32_t>{7});
  EXPECT_EQ(request.generated_token_ids, std::vector<int32_t>{8});
  EXPECT_EQ(request.sampling.temperature, 0.5f);
  EXPECT_EQ(request.sampling.top_p, 0.25f);
  EXPECT_EQ(request.sampling.top_k, 3);
  EXPECT_EQ(request.sampling.min_p, 0.125f);
  EXPECT_EQ(request.sampling.presence_penalty, 1);
  EXPECT_EQ(request.sampling.frequency_penalty, -1);
  EXPECT_EQ(request.sampling.repetition_penalty, 2);
  EXPECT_EQ(request.sampling.seed, ~uint64_t{0});
  ASSERT_EQ(request.sampling.logit_bias.size(), 1u);
  EXPECT_EQ(request.sampling.logit_bias[0].token_id, 4);
  EXPECT_EQ(request.sampling.logit_bias[0].bias, -1.5f);
  EXPECT_EQ(request.sampling.allowed_token_ids, std::vector<int32_t>{6});
  EXPECT_EQ(request.sampling.n, 2);
  EXPECT_EQ(request.stop.max_tokens, 10);
  EXPECT_EQ(request.stop.min_tokens, 9);
  EXPECT_EQ(request.stop.stop_token_ids, std::vector<int32_t>{11});
  EXPECT_TRUE(request.stop.ignore_eos);
  EXPECT_EQ(request.stop.stop_texts, std::vector<std::string>{"END"});
  EXPECT_TRUE(request.logprobs.enabled);
  EXPECT_EQ(request.logprobs.top_logprobs, 12);
  EXPECT_TRUE(request.logprobs.prompt);
  ASSERT_TRUE(request.grammar.has_value());
  EXPECT_EQ(request.grammar->kind, Kind::kRegex);
  EXPECT_EQ(request.grammar->text, "a+");
  EXPECT_EQ(request.priority, -13);
  EXPECT_EQ(request.arrival, now);
  EXPECT_EQ(request.deadline, now + std::chrono::milliseconds(14));
  EXPECT_EQ(request.cache_salt, "salt");
  EXPECT_FALSE(request.speculate);
  EXPECT_EQ(request.output_interval, std::chrono::milliseconds(50));
  EXPECT_TRUE(request.unsupported.ok());
}

TEST(FromProto, WhatIsNotSaidIsOffOrAsUsual) {
  const Request request = FromProto(v1::Sequence(), TimePoint());
  EXPECT_EQ(request.sampling.top_p, 1);
  EXPECT_EQ(request.sampling.repetition_penalty, 1);
  EXPECT_EQ(request.sampling.n, 1);
  EXPECT_EQ(request.deadline, TimePoint::max());
  EXPECT_TRUE(request.speculate);
  EXPECT_EQ(request.output_interval, std::chrono::milliseconds(0));
  EXPECT_FALSE(request.grammar.has_value());
  EXPECT_TRUE(request.unsupported.ok());
  v1::Sequence message;
  message.mutable_grammar();
  EXPECT_TRUE(absl::IsUnimplemented(FromProto(message, TimePoint()).unsupported));
}

TEST(FromProto, TokensAreHeldForASecondAtMost) {
  for (const uint32_t given : {999u, 1'000u, 1'001u, ~0u}) {
    v1::Sequence message;
    message.set_output_interval_ms(given);
    EXPECT_EQ(FromProto(message, TimePoint()).output_interval,
              std::chrono::milliseconds(std::min(given, 1'000u)));
  }
}

TEST(FromProto, NumbersBeyondTheEnginesAreItsLargest) {
  constexpr uint32_t kMost = std::numeric_limits<int32_t>::max();
  for (const uint32_t given : {0u, 1u, kMost - 1, kMost, kMost + 1, ~0u}) {
    v1::Sequence message;
    message.add_prompt_token_ids(given);
    message.mutable_stop()->set_max_tokens(given);
    const Request request = FromProto(message, TimePoint());
    EXPECT_EQ(request.prompt_token_ids[0], static_cast<int32_t>(std::min(given, kMost)));
    EXPECT_EQ(request.stop.max_tokens, static_cast<int32_t>(std::min(given, kMost)));
  }
}

TEST(ToProto, AnOutputHasItsTokensScoresAndEnd) {
  SequenceOutput output;
  output.sequence_id = 3;
  output.sample_index = 1;
  output.token_ids = {10, 11};
  output.logprobs = {{-1, {{10, -1}, {12, -2}}}, {-3, {}}};
  output.prompt_logprobs = {{-4, {}}};
  output.cached_prompt_tokens = 5;
  output.finish.emplace();
  output.finish->reason = FinishReason::kError;
  output.finish->status = absl::UnavailableError("gone");
  output.finish->stop_token_id = 0;
  output.finish->cumulative_logprob = -6;
  output.finish->usage = {7, 8, 9, 10, -1, int64_t{1} << 40};
  v1::SequenceOutput message;
  ToProto(std::move(output), &message);
  EXPECT_EQ(message.sequence_id(), 3u);
  EXPECT_EQ(message.sample_index(), 1u);
  EXPECT_EQ(std::vector<uint32_t>(message.token_ids().begin(), message.token_ids().end()),
            (std::vector<uint32_t>{10, 11}));
  ASSERT_EQ(message.logprobs_size(), 2);
  EXPECT_EQ(message.logprobs(0).logprob(), -1);
  ASSERT_EQ(message.logprobs(0).top_size(), 2);
  EXPECT_EQ(message.logprobs(0).top(1).token_id(), 12u);
  EXPECT_EQ(message.logprobs(0).top(1).logprob(), -2);
  EXPECT_EQ(message.prompt_logprobs(0).logprob(), -4);
  EXPECT_EQ(message.cached_prompt_tokens(), 5u);
  const v1::Finish& finish = message.finish();
  EXPECT_EQ(finish.reason(), v1::Finish::REASON_ERROR);
  EXPECT_EQ(finish.code(), static_cast<uint32_t>(absl::StatusCode::kUnavailable));
  EXPECT_EQ(finish.message(), "gone");
  EXPECT_EQ(finish.stop_token_id(), 0u);
  EXPECT_EQ(finish.cumulative_logprob(), -6);
  EXPECT_EQ(finish.usage().prompt_tokens(), 7u);
  EXPECT_EQ(finish.usage().cached_prompt_tokens(), 8u);
  EXPECT_EQ(finish.usage().output_tokens(), 9u);
  EXPECT_EQ(finish.usage().preemptions(), 10u);
  EXPECT_EQ(finish.usage().queue_us(), 0u) << "no time before none";
  EXPECT_EQ(finish.usage().prefill_us(), ~0u) << "as long as the field tells";
}

TEST(ToProto, StopTokensAndReasonsAreTold) {
  for (const auto& [reason, told] : std::vector<std::pair<FinishReason, v1::Finish::Reason>>{
           {FinishReason::kStopToken, v1::Finish::REASON_STOP_TOKEN},
           {FinishReason::kStopText, v1::Finish::REASON_STOP_TEXT},
           {FinishReason::kMaxTokens, v1::Finish::REASON_MAX_TOKENS},
           {FinishReason::kContextFull, v1::Finish::REASON_CONTEXT_FULL},
           {FinishReason::kCancelled, v1::Finish::REASON_CANCELLED},
           {FinishReason::kDeadline, v1::Finish::REASON_DEADLINE},
           {FinishReason::kRejected, v1::Finish::REASON_REJECTED},
           {FinishReason::kError, v1::Finish::REASON_ERROR},
           {FinishReason::kPreempted, v1::Finish::REASON_PREEMPTED}}) {
    Finish finish;
    finish.reason = reason;
    finish.stop_token_id = 17;
    v1::Finish message;
    ToProto(finish, &message);
    EXPECT_EQ(message.reason(), told);
    EXPECT_EQ(message.stop_token_id(), 17u);
    EXPECT_EQ(message.code(), 0u);
  }
}

TEST(ToProto, ALoadReportHasEveryFigure) {
  LoadSnapshot load;
  load.step = 1;
  load.running_sequences = 2;
  load.waiting_sequences = 3;
  load.waiting_uncached_tokens = 4;
  load.kv_total_blocks = 5;
  load.kv_leased_blocks = 6;
  load.kv_cached_blocks = 7;
  load.prefill_tokens_per_s = 8;
  load.decode_tokens_per_s = 9;
  load.step_ms = 10;
  load.preemptions_total = 11;
  v1::LoadReport message;
  ToProto(load, 12, &message);
  EXPECT_EQ(message.step(), 1u);
  EXPECT_EQ(message.running_sequences(), 2u);
  EXPECT_EQ(message.waiting_sequences(), 3u);
  EXPECT_EQ(message.waiting_uncached_tokens(), 4u);
  EXPECT_EQ(message.kv_total_blocks(), 5u);
  EXPECT_EQ(message.kv_leased_blocks(), 6u);
  EXPECT_EQ(message.kv_cached_blocks(), 7u);
  EXPECT_EQ(message.prefill_tokens_per_s(), 8);
  EXPECT_EQ(message.decode_tokens_per_s(), 9);
  EXPECT_EQ(message.step_ms(), 10);
  EXPECT_EQ(message.preemptions_total(), 11u);
  EXPECT_EQ(message.includes_sequence_id(), 12u);
}

}  // namespace
}  // namespace pingti::worker
