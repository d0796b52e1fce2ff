#include "router/admission/admission.h"

#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "router/api/api_error.h"
#include "tests/testing/fake_clock.h"

namespace pingti::router {
namespace {

using Ticket = std::unique_ptr<AdmissionController::Ticket>;

// Admits, and counts displacements.
class Admission : public ::testing::Test {
 protected:
  void Limit(AdmissionOptions options) {
    admission_ = std::make_unique<AdmissionController>(std::move(options), &clock_);
  }
  absl::StatusOr<Ticket> Admit(AdmissionRequest request, int* displaced = nullptr) {
    return admission_->Admit(std::move(request), [displaced](const absl::Status& why) {
      EXPECT_TRUE(absl::IsResourceExhausted(why)) << why;
      EXPECT_GE(RetryAfterSeconds(why), 1);
      ASSERT_NE(displaced, nullptr) << "displaced unexpectedly";
      ++*displaced;
    });
  }

  testing::FakeClock clock_;
  std::unique_ptr<AdmissionController> admission_;
};

TEST_F(Admission, RefusesAtOnceWhenTheQueueIsFull) {
  Limit({.max_queued_sequences = 2});
  auto first = Admit({.tokens = 10});
  auto second = Admit({.tokens = 10});
  ASSERT_TRUE(first.ok() && second.ok());
  const absl::Status refused = Admit({.tokens = 10}).status();
  EXPECT_TRUE(absl::IsResourceExhausted(refused));
  EXPECT_GE(RetryAfterSeconds(refused), 1);
  (*first)->OnSequenceStarted();
  EXPECT_TRUE(Admit({.tokens = 10}).ok());
}

TEST_F(Admission, BoundsTokensButLetsOneLargePromptThrough) {
  Limit({.max_queued_tokens = 100});
  auto large = Admit({.tokens = 1000});
  ASSERT_TRUE(large.ok());
  EXPECT_TRUE(absl::IsResourceExhausted(Admit({.tokens = 1}).status()));
  large = absl::CancelledError();
  EXPECT_EQ(admission_->queued_tokens(), 0u);
  EXPECT_TRUE(Admit({.tokens = 1}).ok());
}

TEST_F(Admission, CountsSequencesRatherThanRequests) {
  Limit({.max_queued_sequences = 100, .max_concurrent_per_key = 80});
  auto batch = Admit({.tenant = "alice", .sequences = 64, .tokens = 6400});
  ASSERT_TRUE(batch.ok());
  EXPECT_EQ(admission_->queued_sequences(), 64u);
  EXPECT_TRUE(absl::IsResourceExhausted(Admit({.tenant = "alice", .sequences = 17}).status()));
  EXPECT_TRUE(absl::IsResourceExhausted(Admit({.tenant = "bob", .sequences = 37}).status()));
  for (int i = 0; i < 63; ++i) (*batch)->OnSequenceStarted();
  EXPECT_EQ(admission_->queued_sequences(), 1u);
  EXPECT_EQ(admission_->queued_tokens(), 100u);
  EXPECT_TRUE(Admit({.tenant = "bob", .sequences = 37}).ok());
  EXPECT_TRUE(absl::IsResourceExhausted(Admit({.tenant = "alice", .sequences = 17}).status()))
      << "what runs is under way still";
  batch = absl::CancelledError();
  EXPECT_EQ(admission_->queued_sequences(), 0u);
  EXPECT_EQ(admission_->concurrent_sequences(), 0u);
}

TEST_F(Admission, AClassesObjectiveBoundsItsPredictedWait) {
  Limit({.first_token_objectives = {{"chat", std::chrono::seconds(2)}}});
  Tenant chat{.name = "chat-key", .tenant_class = "chat"};
  Tenant other{.name = "other-key", .tenant_class = "other"};
  admission_->SetTenants({{chat.name, chat}, {other.name, other}});
  for (int i = 0; i < 1000; ++i) {  // ten start per second
    clock_.Advance(std::chrono::milliseconds(100));
    auto ticket = Admit({.tenant = "other-key", .tokens = 100});
    ASSERT_TRUE(ticket.ok());
    EXPECT_EQ((*ticket)->first_token_objective().count(), 0);
    (*ticket)->OnSequenceStarted();
  }
  std::vector<Ticket> waiting;
  absl::Status refused;
  while (refused.ok()) {
    auto ticket = Admit({.tenant = "chat-key", .tokens = 100});
    refused = ticket.status();
    if (!ticket.ok()) break;
    EXPECT_EQ((*ticket)->first_token_objective(), std::chrono::seconds(2));
    waiting.push_back(*std::move(ticket));
    ASSERT_LE(waiting.size(), 30u);
  }
  EXPECT_NEAR(static_cast<double>(waiting.size()), 20, 2);
  EXPECT_TRUE(absl::IsResourceExhausted(refused));
  // A class without one waits as long as it takes, and a bound for all still holds for each.
  for (int i = 0; i < 60; ++i) {
    auto ticket = Admit({.tenant = "other-key", .tokens = 100});
    ASSERT_TRUE(ticket.ok()) << ticket.status();
    waiting.push_back(*std::move(ticket));
  }
  admission_->SetOptions({.max_predicted_wait = std::chrono::seconds(1),
                          .first_token_objectives = {{"other", std::chrono::hours(1)}}});
  EXPECT_FALSE(Admit({.tenant = "other-key", .tokens = 100}).ok());
}

TEST_F(Admission, LimitsOfKeysAreDividedAmongRoutersAndRoundedUp) {
  Limit({.limits_divided_by = 3, .max_concurrent_per_key = 4});
  const Tenant key{.name = "key", .requests_per_minute = 10, .tokens_per_minute = 3000};
  admission_->SetTenants({{"key", key}});
  EXPECT_EQ(admission_->QuotaOf("key").requests->limit, 4u);
  EXPECT_EQ(admission_->QuotaOf("key").tokens->limit, 1000u);
  std::vector<Ticket> tickets;
  for (int i = 0; i < 2; ++i) tickets.push_back(*Admit({.tenant = "key", .tokens = 1}));
  EXPECT_TRUE(absl::IsResourceExhausted(Admit({.tenant = "key", .tokens = 1}).status()))
      << "two of four at once";
  tickets.clear();
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(Admit({.tenant = "key", .tokens = 1}).ok());
  EXPECT_TRUE(absl::IsResourceExhausted(Admit({.tenant = "key", .tokens = 1}).status()))
      << "four of ten a minute";
  // What was used counts on when there are fewer routers.
  admission_->SetOptions({.limits_divided_by = 2, .max_concurrent_per_key = 4});
  EXPECT_EQ(admission_->QuotaOf("key").requests->limit, 5u);
  EXPECT_EQ(admission_->QuotaOf("key").requests->remaining, 1u);
}

TEST_F(Admission, RefusesWhatWouldWaitTooLongForItsTurn) {
  Limit({.max_predicted_wait = std::chrono::seconds(2)});
  // Ten start per second.
  for (int i = 0; i < 1000; ++i) {
    clock_.Advance(std::chrono::milliseconds(100));
    auto ticket = Admit({.tenant = "noisy", .tokens = 100});
    ASSERT_TRUE(ticket.ok());
    (*ticket)->OnSequenceStarted();
  }
  std::vector<Ticket> waiting;
  absl::Status refused;
  while (refused.ok()) {
    auto ticket = Admit({.tenant = "noisy", .tokens = 100});
    refused = ticket.status();
    if (ticket.ok()) waiting.push_back(*std::move(ticket));
    ASSERT_LE(waiting.size(), 30u);
  }
  EXPECT_NEAR(static_cast<double>(waiting.size()), 20, 2);
  EXPECT_TRUE(absl::IsResourceExhausted(refused));
  EXPECT_EQ(RetryAfterSeconds(refused), 1) << "in a second there will be room";
  // Another key's turn comes after one of noisy's, and a higher priority has nothing before it.
  EXPECT_TRUE(Admit({.tenant = "quiet", .tokens = 100}).ok());
  EXPECT_TRUE(Admit({.tenant = "noisy", .priority = 1, .tokens = 100}).ok());
  // So much work would stand behind all that noisy has waiting.
  EXPECT_FALSE(Admit({.tenant = "quiet", .sequences = 30, .tokens = 3000}).ok());
}

TEST_F(Admission, WhatCanNeverFitIsTheClientsError) {
  Limit({.max_queued_sequences = 100, .max_concurrent_per_key = 8});
  for (const auto& status :
       {Admit({.sequences = 101}).status(), Admit({.tenant = "alice", .sequences = 9}).status()}) {
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_EQ(ErrorParam(status), "n");
  }
}

TEST_F(Admission, BoundsWhatOneKeyHasUnderWay) {
  Limit({.max_concurrent_per_key = 1});
  auto alice = Admit({.tenant = "alice"});
  ASSERT_TRUE(alice.ok());
  (*alice)->OnSequenceStarted();
  EXPECT_TRUE(absl::IsResourceExhausted(Admit({.tenant = "alice"}).status()));
  EXPECT_TRUE(Admit({.tenant = "bob"}).ok());
  alice = absl::CancelledError();
  EXPECT_TRUE(Admit({.tenant = "alice"}).ok());
}

TEST_F(Admission, AKeysOwnLimitOfConcurrencyWins) {
  Limit({.max_concurrent_per_key = 1});
  admission_->SetTenants({{"wide", {.name = "wide", .max_concurrent = 3}},
                          {"free", {.name = "free", .max_concurrent = 0}}});
  auto one = Admit({.tenant = "wide", .sequences = 2});
  ASSERT_TRUE(one.ok());
  EXPECT_TRUE(absl::IsResourceExhausted(Admit({.tenant = "wide", .sequences = 2}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Admit({.tenant = "wide", .sequences = 4}).status()));
  EXPECT_TRUE(Admit({.tenant = "free", .sequences = 9}).ok());
  EXPECT_TRUE(absl::IsInvalidArgument(Admit({.tenant = "other", .sequences = 2}).status()));
}

TEST_F(Admission, KeysHaveACeilingOfPriority) {
  Limit({.max_priority = 0});
  admission_->SetTenants({{"vip", {.name = "vip", .max_priority = 5}}});
  EXPECT_TRUE(Admit({.tenant = "alice", .priority = 0}).ok());
  EXPECT_TRUE(Admit({.tenant = "vip", .priority = 5}).ok());
  EXPECT_TRUE(Admit({.tenant = "", .priority = 9}).ok()) << "without keys there is none";
  const absl::Status refused = Admit({.tenant = "alice", .priority = 1}).status();
  EXPECT_TRUE(absl::IsInvalidArgument(refused));
  EXPECT_EQ(ErrorParam(refused), "priority");
  EXPECT_TRUE(absl::IsInvalidArgument(Admit({.tenant = "vip", .priority = 6}).status()));
}

TEST_F(Admission, CeilingsOfPriorityMayChange) {
  Limit({.max_priority = 0});
  admission_->SetTenants({{"vip", {.name = "vip", .max_priority = 5}}});
  admission_->SetTenants({{"alice", {.name = "alice", .max_priority = 3}}});
  EXPECT_TRUE(Admit({.tenant = "alice", .priority = 3}).ok());
  EXPECT_TRUE(absl::IsInvalidArgument(Admit({.tenant = "vip", .priority = 1}).status()));
}

TEST_F(Admission, NewOptionsCountForWhatComesNext) {
  Limit({.max_queued_sequences = 1});
  auto first = Admit({});
  EXPECT_FALSE(Admit({}).ok());
  admission_->SetOptions({.max_queued_sequences = 2});
  auto second = Admit({});
  EXPECT_TRUE(second.ok());
  admission_->SetOptions({.max_queued_sequences = 1});
  EXPECT_FALSE(Admit({}).ok());
  EXPECT_EQ(admission_->queued_sequences(), 2u) << "what was let in stays";
}

TEST_F(Admission, RequestsPerMinuteAreRefusedWithATruthfulTime) {
  Limit({});
  admission_->SetTenants({{"alice", {.name = "alice", .requests_per_minute = 6}}});
  for (int i = 0; i < 6; ++i) EXPECT_TRUE(Admit({.tenant = "alice"}).ok());
  const absl::Status refused = Admit({.tenant = "alice"}).status();
  EXPECT_TRUE(absl::IsResourceExhausted(refused)) << refused;
  EXPECT_EQ(ErrorCode(refused), "rate_limit_exceeded");
  EXPECT_EQ(RetryAfterSeconds(refused), 10);
  EXPECT_TRUE(Admit({.tenant = "bob"}).ok()) << "another's limit";
  clock_.Advance(std::chrono::milliseconds(9'900));
  EXPECT_FALSE(Admit({.tenant = "alice"}).ok());
  clock_.Advance(std::chrono::milliseconds(100));
  EXPECT_TRUE(Admit({.tenant = "alice"}).ok());
  EXPECT_FALSE(Admit({.tenant = "alice"}).ok());
}

TEST_F(Admission, TokensPerMinuteCountWhatAnAnswerHadInTheEnd) {
  Limit({});
  admission_->SetTenants({{"alice", {.name = "alice", .tokens_per_minute = 600}}});
  const auto left = [&] { return admission_->QuotaOf("alice").tokens->remaining; };
  auto short_answer = Admit({.tenant = "alice", .tokens = 100, .answer_tokens = 200});
  ASSERT_TRUE(short_answer.ok());
  EXPECT_EQ(left(), 300u);
  (*short_answer)->SetOutputTokens(50);
  short_answer = absl::CancelledError();
  EXPECT_EQ(left(), 450u);
  // 1,000 tokens that nobody knew of: the next waits until they are paid back.
  auto long_answer = Admit({.tenant = "alice", .tokens = 100, .answer_tokens = 200});
  ASSERT_TRUE(long_answer.ok());
  (*long_answer)->SetOutputTokens(1200);
  long_answer = absl::CancelledError();
  EXPECT_EQ(left(), 0u);
  EXPECT_EQ(admission_->QuotaOf("alice").tokens->reset, std::chrono::milliseconds(145'000));
  EXPECT_EQ(RetryAfterSeconds(Admit({.tenant = "alice", .tokens = 50}).status()), 90);
  clock_.Advance(std::chrono::seconds(90));
  EXPECT_TRUE(Admit({.tenant = "alice", .tokens = 50}).ok());
}

TEST_F(Admission, ARequestLargerThanAMinutesTokensGoesWhenNothingWasUsed) {
  Limit({});
  admission_->SetTenants({{"alice", {.name = "alice", .tokens_per_minute = 60}}});
  EXPECT_TRUE(Admit({.tenant = "alice", .tokens = 600}).ok());
  EXPECT_EQ(RetryAfterSeconds(Admit({.tenant = "alice", .tokens = 600}).status()), 600);
}

TEST_F(Admission, WhatIsRefusedOrDisplacedUsesNothing) {
  Limit({.max_queued_sequences = 1});
  admission_->SetTenants(
      {{"alice", {.name = "alice", .requests_per_minute = 10, .tokens_per_minute = 600}}});
  int displaced = 0;
  auto low = Admit({.tenant = "alice", .tokens = 100}, &displaced);
  EXPECT_FALSE(Admit({.tenant = "alice", .tokens = 100}).ok());
  EXPECT_EQ(admission_->QuotaOf("alice").requests->remaining, 9u);
  EXPECT_TRUE(Admit({.tenant = "bob", .priority = 1}).ok());
  EXPECT_EQ(displaced, 1);
  low = absl::CancelledError();
  EXPECT_EQ(admission_->QuotaOf("alice").requests->remaining, 10u);
  EXPECT_EQ(admission_->QuotaOf("alice").tokens->remaining, 600u);
}

TEST_F(Admission, WhatWasUsedCountsUnderNewLimits) {
  Limit({});
  admission_->SetTenants({{"alice", {.name = "alice", .requests_per_minute = 10}}});
  for (int i = 0; i < 8; ++i) EXPECT_TRUE(Admit({.tenant = "alice"}).ok());
  admission_->SetTenants({{"alice", {.name = "alice", .requests_per_minute = 9}}});
  EXPECT_EQ(admission_->QuotaOf("alice").requests->remaining, 1u);
  admission_->SetTenants({{"alice", {.name = "alice"}}});
  EXPECT_FALSE(admission_->QuotaOf("alice").requests.has_value());
}

TEST_F(Admission, AHigherPriorityDisplacesTheNewestOfTheLowest) {
  Limit({.max_queued_sequences = 3});
  int displaced[3] = {};
  auto older = Admit({.priority = 0}, &displaced[0]);
  auto newer = Admit({.priority = 0}, &displaced[1]);
  auto higher = Admit({.priority = 1}, &displaced[2]);
  auto newcomer = Admit({.priority = 2});
  ASSERT_TRUE(newcomer.ok());
  EXPECT_EQ(std::vector<int>(displaced, displaced + 3), (std::vector<int>{0, 1, 0}));
  EXPECT_TRUE((*newer)->displaced());
  EXPECT_FALSE((*older)->displaced());
  EXPECT_EQ(admission_->queued_sequences(), 3u);
}

TEST_F(Admission, NothingIsDisplacedForWhatStillWouldNotFit) {
  Limit({.max_queued_sequences = 4});
  auto low = Admit({.priority = 0});
  auto high = Admit({.priority = 5, .sequences = 3});
  EXPECT_TRUE(absl::IsResourceExhausted(Admit({.priority = 3, .sequences = 2}).status()));
  EXPECT_EQ(admission_->queued_sequences(), 4u);
}

TEST_F(Admission, AKeyThatFillsTheQueueKeepsNobodyOut) {
  Limit({.max_queued_sequences = 10});
  int displaced = 0;
  std::vector<Ticket> greedy;
  for (int i = 0; i < 10; ++i) greedy.push_back(*Admit({.tenant = "greedy"}, &displaced));
  std::vector<Ticket> modest;
  for (int i = 0; i < 5; ++i) {
    auto ticket = Admit({.tenant = "modest"});
    ASSERT_TRUE(ticket.ok()) << ticket.status();
    modest.push_back(*std::move(ticket));
  }
  EXPECT_EQ(displaced, 5);
  EXPECT_TRUE(absl::IsResourceExhausted(Admit({.tenant = "modest"}).status()))
      << "half is its part";
  EXPECT_TRUE(absl::IsResourceExhausted(Admit({.tenant = "greedy"}).status()));
}

TEST_F(Admission, WhatHasBegunIsNotDisplaced) {
  Limit({.max_queued_sequences = 4});
  auto begun = Admit({.tenant = "greedy", .sequences = 4});
  (*begun)->OnSequenceStarted();
  EXPECT_TRUE(Admit({.tenant = "modest"}).ok()) << "one place became free";
  EXPECT_TRUE(absl::IsResourceExhausted(Admit({.tenant = "modest", .sequences = 2}).status()));
}

TEST_F(Admission, ATokenThatIsFasterThanTheDisplacementWins) {
  Limit({.max_queued_sequences = 1});
  int displaced = 0;
  auto first = Admit({.priority = 0}, &displaced);
  auto second = Admit({.priority = 1});
  EXPECT_EQ(displaced, 1);
  (*first)->OnSequenceStarted();
  EXPECT_FALSE((*first)->displaced());
  EXPECT_EQ(admission_->queued_sequences(), 1u);
  first = absl::CancelledError();
  EXPECT_EQ(admission_->queued_sequences(), 1u);
}

TEST_F(Admission, BooksAreEmptyAfterAnyHistory) {
  std::mt19937_64 random(4);
  Limit({.max_queued_sequences = 40, .max_queued_tokens = 2000});
  std::vector<std::pair<Ticket, size_t>> tickets;  // with sequences not started
  int displaced = 0;
  for (int i = 0; i < 5000; ++i) {
    if (random() % 3 != 0 || tickets.empty()) {
      const size_t sequences = 1 + random() % 8;
      auto ticket = Admit({.tenant = std::string(1, static_cast<char>('a' + random() % 3)),
                           .priority = static_cast<int32_t>(random() % 3),
                           .sequences = sequences,
                           .tokens = random() % 300},
                          &displaced);
      if (ticket.ok()) tickets.emplace_back(*std::move(ticket), sequences);
    } else if (auto& [ticket, left] = tickets[random() % tickets.size()];
               left > 0 && random() % 2 == 0) {
      ticket->OnSequenceStarted();
      --left;
    } else {
      std::swap(tickets[random() % tickets.size()], tickets.back());
      tickets.pop_back();
    }
    ASSERT_LE(admission_->queued_sequences(), 40u);
    ASSERT_LE(admission_->queued_tokens(), 2000u);
  }
  EXPECT_GT(displaced, 100);
  tickets.clear();
  EXPECT_EQ(admission_->queued_sequences(), 0u);
  EXPECT_EQ(admission_->queued_tokens(), 0u);
  EXPECT_EQ(admission_->concurrent_sequences(), 0u);
}

TEST_F(Admission, RetryAfterIsWhatTheQueueTakesAtThatRateWithinAMinute) {
  Limit({.max_queued_sequences = 200});
  std::vector<Ticket> waiting;
  const auto fill = [&](size_t count) {
    for (size_t i = 0; i < count; ++i) waiting.push_back(*Admit({.tokens = 7}));
  };
  const auto retry_after = [&](size_t queued) {
    Limit({.max_queued_sequences = queued});
    for (int i = 0; i < 500; ++i) {  // two start per second
      clock_.Advance(std::chrono::milliseconds(500));
      Ticket started = *Admit({.tokens = 1});
      started->OnSequenceStarted();
    }
    fill(queued);
    const int seconds = RetryAfterSeconds(Admit({.tokens = 1}).status());
    waiting.clear();
    return seconds;
  };
  EXPECT_EQ(retry_after(1), 1);
  EXPECT_EQ(retry_after(7), 4) << "three and a half";
  EXPECT_EQ(retry_after(9), 5);
  EXPECT_EQ(retry_after(117), 59);
  EXPECT_EQ(retry_after(180), 60) << "the rate will be another by then";
}

TEST_F(Admission, RetryAfterFollowsTheRateOfStarts) {
  Limit({.max_queued_sequences = 20});
  std::vector<Ticket> waiting;
  for (int i = 0; i < 100; ++i) {  // one start a second
    clock_.Advance(std::chrono::seconds(1));
    auto ticket = Admit({.tokens = 1});
    (*ticket)->OnSequenceStarted();
  }
  for (int i = 0; i < 20; ++i) waiting.push_back(*Admit({.tokens = 1}));
  EXPECT_NEAR(RetryAfterSeconds(Admit({.tokens = 1}).status()), 20, 2);
}

TEST_F(Admission, RetryAfterOfAKeyFollowsHowLongItsOwnRequestsTake) {
  Limit({.max_concurrent_per_key = 4});
  const auto run = [&](const std::string& tenant, int seconds) {
    auto ticket = Admit({.tenant = tenant});
    ASSERT_TRUE(ticket.ok());
    (*ticket)->OnSequenceStarted();
    clock_.Advance(std::chrono::seconds(seconds));
  };
  for (int i = 0; i < 30; ++i) run("slow", 40);
  for (int i = 0; i < 30; ++i) run("fast", 2);
  auto slow = Admit({.tenant = "slow", .sequences = 4});
  auto fast = Admit({.tenant = "fast", .sequences = 4});
  // Four places, 40 s each: one is free every 10 s.
  EXPECT_EQ(RetryAfterSeconds(Admit({.tenant = "slow"}).status()), 10);
  EXPECT_EQ(RetryAfterSeconds(Admit({.tenant = "slow", .sequences = 3}).status()), 30);
  EXPECT_EQ(RetryAfterSeconds(Admit({.tenant = "slow", .sequences = 4}).status()), 40);
  EXPECT_EQ(RetryAfterSeconds(Admit({.tenant = "fast"}).status()), 1);
  EXPECT_EQ(RetryAfterSeconds(Admit({.tenant = "fast", .sequences = 4}).status()), 2);
  // It follows a key whose requests have become short, and never says more than a minute.
  slow = absl::CancelledError();
  for (int i = 0; i < 100; ++i) run("slow", 1);
  slow = Admit({.tenant = "slow", .sequences = 4});
  EXPECT_EQ(RetryAfterSeconds(Admit({.tenant = "slow", .sequences = 4}).status()), 2);
  for (int i = 0; i < 30; ++i) run("endless", 1000);
  auto endless = Admit({.tenant = "endless", .sequences = 4});
  EXPECT_EQ(RetryAfterSeconds(Admit({.tenant = "endless"}).status()), 60);
}

TEST_F(Admission, RetryAfterOfANewKeyIsThatOfAllKeys) {
  Limit({.max_concurrent_sequences = 2, .max_concurrent_per_key = 1});
  for (int i = 0; i < 30; ++i) {
    auto ticket = Admit({.tenant = "old"});
    clock_.Advance(std::chrono::seconds(7));
  }
  auto one = Admit({.tenant = "new"});
  EXPECT_EQ(RetryAfterSeconds(Admit({.tenant = "new"}).status()), 7);
  auto two = Admit({.tenant = "newer"});
  EXPECT_EQ(RetryAfterSeconds(Admit({.tenant = "newest"}).status()), 4) << "two places, 7 s each";
}

TEST_F(Admission, WithoutKeysNetworksStandForThem) {
  Limit({.max_queued_sequences = 4, .max_concurrent_per_key = 1});
  std::vector<Ticket> held;
  int displaced = 0;
  for (int i = 0; i < 4; ++i) {
    auto ticket = Admit({.network = "10.0.0.1"}, &displaced);
    ASSERT_TRUE(ticket.ok()) << "the limit of a key is none of a network";
    held.push_back(*std::move(ticket));
  }
  EXPECT_FALSE(Admit({.network = "10.0.0.1"}).ok());
  EXPECT_TRUE(Admit({.network = "10.0.0.2"}).ok());
  EXPECT_EQ(displaced, 1);
}

}  // namespace
}  // namespace pingti::router
