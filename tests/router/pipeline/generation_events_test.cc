// What a generation sends where, event by event. Interleavings of threads: generation_test.cc.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "boost/json.hpp"
#include "tests/router/pipeline/steered_generations.h"

namespace pingti::router {
namespace {

using std::chrono::milliseconds;
const Finish kMaxTokensReached{Finish::Reason::kMaxTokens, 0, {}};

GenerationRequest Streamed() {
  GenerationRequest request = SteeredGenerations::Completion({"p"});
  request.stream = true;
  return request;
}

// ---- stream_interval

TEST(StreamIntervalTest, TokensInBetweenGoTogetherAndTheFirstGoesAtOnce) {
  SteeredGenerations steered({.stream_interval = milliseconds(100)});
  const auto sink = steered.Start(Streamed());
  const uint64_t id = steered.worker("a").submitted.at(0).sequence_id;
  steered.Say("a", id, "a");
  ASSERT_EQ(sink->deltas.size(), 1u);
  steered.Say("a", id, "b");
  steered.Say("a", id, "c");
  EXPECT_EQ(sink->deltas.size(), 1u);
  steered.Pass(milliseconds(99));
  EXPECT_EQ(sink->deltas.size(), 1u);
  steered.Pass(milliseconds(1));
  ASSERT_EQ(sink->deltas.size(), 2u);
  EXPECT_EQ(sink->deltas[1].content, "bc");
  steered.Say("a", id, "d");
  EXPECT_EQ(sink->deltas.size(), 2u) << "the interval begins anew with what was sent";
}

TEST(StreamIntervalTest, ATokenThatComesAfterTheIntervalTakesTheHeldOnesAlong) {
  SteeredGenerations steered({.stream_interval = milliseconds(30)});
  const auto sink = steered.Start(Streamed());
  const uint64_t id = steered.worker("a").submitted.at(0).sequence_id;
  for (const std::string token : {"a", "b", "c", "d", "e", "f"}) {
    steered.Say("a", id, token);
    steered.AdvanceOnly(milliseconds(20));
  }
  ASSERT_EQ(sink->deltas.size(), 3u);
  EXPECT_EQ(sink->deltas[1].content, "bc");
  EXPECT_EQ(sink->deltas[2].content, "de");
}

TEST(StreamIntervalTest, TheEndWaitsForNothing) {
  SteeredGenerations steered({.stream_interval = milliseconds(100)});
  const auto sink = steered.Start(Streamed());
  const uint64_t id = steered.worker("a").submitted.at(0).sequence_id;
  steered.Say("a", id, "a");
  steered.Say("a", id, "b");
  steered.Say("a", id, "c", kMaxTokensReached);
  ASSERT_EQ(sink->deltas.size(), 2u);
  EXPECT_EQ(sink->deltas[1].content, "bc");
  EXPECT_EQ(sink->deltas[1].finish, FinishReason::kLength);
  EXPECT_EQ(sink->usage->completion_tokens, 3u);
}

TEST(StreamIntervalTest, AnErrorComesAfterWhatWasHeld) {
  SteeredGenerations steered({.stream_interval = milliseconds(100)});
  const auto sink = steered.Start(Streamed());
  const uint64_t id = steered.worker("a").submitted.at(0).sequence_id;
  steered.Say("a", id, "a");
  steered.Say(
      "a", id, "b",
      Finish{Finish::Reason::kError, static_cast<uint32_t>(absl::StatusCode::kInternal), "x"});
  EXPECT_EQ(sink->Text(0), "ab");
  ASSERT_TRUE(sink->error.has_value());
  EXPECT_EQ(sink->error->code(), absl::StatusCode::kInternal);
}

TEST(StreamIntervalTest, AResumedAnswerKeepsWhatWasHeld) {
  SteeredGenerations steered({.stream_interval = milliseconds(100)});
  const auto sink = steered.Start(Streamed());
  steered.Say("a", steered.worker("a").submitted.at(0).sequence_id, "a");
  steered.Say("a", steered.worker("a").submitted.at(0).sequence_id, "b");
  steered.Lose("a");
  const Sequence& again = steered.worker("b").submitted.at(0);
  EXPECT_EQ(again.generated_token_ids, (std::vector<uint32_t>{'a', 'b'}));
  steered.Say("b", again.sequence_id, "c", kMaxTokensReached);
  EXPECT_EQ(sink->Text(0), "abc");
}

TEST(StreamIntervalTest, ChoicesAreHeldEachByItself) {
  SteeredGenerations steered({.stream_interval = milliseconds(100)});
  GenerationRequest request = Streamed();
  request.params.n = 2;
  const auto sink = steered.Start(std::move(request));
  steered.Say("a", steered.worker("a").submitted.at(0).sequence_id, "a");
  steered.Say("b", steered.worker("b").submitted.at(0).sequence_id, "A");
  EXPECT_EQ(sink->Text(0), "a");
  EXPECT_EQ(sink->Text(1), "A");
}

TEST(StreamIntervalTest, AnAnswerThatIsNotStreamedIsNotHeld) {
  SteeredGenerations steered({.stream_interval = milliseconds(100)});
  const auto sink = steered.Start(SteeredGenerations::Completion({"p"}));
  const uint64_t id = steered.worker("a").submitted.at(0).sequence_id;
  steered.Say("a", id, "a");
  steered.Say("a", id, "b");
  EXPECT_EQ(sink->deltas.size(), 2u);
}

TEST(StreamIntervalTest, AClientThatIsGoneWhenHeldTokensGoEndsTheRequest) {
  SteeredGenerations steered({.stream_interval = milliseconds(100)});
  const auto sink = steered.Start(Streamed());
  const uint64_t id = steered.worker("a").submitted.at(0).sequence_id;
  steered.Say("a", id, "a");
  steered.Say("a", id, "b");
  sink->client_is_gone = true;
  steered.Pass(milliseconds(100));
  EXPECT_TRUE(sink->error.has_value());
  EXPECT_EQ(steered.worker("a").cancelled, std::vector<uint64_t>{id});
}

// ---- what workers hold

// What the worker is asked for a request.
milliseconds IntervalOf(SteeredGenerations* steered, GenerationRequest request) {
  steered->Start(std::move(request));
  const size_t sent = steered->worker("a").submitted.size() + steered->worker("b").submitted.size();
  EXPECT_EQ(sent, 1u);
  return steered->worker("a").submitted.at(0).output_interval;
}

TEST(OutputIntervalTest, AStreamsWorkerHoldsTokensForItsInterval) {
  for (const int interval : {0, 20, 1000}) {
    SteeredGenerations steered({.stream_interval = milliseconds(interval)});
    EXPECT_EQ(IntervalOf(&steered, Streamed()), milliseconds(interval));
  }
}

TEST(OutputIntervalTest, AnAnswerThatIsNotStreamedIsReportedNowAndThen) {
  for (const int interval : {0, 20, 1000}) {
    SteeredGenerations steered({.stream_interval = milliseconds(interval)});
    EXPECT_EQ(IntervalOf(&steered, SteeredGenerations::Completion({"p"})),
              milliseconds(std::max(interval, 200)));
  }
}

TEST(OutputIntervalTest, NothingIsHeldOfAnAnswerThatItsTokensEndHere) {
  const auto make_request = [](int which) {
    GenerationRequest request = Streamed();
    if (which == 0) request.params.stop = {"END"};
    if (which == 1) request.thinking_budget = 10;
    if (which == 2) request.params.num_beams = 2;
    if (which < 3) return request;
    request = {};
    request.id = "chatcmpl-test";
    request.model = "m";
    request.stream = true;
    request.template_context = std::make_shared<boost::json::object>();
    (*request.template_context)["messages"] =
        boost::json::parse(R"([{"role":"user","content":"q"}])");
    (*request.template_context)["tools"] = boost::json::parse(
        R"([{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}])");
    request.parse_tool_calls = true;
    request.parallel_tool_calls = which > 3;
    return request;
  };
  for (int which = 0; which < 5; ++which) {
    SCOPED_TRACE(which);
    SteeredGenerations steered({.stream_interval = milliseconds(100)});
    steered.model().chat_template = *text::ChatTemplate::Parse("{{ messages[0].content }}", {});
    steered.model().tool_calls = ToolCallFormat::kHermes;
    steered.model().beams = true;
    const bool goes_on_behind_calls = which == 4;
    EXPECT_EQ(IntervalOf(&steered, make_request(which)),
              milliseconds(goes_on_behind_calls ? 100 : 0));
  }
}

TEST(OutputIntervalTest, WhatAWorkerHeldIsNotHeldAgain) {
  for (const bool holds : {false, true}) {
    SteeredGenerations steered({.stream_interval = milliseconds(100)});
    if (holds) steered.HoldOutputs();
    const auto sink = steered.Start(Streamed());
    const std::string at = steered.worker("a").submitted.empty() ? "b" : "a";
    const uint64_t id = steered.worker(at).submitted.at(0).sequence_id;
    steered.Say(at, id, "a");
    steered.AdvanceOnly(milliseconds(99));  // the worker's clock is as good as the router's
    steered.Say(at, id, "bc");
    EXPECT_EQ(sink->Text(0), holds ? "abc" : "a");
  }
}

TEST(OutputIntervalTest, WhatNoWorkerHoldsIsHeldHere) {
  SteeredGenerations steered({.stream_interval = milliseconds(100)});
  steered.HoldOutputs();
  GenerationRequest request = Streamed();
  request.params.stop = {"END"};
  const auto sink = steered.Start(std::move(request));
  const std::string at = steered.worker("a").submitted.empty() ? "b" : "a";
  const uint64_t id = steered.worker(at).submitted.at(0).sequence_id;
  steered.Say(at, id, "a");
  steered.Say(at, id, "b");
  EXPECT_EQ(sink->Text(0), "a");
  steered.Pass(milliseconds(100));
  EXPECT_EQ(sink->Text(0), "ab");
}

// ---- what is sent

TEST(GenerationSends, PromptsTimesChoicesWithSeedsThatDependOnTheSampleAlone) {
  SteeredGenerations steered;
  GenerationRequest request = SteeredGenerations::Completion({"one", "two"});
  request.params.n = 3;
  request.params.seed = 42;
  request.params.max_tokens = 5;
  const auto sink = steered.Start(std::move(request));
  std::map<std::string, std::set<uint64_t>> seeds;  // by prompt
  for (const std::string address : {"a", "b"}) {
    for (const Sequence& sequence : steered.worker(address).submitted) {
      const std::string prompt(sequence.prompt_token_ids.begin(), sequence.prompt_token_ids.end());
      EXPECT_TRUE(seeds[prompt].insert(sequence.sampling.seed).second) << prompt;
      // Says which prompt it answers.
      steered.Say(address, sequence.sequence_id, prompt + "!", kMaxTokensReached);
    }
  }
  ASSERT_EQ(seeds.size(), 2u);
  EXPECT_EQ(seeds.at("one").size(), 3u);
  EXPECT_EQ(seeds.at("one"), seeds.at("two")) << "sample i of each prompt has seed i";
  EXPECT_TRUE(seeds.at("one").contains(42)) << "the first has the client's own";
  ASSERT_TRUE(sink->usage.has_value());
  for (uint32_t i = 0; i < 3; ++i) {
    EXPECT_EQ(sink->Text(i), "one!");
    EXPECT_EQ(sink->Text(3 + i), "two!");
  }
  EXPECT_EQ(sink->usage->prompt_tokens, 6u) << "each prompt once";
  EXPECT_EQ(sink->usage->completion_tokens, 24u);
  EXPECT_EQ(steered.admission().concurrent_sequences(), 0u);
}

TEST(GenerationSends, WhatTheClientAskedFor) {
  SteeredGenerations steered;
  GenerationRequest request = SteeredGenerations::Completion({"prompt"});
  request.tenant = "key";
  GenerationParams& params = request.params;
  params.max_tokens = 7;
  params.min_tokens = 9;
  params.temperature = 0.5;
  params.top_p = 0.25;
  params.top_k = 3;
  params.min_p = 0.125;
  params.repetition_penalty = 1.5;
  params.presence_penalty = -1;
  params.frequency_penalty = 2;
  params.stop_token_ids = {9};
  params.ignore_eos = true;
  params.speculation = false;
  params.logit_bias = {{5, -1.5f}};
  params.logprobs = true;
  params.top_logprobs = 4;
  params.priority = 6;
  steered.Start(std::move(request));
  const Sequence& sent = steered.worker("a").submitted.at(0);
  EXPECT_EQ(sent.request_id, "cmpl-test");
  EXPECT_EQ(sent.cache_salt, "key");
  EXPECT_EQ(sent.priority, 6);
  EXPECT_FALSE(sent.speculation);
  EXPECT_EQ(sent.sampling.temperature, 0.5f);
  EXPECT_EQ(sent.sampling.top_p, 0.25f);
  EXPECT_EQ(sent.sampling.top_k, 3u);
  EXPECT_EQ(sent.sampling.min_p, 0.125f);
  EXPECT_EQ(sent.sampling.repetition_penalty, 1.5f);
  EXPECT_EQ(sent.sampling.presence_penalty, -1);
  EXPECT_EQ(sent.sampling.frequency_penalty, 2);
  EXPECT_EQ(sent.sampling.logit_bias, (std::vector<std::pair<uint32_t, float>>{{5, -1.5f}}));
  EXPECT_EQ(sent.stop.max_tokens, 7u);
  EXPECT_EQ(sent.stop.min_tokens, 7u) << "no more than the most";
  EXPECT_EQ(sent.stop.stop_token_ids, std::vector<uint32_t>{9});
  EXPECT_TRUE(sent.stop.ignore_eos);
  ASSERT_TRUE(sent.logprobs.has_value());
  EXPECT_EQ(sent.logprobs->top_logprobs, 4u);
  EXPECT_FALSE(sent.logprobs->prompt);
}

TEST(GenerationSends, TheModelsDefaultsForWhatItDidNotAskFor) {
  SteeredGenerations steered;
  steered.model().temperature = 0.75f;
  steered.model().top_k = 20;
  GenerationRequest request = SteeredGenerations::Completion({"p"});
  request.params.min_tokens = 9;
  request.params.top_p = 0.5;
  steered.Start(std::move(request));
  const Sequence& sent = steered.worker("a").submitted.at(0);
  EXPECT_EQ(sent.sampling.temperature, 0.75f);
  EXPECT_EQ(sent.sampling.top_k, 20u);
  EXPECT_EQ(sent.sampling.top_p, 0.5f);
  EXPECT_EQ(sent.sampling.min_p, 0) << "the API's own, where the model has none";
  EXPECT_EQ(sent.sampling.repetition_penalty, 1);
  EXPECT_EQ(sent.stop.max_tokens, 0u) << "up to the context's end";
  EXPECT_EQ(sent.stop.min_tokens, 9u);
  EXPECT_FALSE(sent.logprobs.has_value());
}

TEST(GenerationSends, NoMoreTokensThanItsContextHolds) {
  SteeredGenerations steered;  // 1,000 tokens
  GenerationRequest request = SteeredGenerations::Completion({std::string(990, 'p')});
  request.params.max_tokens = 10;
  steered.Start(std::move(request));
  EXPECT_EQ(steered.worker("a").submitted.at(0).stop.max_tokens, 10u);
}

TEST(GenerationSends, OnlyToWorkersWhoseContextHoldsAllThatWasAskedFor) {
  constexpr size_t kPrompt = 10;
  constexpr uint32_t kSmallContext = 20;
  for (const uint32_t most : {0u, 1u, 9u, 10u, 11u, 500u}) {  // 0: not said
    SCOPED_TRACE(most);
    SteeredGenerations steered;
    auto small = std::make_shared<ServedModel>(steered.model());
    small->max_context_tokens = kSmallContext;
    steered.Lose("a");
    steered.Connect("a", small);
    for (int i = 0; i < 2; ++i) {
      GenerationRequest request = SteeredGenerations::Completion({std::string(kPrompt, 'p')});
      if (most > 0) request.params.max_tokens = most;
      steered.Start(std::move(request));
    }
    const bool fits = kPrompt + most <= kSmallContext;
    EXPECT_EQ(steered.worker("a").submitted.size(), fits ? 1u : 0u);
    EXPECT_EQ(steered.worker("b").submitted.size(), fits ? 1u : 2u);
  }
}

TEST(GenerationEnds, ItsPlaceIsFreeAndItsCountsAreRight) {
  SteeredGenerations steered;
  steered.admission().SetTenants({{"key", {.name = "key", .tokens_per_minute = 1000}}});
  GenerationRequest request = SteeredGenerations::Completion({"abc"});
  request.tenant = "key";
  request.params.n = 2;
  const auto sink = steered.Start(std::move(request));
  EXPECT_EQ(steered.admission().concurrent_sequences(), 2u);
  EXPECT_EQ(steered.admission().queued_sequences(), 2u);
  EXPECT_EQ(steered.admission().queued_tokens(), 6u);
  steered.Say("a", steered.worker("a").submitted.at(0).sequence_id, "x");
  EXPECT_EQ(steered.admission().queued_sequences(), 1u);
  steered.Say("a", steered.worker("a").submitted.at(0).sequence_id, "y", kMaxTokensReached);
  EXPECT_FALSE(sink->ended());
  steered.Say("b", steered.worker("b").submitted.at(0).sequence_id, "z", kMaxTokensReached);
  ASSERT_TRUE(sink->usage.has_value());
  EXPECT_EQ(steered.admission().concurrent_sequences(), 0u);
  EXPECT_EQ(steered.admission().QuotaOf("key").tokens->remaining, 1000u - 2 * 3 - 3)
      << "what came, not what might have";
  EXPECT_EQ(sink->usage->prompt_tokens, 3u);
  EXPECT_EQ(sink->usage->completion_tokens, 3u);
  EXPECT_EQ(sink->usage->reasoning_tokens, 0u);
}

TEST(GenerationSends, ChoicesWithoutASeedDiffer) {
  SteeredGenerations steered;
  GenerationRequest request = SteeredGenerations::Completion({"p"});
  request.params.n = 4;
  steered.Start(std::move(request));
  std::set<uint64_t> seeds;
  for (const std::string address : {"a", "b"}) {
    for (const Sequence& sequence : steered.worker(address).submitted) {
      seeds.insert(sequence.sampling.seed);
    }
  }
  EXPECT_EQ(seeds.size(), 4u);
  steered.ClientLeaves();
}

// ---- what is cancelled

TEST(GenerationCancels, WhatIsAtAWorkerAndWhatWaitsWhenItsClientLeaves) {
  SteeredGenerations steered;
  GenerationRequest request = SteeredGenerations::Completion({"p"});
  request.params.n = 20;  // 16 find room
  const auto sink = steered.Start(std::move(request));
  SteeredWorker& a = steered.worker("a");
  SteeredWorker& b = steered.worker("b");
  ASSERT_EQ(a.submitted.size(), 8u);
  ASSERT_EQ(b.submitted.size(), 8u);
  EXPECT_EQ(steered.dispatcher().queued(), 4u);
  // One has ended: it is not cancelled. Its place is taken at once by one that waited.
  steered.Say("a", a.submitted[0].sequence_id, "x", kMaxTokensReached);
  ASSERT_EQ(a.submitted.size(), 9u);
  EXPECT_EQ(a.cancelled, std::vector<uint64_t>{});
  steered.ClientLeaves();
  std::set<uint64_t> expected;
  for (size_t i = 1; i < a.submitted.size(); ++i) expected.insert(a.submitted[i].sequence_id);
  EXPECT_EQ(std::set<uint64_t>(a.cancelled.begin(), a.cancelled.end()), expected);
  EXPECT_EQ(a.cancelled.size(), 8u) << "each once";
  EXPECT_EQ(b.cancelled.size(), 8u);
  EXPECT_EQ(b.submitted.size(), 8u) << "what waited went nowhere";
  EXPECT_EQ(steered.dispatcher().queued(), 0u);
  EXPECT_EQ(steered.admission().concurrent_sequences(), 0u);
  ASSERT_TRUE(sink->error.has_value());
  EXPECT_TRUE(absl::IsCancelled(*sink->error));
  // What the workers say after that reaches nobody.
  const size_t deltas = sink->deltas.size();
  steered.Say("b", b.submitted[0].sequence_id, "late", kMaxTokensReached);
  EXPECT_EQ(sink->deltas.size(), deltas);
}

TEST(GenerationCancels, AStopStringEndsTheSequenceAtItsWorker) {
  SteeredGenerations steered;
  GenerationRequest request = SteeredGenerations::Completion({"p"});
  request.params.stop = {"END"};
  const auto sink = steered.Start(std::move(request));
  const uint64_t id = steered.worker("a").submitted.at(0).sequence_id;
  steered.Say("a", id, "abEN");
  EXPECT_TRUE(steered.worker("a").cancelled.empty());
  steered.Say("a", id, "Dcd");
  EXPECT_EQ(steered.worker("a").cancelled, std::vector<uint64_t>{id});
  EXPECT_EQ(sink->Text(0), "ab");
  ASSERT_TRUE(sink->usage.has_value());
  EXPECT_EQ(sink->deltas.back().finish, FinishReason::kStop);
}

TEST(GenerationCancels, NothingWhereTheWorkersOwnEndCameWithTheStopString) {
  SteeredGenerations steered;
  GenerationRequest request = SteeredGenerations::Completion({"p"});
  request.params.stop = {"END"};
  const auto sink = steered.Start(std::move(request));
  const uint64_t id = steered.worker("a").submitted.at(0).sequence_id;
  steered.Say("a", id, "abEND", kMaxTokensReached);
  EXPECT_TRUE(steered.worker("a").cancelled.empty());
  EXPECT_EQ(sink->deltas.back().finish, FinishReason::kStop);
}

TEST(GenerationCancels, AnErrorOfOneChoiceEndsTheOthers) {
  SteeredGenerations steered;
  GenerationRequest request = SteeredGenerations::Completion({"p"});
  request.params.n = 2;
  const auto sink = steered.Start(std::move(request));
  steered.Say("a", steered.worker("a").submitted.at(0).sequence_id, "",
              Finish{Finish::Reason::kError,
                     static_cast<uint32_t>(absl::StatusCode::kInvalidArgument), "no"});
  EXPECT_TRUE(steered.worker("a").cancelled.empty());
  EXPECT_EQ(steered.worker("b").cancelled.size(), 1u);
  ASSERT_TRUE(sink->error.has_value());
  EXPECT_TRUE(absl::IsInvalidArgument(*sink->error));
}

// ---- what is tried again

const Finish kHandedBack{Finish::Reason::kPreempted, 0, {}};
const Finish kBroken{Finish::Reason::kError, static_cast<uint32_t>(absl::StatusCode::kUnavailable),
                     "broken"};

// The worker that has the newest sequence.
std::string Newest(SteeredGenerations* steered) {
  const auto id = [&](const std::string& address) {
    const auto& submitted = steered->worker(address).submitted;
    return submitted.empty() ? 0 : submitted.back().sequence_id;
  };
  return id("a") > id("b") ? "a" : "b";
}

TEST(GenerationResumes, ElsewhereWithTheTokensSoFar) {
  SteeredGenerations steered;
  GenerationRequest request = SteeredGenerations::Completion({"p"});
  request.params.max_tokens = 4;
  const auto sink = steered.Start(std::move(request));
  const Sequence first = steered.worker("a").submitted.at(0);
  EXPECT_TRUE(first.generated_token_ids.empty());
  steered.Say("a", first.sequence_id, "x", kHandedBack);
  ASSERT_EQ(steered.worker("b").submitted.size(), 1u);
  const Sequence& again = steered.worker("b").submitted[0];
  EXPECT_EQ(again.prompt_token_ids, first.prompt_token_ids);
  EXPECT_EQ(again.generated_token_ids, std::vector<uint32_t>{'x'});
  EXPECT_EQ(again.sampling.seed, first.sampling.seed);
  EXPECT_EQ(again.stop.max_tokens, 4u) << "of all its tokens";
  EXPECT_TRUE(steered.worker("a").cancelled.empty()) << "it handed the sequence back";
  steered.Say("a", first.sequence_id, "late");
  steered.Say("b", again.sequence_id, "yz", kMaxTokensReached);
  EXPECT_EQ(sink->Text(0), "xyz");
}

TEST(GenerationResumes, SoManyTimesWithoutATokenInBetween) {
  SteeredGenerations steered({.max_attempts = 3});
  const auto sink = steered.Start(SteeredGenerations::Completion({"p"}));
  const auto fail = [&](std::string_view text) {
    const std::string address = Newest(&steered);
    steered.Say(address, steered.worker(address).submitted.back().sequence_id, text, kBroken);
  };
  fail("");
  fail("");
  EXPECT_FALSE(sink->ended());
  fail("x");  // a token: counts from one again
  fail("");
  EXPECT_FALSE(sink->ended());
  fail("");
  ASSERT_TRUE(sink->error.has_value());
  EXPECT_TRUE(absl::IsUnavailable(*sink->error));
  EXPECT_EQ(steered.worker("a").submitted.size() + steered.worker("b").submitted.size(), 5u);
  EXPECT_EQ(sink->Text(0), "x");
}

TEST(GenerationResumes, HandBacksAreNoFailures) {
  SteeredGenerations steered({.max_attempts = 2});
  const auto sink = steered.Start(SteeredGenerations::Completion({"p"}));
  for (int i = 0; i < 99; ++i) {
    const std::string address = Newest(&steered);
    steered.Say(address, steered.worker(address).submitted.back().sequence_id, "", kHandedBack);
    ASSERT_FALSE(sink->ended()) << i;
  }
  const std::string address = Newest(&steered);
  steered.Say(address, steered.worker(address).submitted.back().sequence_id, "", kHandedBack);
  EXPECT_TRUE(sink->error.has_value()) << "a hundred are a circle";
}

// ---- time

TEST(GenerationTime, AQueueTimeoutIsToldWithWhenToComeBack) {
  SteeredGenerations steered({.queue_timeout = milliseconds(300)});
  steered.registry().OnSubmitCredit(steered.worker("a").link, {0, 0});
  steered.registry().OnSubmitCredit(steered.worker("b").link, {0, 0});
  std::vector<std::shared_ptr<KeepingSink>> first;
  for (int i = 0; i < 2; ++i) first.push_back(steered.Start(SteeredGenerations::Completion({"p"})));
  const auto sink = steered.Start(SteeredGenerations::Completion({"p"}));
  EXPECT_EQ(steered.dispatcher().queued(), 1u);
  steered.Pass(milliseconds(299));
  EXPECT_FALSE(sink->ended());
  steered.Pass(milliseconds(1));
  ASSERT_TRUE(sink->error.has_value());
  EXPECT_TRUE(absl::IsUnavailable(*sink->error)) << *sink->error;
  EXPECT_FALSE(first[0]->ended()) << "what is at a worker is not in the queue";
}

TEST(GenerationTime, ARequestEndsWithItsTimeAndItsSequenceIsCancelled) {
  SteeredGenerations steered({.request_timeout = milliseconds(1000)});
  const auto sink = steered.Start(SteeredGenerations::Completion({"p"}));
  EXPECT_EQ(steered.worker("a").submitted.at(0).deadline_ms, 1000u);
  steered.Pass(milliseconds(999));
  EXPECT_FALSE(sink->ended());
  steered.Pass(milliseconds(1));
  ASSERT_TRUE(sink->error.has_value());
  EXPECT_TRUE(absl::IsDeadlineExceeded(*sink->error));
  EXPECT_EQ(steered.worker("a").cancelled.size(), 1u);
}

TEST(GenerationTime, KeepAlivesComeWhileNothingElseDoes) {
  SteeredGenerations steered({.keep_alive = milliseconds(100)});
  const auto sink = steered.Start(Streamed());
  const uint64_t id = steered.worker("a").submitted.at(0).sequence_id;
  steered.Pass(milliseconds(99));
  EXPECT_EQ(sink->keep_alives, 0);
  steered.Pass(milliseconds(1));
  EXPECT_EQ(sink->keep_alives, 1);
  steered.Pass(milliseconds(60));
  steered.Say("a", id, "x");
  steered.Pass(milliseconds(60));
  EXPECT_EQ(sink->keep_alives, 1) << "the token counts";
  steered.Pass(milliseconds(40));
  EXPECT_EQ(sink->keep_alives, 2);
}

}  // namespace
}  // namespace pingti::router
