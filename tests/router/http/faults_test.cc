// Workers that die, drain, stall, refuse; clients that leave; queues that fill. No token lost, none
// twice.
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "tests/router/http/sse_client.h"
#include "tests/testing/fake_worker.h"
#include "tests/testing/in_process_router.h"

namespace pingti::testing {
namespace {

using std::chrono::milliseconds;
using worker::v1::Finish;
using worker::v1::Sequence;

constexpr char kAsk[] =
    R"({"model":"fake","messages":[{"role":"user","content":"hi"}],"stream":true})";

std::string LongText() {
  std::string text;
  for (int i = 0; i < 100; ++i) text += std::to_string(i) + ",";
  return text;
}

FakeWorkerOptions Talkative() {
  FakeWorkerOptions options;
  options.answer = [](const Sequence&) { return ByteTokens(LongText()); };
  return options;
}

class Faults : public ::testing::Test {
 protected:
  void Start(int num_workers, InProcessRouterOptions options = {},
             const FakeWorkerOptions& worker = Talkative()) {
    for (int i = 0; i < num_workers; ++i) {
      workers_.push_back(std::make_unique<FakeWorker>(worker));
      workers_.back()->HoldSteps();
      options.workers.push_back(workers_.back()->address());
    }
    router_ = std::make_unique<InProcessRouter>(std::move(options));
    ASSERT_TRUE(router_->WaitReady(static_cast<uint32_t>(num_workers)));
  }

  std::future<SseAnswer> Ask() {
    return std::async(std::launch::async, [this] { return StreamChat(*router_, kAsk); });
  }

  // The worker that runs the only sequence, once there is one.
  FakeWorker* Busy() {
    FakeWorker* busy = nullptr;
    EXPECT_TRUE(WaitFor([&] {
      for (const auto& worker : workers_) {
        if (worker->num_running() > 0) busy = worker.get();
      }
      return busy != nullptr;
    }));
    return busy;
  }
  FakeWorker* Other(const FakeWorker* one) {
    return workers_[0].get() == one ? workers_[1].get() : workers_[0].get();
  }
  // Lets `worker` give `tokens` tokens and waits until the router has them.
  void Advance(FakeWorker* worker, int tokens) {
    worker->AllowSteps(tokens);
    ASSERT_TRUE(
        WaitFor([&] { return router_->metrics().output_tokens.With({"fake"}).Value() >= tokens; }));
  }
  void ExpectWhole(const SseAnswer& answer) {
    EXPECT_EQ(answer.status, 200) << answer.error;
    EXPECT_EQ(answer.content, LongText());
    EXPECT_EQ(answer.finish_reason, "stop");
    EXPECT_TRUE(answer.done);
  }

