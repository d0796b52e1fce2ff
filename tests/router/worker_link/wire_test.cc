// What crosses the wire is what was said: every field that this router fills or reads.
#include "router/worker_link/wire.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <set>
#include <string>
#include <vector>

namespace pingti::router {
namespace {

std::set<std::string> FieldsSet(const google::protobuf::Message& message) {
  std::vector<const google::protobuf::FieldDescriptor*> fields;
  message.GetReflection()->ListFields(message, &fields);
  std::set<std::string> names;
  for (const auto* field : fields) names.insert(field->name());
  return names;
}

Sequence FullSequence() {
  Sequence sequence;
  sequence.sequence_id = 7;
  sequence.request_id = "cmpl-1";
  sequence.prompt_token_ids = {1, 2, 3};
  sequence.generated_token_ids = {4, 5};
  sequence.sampling = {.temperature = 0.5f,
                       .top_p = 0.9f,
                       .top_k = 40,
                       .min_p = 0.1f,
                       .presence_penalty = 0.2f,
                       .frequency_penalty = 0.3f,
                       .repetition_penalty = 1.1f,
                       .seed = 99,
                       .logit_bias = {{6, -1.5f}}};
  sequence.stop = {.max_tokens = 10,
                   .min_tokens = 2,
                   .stop_token_ids = {8, 9},
                   .ignore_eos = true,
                   .stop_texts = {"END"}};
  sequence.logprobs = LogprobParams{.top_logprobs = 3, .prompt = true};
  sequence.grammar = grammar::GrammarSource{grammar::GrammarSource::Kind::kRegex, "a+"};
  sequence.priority = -2;
  sequence.deadline_ms = 1234;
  sequence.cache_salt = "alice";
  sequence.speculation = false;
  sequence.output_interval = std::chrono::milliseconds(50);
  return sequence;
}

TEST(Wire, ASequenceGoesUpWithAllItsFields) {
  const worker::v1::Sequence message = ToWire(FullSequence());
  EXPECT_EQ(message.ShortDebugString(),
            "sequence_id: 7 request_id: \"cmpl-1\" prompt_token_ids: 1 prompt_token_ids: 2 "
            "prompt_token_ids: 3 generated_token_ids: 4 generated_token_ids: 5 "
            "sampling { temperature: 0.5 top_p: 0.9 top_k: 40 min_p: 0.1 presence_penalty: 0.2 "
            "frequency_penalty: 0.3 repetition_penalty: 1.1 seed: 99 logit_bias { token_id: 6 "
            "bias: -1.5 } n: 1 } stop { max_tokens: 10 min_tokens: 2 stop_token_ids: 8 "
            "stop_token_ids: 9 ignore_eos: true stop_texts: \"END\" } logprobs { enabled: true "
            "top_logprobs: 3 "
            "prompt: true } grammar { regex: \"a+\" } priority: -2 deadline_ms: 1234 "
            "cache_salt: \"alice\" no_speculation: true output_interval_ms: 50");
}

TEST(Wire, WhatWasNotAskedForIsNotSent) {
  EXPECT_EQ(FieldsSet(ToWire({})), (std::set<std::string>{"sampling", "stop"}));
}

TEST(Wire, EveryKindOfGrammarHasItsField) {
  using Kind = grammar::GrammarSource::Kind;
  const std::vector<std::pair<Kind, std::string>> kinds = {{Kind::kJsonSchema, "json_schema"},
                                                           {Kind::kJsonObject, "json_object"},
                                                           {Kind::kRegex, "regex"},
                                                           {Kind::kEbnf, "ebnf"},
                                                           {Kind::kToolCalls, "tool_calls"}};
  for (const auto& [kind, field] : kinds) {
    Sequence sequence;
    sequence.grammar = grammar::GrammarSource{kind, "source"};
    EXPECT_EQ(FieldsSet(ToWire(sequence).grammar()), std::set<std::string>{field});
  }
}

TEST(Wire, AStepsOutputsComeDownWithAllTheirFields) {
  worker::v1::StepOutput message;
  worker::v1::SequenceOutput* output = message.add_outputs();
  output->set_sequence_id(7);
  output->add_token_ids(1);
  output->add_token_ids(2);
  output->add_logprobs()->set_logprob(-0.5f);
  worker::v1::TokenLogprob* top = output->mutable_logprobs(0)->add_top();
  top->set_token_id(3);
  top->set_logprob(-0.25f);
  output->add_prompt_logprobs()->set_logprob(-2);
  output->set_cached_prompt_tokens(16);
  message.add_outputs()->mutable_finish()->set_message("why");
  message.mutable_outputs(1)->mutable_finish()->set_code(3);
  const StepOutput step = FromWire(&message);
  ASSERT_EQ(step.outputs.size(), 2u);
  const SequenceOutput& first = step.outputs[0];
  EXPECT_EQ(first.sequence_id, 7u);
  EXPECT_THAT(first.token_ids, ::testing::ElementsAre(1u, 2u));
  ASSERT_EQ(first.logprobs.size(), 1u);
  EXPECT_EQ(first.logprobs[0].logprob, -0.5f);
  ASSERT_EQ(first.logprobs[0].top.size(), 1u);
  EXPECT_EQ(first.logprobs[0].top[0].token_id, 3u);
  EXPECT_EQ(first.logprobs[0].top[0].logprob, -0.25f);
  ASSERT_EQ(first.prompt_logprobs.size(), 1u);
  EXPECT_EQ(first.prompt_logprobs[0].logprob, -2);
  EXPECT_EQ(first.cached_prompt_tokens, 16u);
  EXPECT_FALSE(first.finish.has_value());
  ASSERT_TRUE(step.outputs[1].finish.has_value());
  EXPECT_EQ(step.outputs[1].finish->message, "why");
  EXPECT_EQ(step.outputs[1].finish->code, 3u);
}

TEST(Wire, EveryReasonToFinishHasItsName) {
  const auto* reasons = worker::v1::Finish::Reason_descriptor();
  for (int i = 0; i < reasons->value_count(); ++i) {
    worker::v1::StepOutput message;
    message.add_outputs()->mutable_finish()->set_reason(
        static_cast<worker::v1::Finish::Reason>(reasons->value(i)->number()));
    std::string name(FinishReasonName(FromWire(&message).outputs[0].finish->reason));
    for (char& c : name) c = static_cast<char>(std::toupper(c));
    EXPECT_EQ("REASON_" + name, reasons->value(i)->name());
  }
}

TEST(Wire, AReasonOfANewerWorkerIsUnspecified) {
  worker::v1::StepOutput message;
  message.add_outputs()->mutable_finish()->set_reason(static_cast<worker::v1::Finish::Reason>(99));
  EXPECT_EQ(FromWire(&message).outputs[0].finish->reason, Finish::Reason::kUnspecified);
}

TEST(Wire, LoadAndCreditComeDownWithAllTheirFields) {
  worker::v1::LoadReport message;
  message.set_running_sequences(1);
  message.set_waiting_sequences(2);
  message.set_waiting_uncached_tokens(3);
  message.set_kv_total_blocks(4);
  message.set_kv_leased_blocks(5);
  message.set_prefill_tokens_per_s(6);
  message.set_step_ms(7);
  message.set_includes_sequence_id(8);
  const LoadReport report = FromWire(message);
  EXPECT_EQ(report.running_sequences, 1u);
  EXPECT_EQ(report.waiting_sequences, 2u);
  EXPECT_EQ(report.waiting_uncached_tokens, 3u);
  EXPECT_EQ(report.kv_total_blocks, 4u);
  EXPECT_EQ(report.kv_leased_blocks, 5u);
  EXPECT_EQ(report.prefill_tokens_per_s, 6);
  EXPECT_EQ(report.step_ms, 7);
  EXPECT_EQ(report.includes_sequence_id, 8u);
  worker::v1::SubmitCredit credit;
  credit.set_max_waiting_sequences(9);
  credit.set_max_waiting_tokens(10);
  EXPECT_EQ(FromWire(credit).max_waiting_sequences, 9u);
  EXPECT_EQ(FromWire(credit).max_waiting_tokens, 10u);
}

TEST(Wire, KvEventsKeepTheirOrderAndAnUnknownOneClears) {
  worker::v1::KvEvents message;
  message.set_first_event_id(5);
  message.add_events()->mutable_stored()->add_block_hashes(1);
  message.add_events()->mutable_removed()->add_block_hashes(2);
  message.add_events()->mutable_cleared();
  message.add_events();
  const KvEvents events = FromWire(message);
  EXPECT_EQ(events.first_event_id, 5u);
  ASSERT_EQ(events.events.size(), 4u);
  EXPECT_EQ(events.events[0].kind, KvEvent::Kind::kStored);
  EXPECT_EQ(events.events[0].block_hashes, std::vector<uint64_t>{1});
  EXPECT_EQ(events.events[1].kind, KvEvent::Kind::kRemoved);
  EXPECT_EQ(events.events[1].block_hashes, std::vector<uint64_t>{2});
  EXPECT_EQ(events.events[2].kind, KvEvent::Kind::kCleared);
  EXPECT_EQ(events.events[3].kind, KvEvent::Kind::kCleared);
}

}  // namespace
}  // namespace pingti::router
