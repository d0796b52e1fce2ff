#include "router/admission/admission.h"

#include <gtest/gtest.h>

#include "router/admission/api_keys.h"
#include "router/api/api_error.h"
#include "tests/testing/fake_clock.h"

namespace pingti::router {
namespace {

TEST(Admission, RefusesAtOnceWhenTheQueueIsFull) {
  testing::FakeClock clock;
  AdmissionController admission({.max_queued_requests = 2}, &clock);
  auto first = admission.Admit("", 10);
  auto second = admission.Admit("", 10);
  ASSERT_TRUE(first.ok() && second.ok());
  const absl::Status refused = admission.Admit("", 10).status();
  EXPECT_TRUE(absl::IsResourceExhausted(refused));
  EXPECT_GE(RetryAfterSeconds(refused), 1);
  (*first)->MarkStarted();
  EXPECT_TRUE(admission.Admit("", 10).ok());
}

TEST(Admission, BoundsTokensButLetsOneLargePromptThrough) {
  testing::FakeClock clock;
  AdmissionController admission({.max_queued_tokens = 100}, &clock);
  auto large = admission.Admit("", 1000);
  ASSERT_TRUE(large.ok());
  EXPECT_TRUE(absl::IsResourceExhausted(admission.Admit("", 1).status()));
  large = absl::CancelledError();
  EXPECT_EQ(admission.queued_tokens(), 0u);
  EXPECT_TRUE(admission.Admit("", 1).ok());
}

TEST(Admission, BoundsWhatOneKeyHasUnderWay) {
  testing::FakeClock clock;
  AdmissionController admission({.max_concurrent_per_key = 1}, &clock);
  auto alice = admission.Admit("alice", 1);
  ASSERT_TRUE(alice.ok());
  (*alice)->MarkStarted();
  EXPECT_TRUE(absl::IsResourceExhausted(admission.Admit("alice", 1).status()));
  EXPECT_TRUE(admission.Admit("bob", 1).ok());
  alice = absl::CancelledError();
  EXPECT_TRUE(admission.Admit("alice", 1).ok());
}

TEST(Admission, RetryAfterFollowsTheRateOfStarts) {
  testing::FakeClock clock;
  AdmissionController admission({.max_queued_requests = 20}, &clock);
  std::vector<std::unique_ptr<AdmissionController::Ticket>> waiting;
  for (int i = 0; i < 100; ++i) {  // one start a second
    clock.Advance(std::chrono::seconds(1));
    auto ticket = admission.Admit("", 1);
    (*ticket)->MarkStarted();
  }
  for (int i = 0; i < 20; ++i) waiting.push_back(*admission.Admit("", 1));
  EXPECT_NEAR(RetryAfterSeconds(admission.Admit("", 1).status()), 20, 2);
}

TEST(ApiKeys, NameTheTenant) {
  const absl::StatusOr<ApiKeys> keys = ApiKeys::Parse("# comment\nalice:secret-a\n\nsecret-b\r\n");
  ASSERT_TRUE(keys.ok()) << keys.status();
  EXPECT_EQ(*keys->Authenticate("Bearer secret-a"), "alice");
  EXPECT_EQ(*keys->Authenticate("Bearer secret-b"), "key-2");
  EXPECT_TRUE(absl::IsUnauthenticated(keys->Authenticate("Bearer secret").status()));
  EXPECT_TRUE(absl::IsUnauthenticated(keys->Authenticate("").status()));
}

TEST(ApiKeys, WithoutKeysEverybodyMayAsk) {
  EXPECT_EQ(*ApiKeys().Authenticate(""), "");
  EXPECT_EQ(*ApiKeys().Authenticate("Bearer anything"), "");
}

TEST(ApiKeys, RefuseBadLinesByNumber) {
  EXPECT_NE(ApiKeys::Parse("a\nb:\n").status().message().find("line 2"), absl::string_view::npos);
  EXPECT_NE(ApiKeys::Parse("a\na\n").status().message().find("line 2"), absl::string_view::npos);
}

}  // namespace
}  // namespace pingti::router