  std::vector<std::unique_ptr<FakeWorker>> workers_;
  std::unique_ptr<InProcessRouter> router_;
};

TEST_F(Faults, AKilledWorkersSequenceGoesOnElsewhere) {
  Start(2);
  auto answer = Ask();
  FakeWorker* busy = Busy();
  Advance(busy, 37);
  busy->Kill();
  FakeWorker* other = Other(busy);
  ASSERT_TRUE(WaitFor([&] { return other->num_submitted() == 1; }));
  const Sequence resumed = other->Submitted()[0];
  EXPECT_EQ(resumed.generated_token_ids_size(), 37);
  EXPECT_EQ(resumed.sampling().seed(), busy->Submitted()[0].sampling().seed());
  other->ReleaseSteps();
  ExpectWhole(answer.get());
  EXPECT_EQ(router_->metrics().resumed_sequences.Value(), 1);
}

TEST_F(Faults, AStalledWorkerIsGivenUpWithinTwoSeconds) {
  InProcessRouterOptions options;
  options.link = {};
  // The link looks eight times per timeout.
  EXPECT_LT(options.link.stall_timeout * 9 / 8, std::chrono::seconds(2));
  Start(2, options);
  auto answer = Ask();
  FakeWorker* busy = Busy();
  Advance(busy, 5);
  busy->Stall();
  FakeWorker* other = Other(busy);
  ASSERT_TRUE(WaitFor([&] { return other->num_submitted() == 1; }));
  other->ReleaseSteps();
  ExpectWhole(answer.get());
}

TEST_F(Faults, ADrainingWorkerFinishesWhatItHasAndGetsNothingNew) {
  Start(2);
  auto first = Ask();
  FakeWorker* busy = Busy();
  busy->Drain();
  ASSERT_TRUE(WaitFor([&] { return router_->registry().num_ready() == 1; }));
  FakeWorker* other = Other(busy);
  other->ReleaseSteps();
  ExpectWhole(StreamChat(*router_, kAsk));
  EXPECT_EQ(busy->num_submitted(), 1u);
  busy->ReleaseSteps();
  ExpectWhole(first.get());
  EXPECT_EQ(router_->metrics().resumed_sequences.Value(), 0);
}

TEST_F(Faults, AHandedBackSequenceGoesOnElsewhere) {
  Start(2);
  auto answer = Ask();
  FakeWorker* busy = Busy();
  Advance(busy, 12);
  busy->GiveBack();
  FakeWorker* other = Other(busy);
  ASSERT_TRUE(WaitFor([&] { return other->num_submitted() == 1; }));
  other->ReleaseSteps();
  ExpectWhole(answer.get());
}

// ---- with stream_interval, where workers hold tokens, or do not know that they may

constexpr milliseconds kInterval{1000};

TEST_F(Faults, WhatAWorkerHeldWhenItDiedIsComputedAgain) {
  for (const bool holds : {true, false}) {
    workers_.clear();
    FakeWorkerOptions worker = Talkative();
    worker.holds_outputs = holds;
    Start(2, {.generation = {.stream_interval = kInterval}}, worker);
    auto answer = Ask();
    FakeWorker* busy = Busy();
    busy->AllowSteps(20);
    ASSERT_TRUE(WaitFor([&] { return busy->num_tokens_sent() == 20; }));
    ASSERT_TRUE(
        WaitFor([&] { return router_->metrics().output_tokens.With({"fake"}).Value() > 0; }));
    busy->Kill();
    FakeWorker* other = Other(busy);
    ASSERT_TRUE(WaitFor([&] { return other->num_submitted() == 1; }));
    EXPECT_EQ(other->Submitted()[0].output_interval_ms(), kInterval.count());
    EXPECT_GE(other->Submitted()[0].generated_token_ids_size(), 1);
    other->ReleaseSteps();
    ExpectWhole(answer.get());
    router_.reset();
  }
}

TEST_F(Faults, WhatAWorkerHeldGoesAlongWhenItHandsTheSequenceBack) {
  Start(2, {.generation = {.stream_interval = kInterval}});
  auto answer = Ask();
  FakeWorker* busy = Busy();
  busy->AllowSteps(20);
  ASSERT_TRUE(WaitFor([&] { return busy->num_tokens_sent() == 20; }));
  busy->GiveBack();
  FakeWorker* other = Other(busy);
  ASSERT_TRUE(WaitFor([&] { return other->num_submitted() == 1; }));
  EXPECT_EQ(other->Submitted()[0].generated_token_ids_size(), 20);
  other->ReleaseSteps();
  ExpectWhole(answer.get());
}

TEST_F(Faults, AnIntervalLongerThanTheStallTimeoutIsNoStall) {
  InProcessRouterOptions options{.generation = {.stream_interval = kInterval}};
  options.link.stall_timeout = kInterval * 9 / 10;
  FakeWorkerOptions worker = Talkative();
  worker.step_time = milliseconds(5);
  Start(1, options, worker);
  workers_[0]->ReleaseSteps();
  const SseAnswer answer = StreamChat(*router_, kAsk);
  ExpectWhole(answer);
  EXPECT_LT(answer.chunks.size(), 10u);
  EXPECT_EQ(router_->metrics().resumed_sequences.Value(), 0);
}

TEST_F(Faults, AWorkerThatIsFullForNowIsPassedOver) {
  Start(2);
  Finish full;
  full.set_reason(Finish::REASON_REJECTED);
  full.set_code(8);  // RESOURCE_EXHAUSTED
  workers_[0]->RefuseNext(1, full);
  for (auto& worker : workers_) worker->ReleaseSteps();
  for (int i = 0; i < 2; ++i) ExpectWhole(StreamChat(*router_, kAsk));
  EXPECT_EQ(workers_[0]->num_submitted() + workers_[1]->num_submitted(), 3u);
}

TEST_F(Faults, AMalformedSequenceIsTheClientsErrorAndIsNotRetried) {
  Start(2);
  Finish refusal;
  refusal.set_reason(Finish::REASON_REJECTED);
  refusal.set_code(3);  // INVALID_ARGUMENT
  refusal.set_message("logit_bias: too many entries");
  for (auto& worker : workers_) worker->RefuseNext(1, refusal);
  const SseAnswer answer = StreamChat(*router_, kAsk);
  EXPECT_EQ(answer.status, 400);
  EXPECT_NE(answer.error.find("too many entries"), std::string::npos);
  EXPECT_EQ(workers_[0]->num_submitted() + workers_[1]->num_submitted(), 1u);
}

TEST_F(Faults, AGrammarThatFailsWhileItRunsIsTheClientsErrorAndNoVerdictOnTheWorker) {
  Start(2);
  Finish failure;
  failure.set_reason(Finish::REASON_ERROR);
  failure.set_code(3);  // INVALID_ARGUMENT
  failure.set_message("grammar: reads this text in too many ways");
  for (auto& worker : workers_) {
    worker->RefuseNext(10, failure);
    worker->ReleaseSteps();
  }
  for (int i = 0; i < 20; ++i) {
    const SseAnswer answer = StreamChat(*router_, kAsk);
    EXPECT_EQ(answer.status, 400);
    EXPECT_NE(answer.error.find("too many ways"), std::string::npos);
  }
  // One worker each: none was tried again, and no breaker opened.
  EXPECT_EQ(workers_[0]->num_submitted() + workers_[1]->num_submitted(), 20u);
  for (int i = 0; i < 4; ++i) ExpectWhole(StreamChat(*router_, kAsk));
}

TEST_F(Faults, AttemptsThatMadeProgressDoNotCount) {
  InProcessRouterOptions options;
  options.generation.max_attempts = 2;
  Start(5, options);
  auto answer = Ask();
  for (int i = 0; i < 4; ++i) {
    FakeWorker* busy = Busy();
    busy->AllowSteps(3);
    ASSERT_TRUE(WaitFor(
        [&] { return router_->metrics().output_tokens.With({"fake"}).Value() >= 3 * (i + 1); }));
    busy->Kill();
  }
  Busy()->ReleaseSteps();
  ExpectWhole(answer.get());
  EXPECT_EQ(router_->metrics().resumed_sequences.Value(), 4);
}

TEST_F(Faults, OrderlyHandBacksDoNotCount) {
  InProcessRouterOptions options;
  options.generation.max_attempts = 2;
  Start(5, options);
  auto answer = Ask();
  for (int i = 0; i < 4; ++i) {
    FakeWorker* busy = Busy();
    busy->Drain();
    busy->GiveBack();
    ASSERT_TRUE(WaitFor([&] { return router_->metrics().resumed_sequences.Value() == i + 1; }));
  }
  Busy()->ReleaseSteps();
  ExpectWhole(answer.get());
}

TEST_F(Faults, AttemptsAreBounded) {
  InProcessRouterOptions options;
  options.generation.max_attempts = 2;
  Start(3, options);
  Finish failing;
  failing.set_reason(Finish::REASON_REJECTED);
  failing.set_code(14);  // UNAVAILABLE
  for (auto& worker : workers_) worker->RefuseNext(10, failing);
  const SseAnswer answer = StreamChat(*router_, kAsk);
  EXPECT_EQ(answer.status, 503);
  size_t submitted = 0;
  for (auto& worker : workers_) submitted += worker->num_submitted();
  EXPECT_EQ(submitted, 2u);
}

TEST_F(Faults, WithoutAnyWorkerTheAnswerIs503UntilOneReturns) {
  Start(1);
  const uint16_t port = workers_[0]->port();
  workers_[0]->Kill();
  ASSERT_TRUE(WaitFor([&] { return router_->registry().num_ready() == 0; }));
  EXPECT_EQ(StreamChat(*router_, kAsk).status, 503);
  FakeWorkerOptions options = Talkative();
  options.port = port;
  workers_.push_back(std::make_unique<FakeWorker>(options));
  ASSERT_TRUE(router_->WaitReady(1));
  ExpectWhole(StreamChat(*router_, kAsk));
}

TEST_F(Faults, AResumedSequenceWaitsForAWorkerToReturn) {
  Start(1);
  auto answer = Ask();
  Advance(Busy(), 20);
  const uint16_t port = workers_[0]->port();
  workers_[0]->Kill();
  FakeWorkerOptions options = Talkative();
  options.port = port;
  workers_.push_back(std::make_unique<FakeWorker>(options));
  ExpectWhole(answer.get());
  EXPECT_EQ(workers_[1]->Submitted()[0].generated_token_ids_size(), 20);
}

TEST_F(Faults, AClientThatLeavesCancelsItsSequence) {
  Start(1);
  workers_[0]->AllowSteps(10);
  StreamChat(*router_, kAsk, [](const std::string& content) { return content.size() < 5; });
  EXPECT_TRUE(WaitFor([&] { return workers_[0]->num_cancelled() == 1; }));
  EXPECT_TRUE(WaitFor([&] { return router_->service().num_running() == 0; }));
  EXPECT_EQ(router_->metrics().client_disconnects.Value(), 1);
}

TEST_F(Faults, AFullQueueIsRefusedAtOnce) {
  InProcessRouterOptions options;
  options.admission.max_queued_sequences = 2;
  Start(1, options);
  std::vector<std::future<SseAnswer>> answers;
  for (int i = 0; i < 2; ++i) answers.push_back(Ask());
  ASSERT_TRUE(WaitFor([&] { return workers_[0]->num_running() == 2; }));
  const net::HttpResponse refused = router_->Post("/v1/chat/completions", kAsk);
  EXPECT_EQ(refused.status, 429);
  bool retry_after = false;
  for (const auto& [name, value] : refused.headers) {
    retry_after |= (name == "retry-after" || name == "Retry-After") && std::stoi(value) >= 1;
  }
  EXPECT_TRUE(retry_after);
  EXPECT_NE(refused.body.find("rate_limit_exceeded"), std::string::npos);
  workers_[0]->ReleaseSteps();
  for (auto& answer : answers) ExpectWhole(answer.get());
}

TEST_F(Faults, WithoutCreditSequencesWaitHereAndLeaveTogether) {
  FakeWorkerOptions worker = Talkative();
  worker.credit_sequences = 2;
  Start(1, {}, worker);
  std::vector<std::future<SseAnswer>> answers;
  for (int i = 0; i < 6; ++i) answers.push_back(Ask());
  ASSERT_TRUE(WaitFor([&] { return router_->service().num_running() == 6; }));
  EXPECT_TRUE(WaitFor([&] { return workers_[0]->num_submitted() == 2; }));
  workers_[0]->ReleaseSteps();
  for (auto& answer : answers) ExpectWhole(answer.get());
  EXPECT_EQ(workers_[0]->num_submitted(), 6u);
}

TEST_F(Faults, AQueueTimeoutIsTold) {
  InProcessRouterOptions options;
  options.generation.queue_timeout = milliseconds(50);
  FakeWorkerOptions worker = Talkative();
  worker.credit_sequences = 1;
  Start(1, options, worker);
  auto first = Ask();
  Busy();
  const SseAnswer second = StreamChat(*router_, kAsk);
  EXPECT_EQ(second.status, 503);
  EXPECT_NE(second.error.find("queue_timeout"), std::string::npos);
  workers_[0]->ReleaseSteps();
  ExpectWhole(first.get());
}

TEST_F(Faults, ADeadlineEndsTheRequest) {
  InProcessRouterOptions options;
  options.generation.request_timeout = milliseconds(100);
  Start(1, options);
  EXPECT_EQ(StreamChat(*router_, kAsk).status, 504);
  EXPECT_TRUE(WaitFor([&] { return workers_[0]->num_cancelled() == 1; }));
}

TEST_F(Faults, ASilentStreamGetsKeepAlives) {
  InProcessRouterOptions options;
  options.generation.keep_alive = milliseconds(20);
  Start(1, options);
  std::atomic<bool> released{false};
  auto answer = std::async(std::launch::async, [&] {
    return StreamChat(*router_, kAsk, [&](const std::string& content) {
      if (content.empty() && !released.exchange(true)) workers_[0]->ReleaseSteps();
      return true;
    });
  });
  const SseAnswer got = answer.get();
  ExpectWhole(got);
  EXPECT_GE(got.comments, 1);
}

TEST_F(Faults, ManyStreamsSurviveAKilledWorker) {
  Start(3);
  for (auto& worker : workers_) worker->ReleaseSteps();
  std::vector<std::future<SseAnswer>> answers;
  for (int i = 0; i < 24; ++i) answers.push_back(Ask());
  ASSERT_TRUE(WaitFor([&] { return workers_[0]->num_submitted() > 0; }));
  workers_[0]->Kill();
  for (auto& answer : answers) ExpectWhole(answer.get());
}

}  // namespace
}  // namespace pingti::testing
