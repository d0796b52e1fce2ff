// What a generation sends where, event by event. Interleavings of threads: generation_test.cc.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "tests/router/pipeline/steered_generations.h"

namespace pingti::router {
namespace {

using std::chrono::milliseconds;
constexpr Finish kMaxTokensReached{.reason = Finish::Reason::kMaxTokens};

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

}  // namespace
}  // namespace pingti::router
