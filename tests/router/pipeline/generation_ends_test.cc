// Sequences that the router itself ends, and what still comes of one that is over.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "boost/json.hpp"
#include "tests/router/pipeline/steered_generations.h"

namespace pingti::router {
namespace {

const Finish kMostTokens{Finish::Reason::kMaxTokens, 0, {}};
const Finish kGivenBack{Finish::Reason::kPreempted, 0, {}};
constexpr std::string_view kThoughtEnd = "</think>";  // eight tokens

std::string Spelled(const std::vector<uint32_t>& bytes) { return {bytes.begin(), bytes.end()}; }

std::string ThoughtOf(const KeepingSink& sink) {
  std::string thought;
  for (const ChoiceDelta& delta : sink.deltas) thought += delta.reasoning;
  return thought;
}

// A model whose prompt begins its thought.
void MakeThinker(SteeredGenerations* steered) {
  steered->model().reasoning = ReasoningFormat::kThink;
  steered->model().chat_template =
      *text::ChatTemplate::Parse("{{ messages[0].content }}<think>", {});
}

GenerationRequest Thought(uint32_t budget) {
  GenerationRequest request;
  request.id = "chatcmpl-test";
  request.model = "m";
  request.template_context = std::make_shared<boost::json::object>();
  (*request.template_context)["messages"] =
      boost::json::parse(R"([{"role":"user","content":"q"}])");
  request.thinking_budget = budget;
  return request;
}

// ---- thoughts with a budget

TEST(ThoughtBudget, AnAnswerGoesOnBehindItsThoughtWhileTokensAreLeft) {
  constexpr uint32_t kBudget = 3;
  const auto with_end = static_cast<uint32_t>(kBudget + kThoughtEnd.size());
  for (uint32_t most = 0; most <= with_end + 2; ++most) {  // 0: no limit
    SCOPED_TRACE(most);
    SteeredGenerations steered;
    MakeThinker(&steered);
    GenerationRequest request = Thought(kBudget);
    if (most > 0) request.params.max_tokens = most;
    const auto sink = steered.Start(std::move(request));
    const uint64_t id = steered.worker("a").submitted.at(0).sequence_id;
    const bool worker_ends = most > 0 && most <= kBudget;
    steered.Say("a", id, std::string(worker_ends ? most : kBudget, 'x'),
                worker_ends ? std::optional(kMostTokens) : std::nullopt);
    EXPECT_EQ(ThoughtOf(*sink), std::string(worker_ends ? most : kBudget, 'x'));
    EXPECT_EQ(steered.worker("a").cancelled.size(), worker_ends ? 0u : 1u);
    if (most > 0 && most <= with_end) {
      ASSERT_TRUE(sink->usage.has_value());
      EXPECT_EQ(sink->deltas.back().finish, FinishReason::kLength);
      EXPECT_TRUE(steered.worker("b").submitted.empty());
      EXPECT_EQ(steered.admission().concurrent_sequences(), 0u);
      continue;
    }
    ASSERT_EQ(steered.worker("b").submitted.size(), 1u);
    const Sequence& answer = steered.worker("b").submitted[0];
    EXPECT_EQ(Spelled(answer.generated_token_ids), "xxx" + std::string(kThoughtEnd));
    EXPECT_EQ(answer.stop.max_tokens, most);
    steered.Say("b", answer.sequence_id, "y", kMostTokens);
    EXPECT_EQ(sink->Text(0), "y");
    EXPECT_EQ(ThoughtOf(*sink), "xxx");
    ASSERT_TRUE(sink->usage.has_value());
    EXPECT_EQ(sink->usage->completion_tokens, with_end + 1);
    EXPECT_EQ(sink->usage->reasoning_tokens, with_end);
  }
}

TEST(ThoughtBudget, NoneAtAllEndsTheThoughtBeforeAWorkerIsAsked) {
  SteeredGenerations steered;
  MakeThinker(&steered);
  const auto sink = steered.Start(Thought(0));
  const Sequence& answer = steered.worker("a").submitted.at(0);
  EXPECT_EQ(Spelled(answer.generated_token_ids), kThoughtEnd);
  steered.Say("a", answer.sequence_id, "y", kMostTokens);
  EXPECT_EQ(sink->Text(0), "y");
}

// ---- prompts that are scored only

TEST(ScoredPrompt, ItsSequenceEndsWithItsFirstToken) {
  for (const bool worker_ends : {false, true}) {
    SCOPED_TRACE(worker_ends);
    SteeredGenerations steered;
    GenerationRequest request = SteeredGenerations::Completion({"prompt"});
    request.echo = true;
    request.params.logprobs = true;
    request.params.max_tokens = 0;
    const auto sink = steered.Start(std::move(request));
    const Sequence& sent = steered.worker("a").submitted.at(0);
    EXPECT_EQ(sent.stop.max_tokens, 1u);
    steered.Say("a", sent.sequence_id, "x",
                worker_ends ? std::optional(kMostTokens) : std::nullopt);
    EXPECT_EQ(steered.worker("a").cancelled.size(), worker_ends ? 0u : 1u);
    EXPECT_EQ(sink->Text(0), "prompt") << "the drawn token is left out";
    ASSERT_TRUE(sink->usage.has_value());
    EXPECT_EQ(sink->usage->completion_tokens, 0u);
    EXPECT_EQ(sink->deltas.back().finish, FinishReason::kLength);
  }
}

// ---- ends

TEST(EndOfAGeneration, NothingIsSaidBehindAnError) {
  SteeredGenerations steered({.keep_alive = std::chrono::milliseconds(100)});
  GenerationRequest request = SteeredGenerations::Completion({"prompt"});
  request.stream = true;
  const auto sink = steered.Start(std::move(request));
  const uint64_t id = steered.worker("a").submitted.at(0).sequence_id;
  steered.Say("a", id, "x");
  steered.Pass(std::chrono::milliseconds(100));
  const int keep_alives = sink->keep_alives;
  EXPECT_GT(keep_alives, 0);
  steered.Say("a", id, "", Finish{Finish::Reason::kError, 13, "broken"});
  ASSERT_TRUE(sink->error.has_value());
  const absl::Status error = *sink->error;
  const size_t num_deltas = sink->deltas.size();
  steered.Pass(std::chrono::milliseconds(100));
  steered.ClientLeaves();
  steered.Say("a", id, "y");
  EXPECT_EQ(sink->keep_alives, keep_alives);
  EXPECT_EQ(*sink->error, error);
  EXPECT_EQ(sink->deltas.size(), num_deltas);
  EXPECT_FALSE(sink->usage.has_value());
  EXPECT_EQ(steered.admission().concurrent_sequences(), 0u);
}

TEST(EndOfAGeneration, NoMoreThanThePromptWasCached) {
  for (const uint32_t cached : {0u, 1u, 5u, 6u, 7u, 1'000'000u}) {
    SteeredGenerations steered;
    const auto sink = steered.Start(SteeredGenerations::Completion({"prompt"}));
    SequenceOutput output;
    output.sequence_id = steered.worker("a").submitted.at(0).sequence_id;
    output.token_ids = {'x'};
    output.cached_prompt_tokens = cached;
    output.finish = kMostTokens;
    steered.registry().OnStepOutput(steered.worker("a").link, {{std::move(output)}});
    ASSERT_TRUE(sink->usage.has_value());
    EXPECT_EQ(sink->usage->prompt_tokens, 6u);
    EXPECT_EQ(sink->usage->cached_prompt_tokens, std::min(cached, 6u));
  }
}

// ---- what is charged, and whose turn it is

TEST(FirstTokenObjective, IsToldToWhoWatchesTheRequest) {
  SteeredGenerations steered;
  steered.admission().SetOptions({.first_token_objectives = {{"chat", std::chrono::seconds(2)}}});
  steered.admission().SetTenants({{"key", {.name = "key", .tenant_class = "chat"}}});
  for (const auto& [tenant, seconds] :
       std::vector<std::pair<std::string, int>>{{"key", 2}, {"", 0}}) {
    GenerationRequest request = SteeredGenerations::Completion({"prompt"});
    request.tenant = tenant;
    const auto sink = steered.Start(std::move(request));
    const std::string worker = steered.worker("a").submitted.empty() || tenant.empty() ? "b" : "a";
    steered.Say(worker, steered.worker(worker).submitted.at(0).sequence_id, "x", kMostTokens);
    EXPECT_TRUE(sink->usage.has_value());
    EXPECT_EQ(steered.Objective(), std::chrono::seconds(seconds)) << tenant;
  }
}

TEST(AnswerTokens, AreChargedAsFarAsTheyAreLikelyUntilTheyAreKnown) {
  for (const uint32_t most : {1u, 255u, 256u, 257u, 900u}) {
    SCOPED_TRACE(most);
    SteeredGenerations steered;
    steered.admission().SetTenants({{"key", {.name = "key", .tokens_per_minute = 10'000}}});
    GenerationRequest request = SteeredGenerations::Completion({"abc"});
    request.tenant = "key";
    request.params.n = 2;
    request.params.max_tokens = most;
    const auto sink = steered.Start(std::move(request));
    EXPECT_EQ(steered.admission().QuotaOf("key").tokens->remaining,
              10'000u - 2 * (3 + std::min(most, 256u)));
    steered.ClientLeaves();
    EXPECT_EQ(steered.admission().QuotaOf("key").tokens->remaining, 10'000u - 2 * 3);
  }
}

TEST(ResumedAnswers, GoBeforeThoseThatHaveNotBegun) {
  SteeredGenerations steered;
  std::vector<std::shared_ptr<KeepingSink>> sinks;
  for (int i = 0; i < 17; ++i)
    sinks.push_back(steered.Start(SteeredGenerations::Completion({"p"})));
  ASSERT_EQ(steered.dispatcher().queued(), 1u) << "16 find room";
  SteeredWorker& a = steered.worker("a");
  const Sequence first = a.submitted.at(0);
  steered.Say("a", first.sequence_id, "x");
  ASSERT_EQ(a.submitted.size(), 9u) << "who has a token waits no longer";
  sinks.push_back(steered.Start(SteeredGenerations::Completion({"q"})));
  ASSERT_EQ(steered.dispatcher().queued(), 1u);
  steered.registry().OnSubmitCredit(a.link, {7, 1000});
  steered.registry().OnSubmitCredit(steered.worker("b").link, {7, 1000});
  steered.Say("a", first.sequence_id, "", kGivenBack);
  EXPECT_EQ(steered.dispatcher().queued(), 2u);
  steered.registry().OnSubmitCredit(steered.worker("b").link, {9, 1000});
  ASSERT_EQ(steered.worker("b").submitted.size(), 9u);
  EXPECT_EQ(Spelled(steered.worker("b").submitted[8].generated_token_ids), "x");
}

// ---- what comes late

TEST(LateEvents, TokensThatCameWhileAThoughtWasEndedAreNoPartOfTheAnswer) {
  SteeredGenerations steered;
  MakeThinker(&steered);
  const auto sink = steered.Start(Thought(2));
  const uint64_t id = steered.worker("a").submitted.at(0).sequence_id;
  steered.CallWithTokens([&] { steered.Say("a", id, "late"); });
  steered.Say("a", id, "xy");
  const Sequence& answer = steered.worker("b").submitted.at(0);
  EXPECT_EQ(Spelled(answer.generated_token_ids), "xy" + std::string(kThoughtEnd));
  steered.Say("b", answer.sequence_id, "z", kMostTokens);
  EXPECT_EQ(ThoughtOf(*sink), "xy");
  EXPECT_EQ(sink->Text(0), "z");
}

TEST(LateEvents, TokensThatCameWhileAnAnswerStoppedAreNotCounted) {
  SteeredGenerations steered;
  GenerationRequest request = SteeredGenerations::Completion({"p"});
  request.params.n = 2;
  request.params.stop = {"END"};
  const auto sink = steered.Start(std::move(request));
  const uint64_t id = steered.worker("a").submitted.at(0).sequence_id;
  steered.CallWithTokens([&] { steered.Say("a", id, "late"); });
  steered.Say("a", id, "abEND");
  EXPECT_FALSE(sink->ended());
  steered.Say("b", steered.worker("b").submitted.at(0).sequence_id, "c", kMostTokens);
  EXPECT_EQ(sink->Text(0), "ab");
  EXPECT_EQ(sink->Text(1), "c");
  ASSERT_TRUE(sink->usage.has_value());
  EXPECT_EQ(sink->usage->completion_tokens, 6u);
}

TEST(LateEvents, ASequenceThatIsPlacedWhenItsClientHasLeftIsCancelledThere) {
  SteeredGenerations steered;
  const auto sink = steered.Start(SteeredGenerations::Completion({"p"}));
  const uint64_t id = steered.worker("a").submitted.at(0).sequence_id;
  steered.CallWithTokens([&] { steered.ClientLeaves(); });
  steered.Say("a", id, "x", kGivenBack);
  // Sent again before the client's leaving had its turn.
  ASSERT_EQ(steered.worker("b").submitted.size(), 1u);
  EXPECT_EQ(steered.worker("b").cancelled,
            std::vector<uint64_t>{steered.worker("b").submitted[0].sequence_id});
  ASSERT_TRUE(sink->error.has_value());
  EXPECT_TRUE(absl::IsCancelled(*sink->error));
  for (const WorkerStatus& worker : steered.registry().Workers()) {
    EXPECT_EQ(worker.booked_sequences, 0u);
  }
}

// A request that waits at its worker is displaced by one of a higher priority while its own tokens
// are on their way: they were faster.
TEST(LateEvents, ADisplacementThatComesBehindTokensIsTooLate) {
  for (const bool ends : {false, true}) {
    SCOPED_TRACE(ends);
    SteeredGenerations steered({.keep_alive = std::chrono::milliseconds(100)});
    steered.admission().SetOptions({.max_queued_sequences = 1});
    const auto sink = steered.Start(SteeredGenerations::Completion({"p"}));
    const uint64_t id = steered.worker("a").submitted.at(0).sequence_id;
    std::shared_ptr<KeepingSink> other;
    sink->on_keep_alive = [&] {
      steered.Say("a", id, "x", ends ? std::optional(kMostTokens) : std::nullopt);
      GenerationRequest request = SteeredGenerations::Completion({"q"});
      request.params.priority = 1;
      other = steered.Start(std::move(request));
    };
    steered.Pass(std::chrono::milliseconds(100));
    ASSERT_NE(other, nullptr);
    EXPECT_FALSE(other->ended());
    EXPECT_FALSE(sink->error.has_value());
    EXPECT_EQ(sink->usage.has_value(), ends);
    if (!ends) steered.Say("a", id, "y", kMostTokens);
    EXPECT_EQ(sink->Text(0), ends ? "x" : "xy");
    EXPECT_TRUE(sink->usage.has_value());
  }
}

TEST(LateEvents, ADisplacementOfWhatOnlyWaitsEndsIt) {
  SteeredGenerations steered;
  steered.admission().SetOptions({.max_queued_sequences = 1});
  const auto sink = steered.Start(SteeredGenerations::Completion({"p"}));
  GenerationRequest request = SteeredGenerations::Completion({"q"});
  request.params.priority = 1;
  const auto other = steered.Start(std::move(request));
  ASSERT_TRUE(sink->error.has_value());
  EXPECT_TRUE(absl::IsResourceExhausted(*sink->error));
  EXPECT_EQ(steered.worker("a").cancelled.size(), 1u);
  EXPECT_FALSE(other->ended());
}

}  // namespace
}  // namespace pingti::router
