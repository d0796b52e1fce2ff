// What a router gets when it reads fast, slowly, or without credit.
#include "worker/server/outbox.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <random>
#include <utility>
#include <vector>

#include "proto/pingti/worker/v1/worker.pb.h"
#include "worker/server/convert.h"

namespace pingti::worker {
namespace {

SequenceOutput Tokens(uint64_t id, std::vector<int32_t> tokens, bool finish = false) {
  SequenceOutput output;
  output.sequence_id = id;
  output.token_ids = std::move(tokens);
  if (finish) {
    output.finish.emplace();
    output.finish->reason = FinishReason::kMaxTokens;
  }
  return output;
}

void Add(Outbox* outbox, uint64_t step, std::vector<SequenceOutput> outputs) {
  outbox->AddOutputs(step, outputs, TimePoint());
}

// The next message's kind after Welcome; filled in `response`.
v1::SessionResponse::MessageCase Take(Outbox* outbox, v1::SessionResponse* response) {
  response->Clear();
  outbox->Take(response);
  return response->message_case();
}

class OutboxTest : public ::testing::Test {
 protected:
  void Open(uint32_t output_credit, size_t most_bytes = 4 << 20) {
    outbox.Open({"worker-1", "inc-1", "print", {"logprobs"}}, {64, 8192}, output_credit,
                most_bytes);
    ASSERT_EQ(Take(&outbox, &response), v1::SessionResponse::kWelcome);
  }
  Outbox outbox;
  v1::SessionResponse response;
};

TEST_F(OutboxTest, WelcomeComesFirstAndSaysWhoItIs) {
  Add(&outbox, 1, {Tokens(1, {5})});
  EXPECT_EQ(Take(&outbox, &response), v1::SessionResponse::MESSAGE_NOT_SET) << "before Hello";
  EXPECT_FALSE(outbox.Take(&response));
  outbox.Open({"worker-1", "inc-1", "print", {"logprobs"}}, {64, 8192}, 0, 4 << 20);
  ASSERT_EQ(Take(&outbox, &response), v1::SessionResponse::kWelcome);
  EXPECT_EQ(response.welcome().worker_id(), "worker-1");
  EXPECT_EQ(response.welcome().incarnation(), "inc-1");
  EXPECT_EQ(response.welcome().protocol_version(), 1u);
  EXPECT_EQ(response.welcome().initial_credit().max_waiting_sequences(), 64u);
  EXPECT_EQ(Take(&outbox, &response), v1::SessionResponse::kStepOutput);
}

TEST_F(OutboxTest, OneStepIsOneMessage) {
  Open(0);
  Add(&outbox, 7, {Tokens(1, {5}), Tokens(2, {6}), Tokens(3, {7}, true)});
  ASSERT_EQ(Take(&outbox, &response), v1::SessionResponse::kStepOutput);
  EXPECT_EQ(response.step_output().step(), 7u);
  ASSERT_EQ(response.step_output().outputs_size(), 3);
  EXPECT_EQ(response.step_output().outputs(2).finish().reason(), v1::Finish::REASON_MAX_TOKENS);
  EXPECT_EQ(Take(&outbox, &response), v1::SessionResponse::MESSAGE_NOT_SET);
}

TEST_F(OutboxTest, WithoutCreditStepsMergeAndNothingIsLost) {
  Open(1);
  Add(&outbox, 1, {Tokens(1, {10}), Tokens(2, {20})});
  ASSERT_EQ(Take(&outbox, &response), v1::SessionResponse::kStepOutput);
  Add(&outbox, 2, {Tokens(1, {11}), Tokens(2, {21}, true)});
  Add(&outbox, 3, {Tokens(1, {12}), Tokens(3, {30})});
  Add(&outbox, 4, {Tokens(1, {13}, true), Tokens(3, {31})});
  EXPECT_EQ(Take(&outbox, &response), v1::SessionResponse::MESSAGE_NOT_SET);
  EXPECT_FALSE(outbox.drained());
  outbox.AddOutputCredit(1);
  ASSERT_EQ(Take(&outbox, &response), v1::SessionResponse::kStepOutput);
  const auto& outputs = response.step_output().outputs();
  ASSERT_EQ(outputs.size(), 3);
  const auto tokens = [&](int i) {
    return std::vector<uint32_t>(outputs[i].token_ids().begin(), outputs[i].token_ids().end());
  };
  EXPECT_EQ(tokens(0), (std::vector<uint32_t>{11, 12, 13}));
  EXPECT_TRUE(outputs[0].has_finish());
  EXPECT_EQ(tokens(1), (std::vector<uint32_t>{21}));
  EXPECT_EQ(tokens(2), (std::vector<uint32_t>{30, 31}));
  EXPECT_EQ(response.step_output().step(), 4u);
  EXPECT_TRUE(outbox.drained());
}

TEST_F(OutboxTest, SamplesOfOneSequenceAreNotMixed) {
  Open(1);
  SequenceOutput other = Tokens(1, {99});
  other.sample_index = 1;
  Add(&outbox, 1, {Tokens(1, {1}), other});
  Add(&outbox, 2, {Tokens(1, {2})});
  ASSERT_EQ(Take(&outbox, &response), v1::SessionResponse::kStepOutput);
  ASSERT_EQ(response.step_output().outputs_size(), 2);
  EXPECT_EQ(response.step_output().outputs(0).token_ids_size(), 2);
  EXPECT_EQ(response.step_output().outputs(1).token_ids_size(), 1);
}

TEST_F(OutboxTest, AnIdMayBeUsedAgainWhileItsEndWaits) {
  Open(1);
  Add(&outbox, 1, {Tokens(9, {1})});
  ASSERT_EQ(Take(&outbox, &response), v1::SessionResponse::kStepOutput);
  Add(&outbox, 2, {Tokens(9, {2}, true)});
  Add(&outbox, 3, {Tokens(9, {3})});
  Add(&outbox, 4, {Tokens(9, {4}, true)});
  outbox.AddOutputCredit(1);
  ASSERT_EQ(Take(&outbox, &response), v1::SessionResponse::kStepOutput);
  const auto& outputs = response.step_output().outputs();
  ASSERT_EQ(outputs.size(), 2);
  EXPECT_EQ(outputs[0].token_ids_size(), 1);
  EXPECT_TRUE(outputs[0].has_finish());
  EXPECT_EQ(outputs[1].token_ids_size(), 2);
  EXPECT_EQ(outputs[1].token_ids(0), 3u);
  EXPECT_TRUE(outputs[1].has_finish());
}

TEST_F(OutboxTest, WhatIsHeldIsTakenOnceItIsReleased) {
  const auto held = [](uint64_t id, std::vector<int32_t> tokens, bool finish = false) {
    SequenceOutput output = Tokens(id, std::move(tokens), finish);
    output.interval = std::chrono::milliseconds(50);
    return output;
  };
  const auto at = [](int ms) { return TimePoint(std::chrono::milliseconds(1'000'000 + ms)); };
  const auto add = [&](uint64_t step, std::vector<SequenceOutput> outputs, int ms) {
    return outbox.AddOutputs(step, outputs, at(ms));
  };
  Open(0);
  EXPECT_EQ(add(1, {held(1, {10}), held(2, {20})}, 10), at(10)) << "the first go at once";
  ASSERT_EQ(Take(&outbox, &response), v1::SessionResponse::kStepOutput);
  EXPECT_EQ(response.step_output().outputs_size(), 2);
  EXPECT_EQ(add(2, {held(1, {11}), held(2, {21})}, 20), at(50));
  EXPECT_EQ(Take(&outbox, &response), v1::SessionResponse::MESSAGE_NOT_SET);
  EXPECT_FALSE(outbox.drained());
  EXPECT_EQ(add(3, {held(1, {12}), held(2, {22}, true), Tokens(3, {30})}, 30), at(30));
  ASSERT_EQ(Take(&outbox, &response), v1::SessionResponse::kStepOutput);
  ASSERT_EQ(response.step_output().outputs_size(), 2) << "what may wait waits";
  EXPECT_EQ(response.step_output().outputs(0).token_ids_size(), 2);
  EXPECT_TRUE(response.step_output().outputs(0).has_finish());
  EXPECT_EQ(response.step_output().outputs(1).sequence_id(), 3u);
  EXPECT_EQ(outbox.ReleaseHeld(at(49)), at(50));
  EXPECT_EQ(Take(&outbox, &response), v1::SessionResponse::MESSAGE_NOT_SET);
  EXPECT_EQ(outbox.ReleaseHeld(at(50)), TimePoint::max());
  ASSERT_EQ(Take(&outbox, &response), v1::SessionResponse::kStepOutput);
  ASSERT_EQ(response.step_output().outputs_size(), 1);
  EXPECT_EQ(response.step_output().outputs(0).token_ids_size(), 2);
  EXPECT_EQ(response.step_output().step(), 3u);
  EXPECT_TRUE(outbox.drained());
}

TEST_F(OutboxTest, WhatIsReleasedWithoutCreditStaysInOrder) {
  SequenceOutput output = Tokens(1, {1});
  output.interval = std::chrono::milliseconds(50);
  Open(1);
  const TimePoint start(std::chrono::milliseconds(1'000'000));
  for (int step = 1; step <= 20; ++step) {
    std::vector<SequenceOutput> outputs = {output};
    outputs[0].token_ids = {step};
    if (step == 20) outputs[0].finish.emplace();
    const TimePoint now = start + std::chrono::milliseconds(7 * step);
    outbox.ReleaseHeld(now);
    outbox.AddOutputs(static_cast<uint64_t>(step), outputs, now);
    if (step == 1) {
      ASSERT_EQ(Take(&outbox, &response), v1::SessionResponse::kStepOutput);
    }
  }
  outbox.AddOutputCredit(1);
  ASSERT_EQ(Take(&outbox, &response), v1::SessionResponse::kStepOutput);
  ASSERT_EQ(response.step_output().outputs_size(), 1);
  const auto& tokens = response.step_output().outputs(0).token_ids();
  ASSERT_EQ(tokens.size(), 19);
  for (int i = 0; i < tokens.size(); ++i) EXPECT_EQ(tokens[i], static_cast<uint32_t>(i + 2));
  EXPECT_TRUE(outbox.drained());
}

// Random sequences over few and many steps between two messages, against lists of what was said.
TEST_F(OutboxTest, WhateverIsMergedEverySequenceGetsItsTokensInOrder) {
  std::mt19937 random(3);
  Open(1);
  std::map<uint64_t, std::vector<uint32_t>> said;
  std::map<uint64_t, std::vector<uint32_t>> taken;
  const auto take = [&] {
    outbox.AddOutputCredit(1);
    if (Take(&outbox, &response) != v1::SessionResponse::kStepOutput) return;
    for (const v1::SequenceOutput& output : response.step_output().outputs()) {
      auto& tokens = taken[output.sequence_id()];
      tokens.insert(tokens.end(), output.token_ids().begin(), output.token_ids().end());
    }
  };
  uint32_t next_token = 0;
  for (uint64_t step = 1; step <= 500; ++step) {
    std::vector<SequenceOutput> outputs;
    for (uint64_t id = random() % 3; id < 12; id += 1 + random() % 3) {
      said[id].push_back(++next_token);
      outputs.push_back(Tokens(id, {static_cast<int32_t>(next_token)}));
    }
    Add(&outbox, step, std::move(outputs));
    if (random() % 4 == 0) take();
  }
  take();
  take();
  EXPECT_EQ(taken, said);
  EXPECT_TRUE(outbox.drained());
}

TEST_F(OutboxTest, AdaptersComeWithTheWelcomeAndWithEveryChange) {
  outbox.SetAdapters({{"id-1", "one", "/one"}});
  outbox.Open({"worker-1", "inc-1", "print", {}}, {64, 8192}, 0, 4 << 20);
  ASSERT_EQ(Take(&outbox, &response), v1::SessionResponse::kWelcome);
  ASSERT_EQ(response.welcome().adapters().adapters_size(), 1);
  EXPECT_EQ(response.welcome().adapters().adapters(0).id(), "id-1");
  EXPECT_EQ(Take(&outbox, &response), v1::SessionResponse::MESSAGE_NOT_SET);
  outbox.SetAdapters({});
  ASSERT_EQ(Take(&outbox, &response), v1::SessionResponse::kAdapters);
  EXPECT_EQ(response.adapters().adapters_size(), 0);
  outbox.SetAdapters({{"id-1", "one", "/one"}, {"id-2", "two", "/two"}});
  ASSERT_EQ(Take(&outbox, &response), v1::SessionResponse::kAdapters);
  ASSERT_EQ(response.adapters().adapters_size(), 2);
  EXPECT_EQ(response.adapters().adapters(1).name(), "two");
  EXPECT_EQ(response.adapters().adapters(1).path(), "/two");
  EXPECT_EQ(Take(&outbox, &response), v1::SessionResponse::MESSAGE_NOT_SET);
}

TEST_F(OutboxTest, ChangesOfTheCacheBeforeItIsOpenAreNotKept) {
  const CacheEvent event{CacheEvent::Kind::kStored, 0, 1};
  outbox.AddCacheEvents(std::span(&event, 1));
  Open(0);
  EXPECT_EQ(Take(&outbox, &response), v1::SessionResponse::MESSAGE_NOT_SET);
}

// Prompt logprobs, tokens with theirs and an end, all of them telling apart.
SequenceOutput LongOutput(uint64_t id, int num_prompt, int num_tokens) {
  SequenceOutput output = Tokens(id, {}, /*finish=*/true);
  output.cached_prompt_tokens = 3;
  for (int i = 0; i < num_prompt; ++i) {
    TokenLogprobs scores{-static_cast<float>(i), {}};
    for (int top = 0; top < i % 21; ++top) scores.top.push_back({100'000 + top, -0.5f});
    output.prompt_logprobs.push_back(scores);
  }
  for (int i = 0; i < num_tokens; ++i) {
    output.token_ids.push_back(1'000'000 + i);
    output.logprobs.push_back({-static_cast<float>(i), {{i, -1.0f}}});
  }
  return output;
}

TEST_F(OutboxTest, WhatIsTooLargeForAMessageIsSplitAndNothingIsLost) {
  for (const size_t most : {1u, 600u, 1'000u, 4'096u, 1u << 20}) {
    Outbox split;
    split.Open({"worker-1", "inc-1", "print", {}}, {64, 8192}, 0, most);
    ASSERT_EQ(Take(&split, &response), v1::SessionResponse::kWelcome);
    const std::vector<SequenceOutput> given = {LongOutput(1, 300, 200), LongOutput(2, 0, 1),
                                               LongOutput(3, 50, 2)};
    Add(&split, 1, given);
    std::map<uint64_t, v1::SequenceOutput> joined;
    while (Take(&split, &response) == v1::SessionResponse::kStepOutput) {
      // One token's scores, up to 20 alternatives of them, may be larger than a tiny limit.
      EXPECT_LE(response.ByteSizeLong(), std::max<size_t>(most, 600)) << most;
      for (const v1::SequenceOutput& part : response.step_output().outputs()) {
        v1::SequenceOutput& whole = joined[part.sequence_id()];
        EXPECT_FALSE(whole.has_finish()) << "nothing follows the end";
        EXPECT_TRUE(!part.has_finish() || part.token_ids_size() > 0) << "the end's token comes too";
        EXPECT_TRUE(part.prompt_logprobs().empty() || whole.token_ids().empty());
        EXPECT_EQ(part.token_ids_size(), part.logprobs_size());
        EXPECT_EQ(part.cached_prompt_tokens(), 3u);
        whole.MergeFrom(part);
      }
    }
    EXPECT_TRUE(split.drained());
    ASSERT_EQ(joined.size(), given.size());
    for (SequenceOutput output : given) {
      v1::SequenceOutput expected;
      const uint64_t id = output.sequence_id;
      ToProto(std::move(output), &expected);
      EXPECT_EQ(joined[id].SerializeAsString(), expected.SerializeAsString()) << most;
    }
  }
}

TEST_F(OutboxTest, ManyCacheEventsAreSplitOverMessages) {
  Open(0, 1'000);
  std::vector<CacheEvent> events(500);
  for (size_t i = 0; i < events.size(); ++i) {
    events[i].kind = i % 2 == 0 ? CacheEvent::Kind::kStored : CacheEvent::Kind::kRemoved;
    events[i].hash = ~uint64_t{i};
  }
  outbox.AddCacheEvents(events);
  uint64_t next_id = 1;
  while (Take(&outbox, &response) == v1::SessionResponse::kKvEvents) {
    EXPECT_LE(response.ByteSizeLong(), 1'000u);
    EXPECT_EQ(response.kv_events().first_event_id(), next_id);
    next_id += static_cast<uint64_t>(response.kv_events().events_size());
  }
  EXPECT_EQ(next_id, 501u);
}

TEST_F(OutboxTest, OnlyTheNewestLoadAndCreditAreSent) {
  Open(0);
  LoadSnapshot load;
  load.step = 1;
  outbox.SetLoad(load);
  load.step = 2;
  outbox.SetLoad(load);
  outbox.SetAccepted(42);
  outbox.SetCredit({64, 8192});  // no change
  ASSERT_EQ(Take(&outbox, &response), v1::SessionResponse::kLoadReport);
  EXPECT_EQ(response.load_report().step(), 2u);
  EXPECT_EQ(response.load_report().includes_sequence_id(), 42u);
  outbox.SetCredit({32, 4096});
  outbox.SetCredit({16, 2048});
  ASSERT_EQ(Take(&outbox, &response), v1::SessionResponse::kSubmitCredit);
  EXPECT_EQ(response.submit_credit().max_waiting_sequences(), 16u);
  EXPECT_EQ(Take(&outbox, &response), v1::SessionResponse::MESSAGE_NOT_SET);
}

TEST_F(OutboxTest, CacheEventsAreGroupedAndNumbered) {
  Open(0);
  const CacheEvent events[] = {
      {CacheEvent::Kind::kStored, 0, 1},  {CacheEvent::Kind::kStored, 1, 2},
      {CacheEvent::Kind::kStored, 0, 3},  {CacheEvent::Kind::kRemoved, 0, 9},
      {CacheEvent::Kind::kRemoved, 0, 8}, {CacheEvent::Kind::kStored, 8, 7}};
  outbox.AddCacheEvents(events);
  ASSERT_EQ(Take(&outbox, &response), v1::SessionResponse::kKvEvents);
  const v1::KvEvents first = response.kv_events();
  ASSERT_EQ(first.events_size(), 4);
  EXPECT_EQ(first.events(0).stored().block_hashes_size(), 2);
  EXPECT_EQ(first.events(1).stored().parent_hash(), 0u);
  EXPECT_EQ(first.events(2).removed().block_hashes_size(), 2);
  EXPECT_EQ(first.events(3).stored().parent_hash(), 8u);
  outbox.AddCacheEvents(std::span(events).first(1));
  ASSERT_EQ(Take(&outbox, &response), v1::SessionResponse::kKvEvents);
  EXPECT_EQ(response.kv_events().first_event_id(), first.first_event_id() + 4);
}

TEST_F(OutboxTest, ThatCacheEventsWereDroppedIsToldWithoutWaitingForFurtherOnes) {
  Open(0);
  const std::vector<CacheEvent> many((1u << 16) + 1, {CacheEvent::Kind::kRemoved, 0, 1});
  outbox.AddCacheEvents(std::span(many).first(1));
  ASSERT_EQ(Take(&outbox, &response), v1::SessionResponse::kKvEvents);
  const uint64_t next = response.kv_events().first_event_id() + 1;
  outbox.AddCacheEvents(many);
  ASSERT_EQ(Take(&outbox, &response), v1::SessionResponse::kKvEvents);
  EXPECT_EQ(response.kv_events().first_event_id(), next);
  ASSERT_EQ(response.kv_events().events_size(), 1);
  EXPECT_TRUE(response.kv_events().events(0).has_cleared());
  EXPECT_EQ(Take(&outbox, &response), v1::SessionResponse::MESSAGE_NOT_SET);
  outbox.AddCacheEvents(std::span(many).first(1));
  ASSERT_EQ(Take(&outbox, &response), v1::SessionResponse::kKvEvents);
  EXPECT_EQ(response.kv_events().first_event_id(), next + 1);
  EXPECT_TRUE(response.kv_events().events(0).has_removed());
}

TEST_F(OutboxTest, WhatComesBehindDroppedCacheEventsCountsFromAClearedCacheOn) {
  Open(0);
  const std::vector<CacheEvent> many((1u << 16) + 1, {CacheEvent::Kind::kRemoved, 0, 1});
  const CacheEvent stored{CacheEvent::Kind::kStored, 0, 7};
  outbox.AddCacheEvents(many);
  outbox.AddCacheEvents(std::span(&stored, 1));
  ASSERT_EQ(Take(&outbox, &response), v1::SessionResponse::kKvEvents);
  ASSERT_EQ(response.kv_events().events_size(), 2);
  EXPECT_TRUE(response.kv_events().events(0).has_cleared());
  EXPECT_EQ(response.kv_events().events(1).stored().block_hashes(0), 7u);
}

}  // namespace
}  // namespace pingti::worker
