// What one API key does to another, over HTTP: turns in the queue, places in it, priorities.
#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "common/base/strings.h"
#include "tests/testing/fake_worker.h"
#include "tests/testing/in_process_router.h"

namespace pingti::testing {
namespace {

class Fairness : public ::testing::Test {
 protected:
  // One worker that takes one sequence ahead and runs none until its steps are released.
  void Start(InProcessRouterOptions options = {}) {
    FakeWorkerOptions worker;
    worker.answer = [](const worker::v1::Sequence&) { return ByteTokens("yes"); };
    worker.credit_sequences = 1;
    worker_ = std::make_unique<FakeWorker>(worker);
    worker_->HoldSteps();
    options.workers = {worker_->address()};
    options.http.num_threads = 1;
    options.api_keys = "greedy:g max_priority=0\nmodest:m\n";
    router_ = std::make_unique<InProcessRouter>(std::move(options));
    ASSERT_TRUE(router_->WaitReady(1));
  }

  // Sends a request and returns once it is queued or answered: the one I/O thread begins no other
  // request, so answers no other either, before it has queued this one.
  std::future<net::HttpResponse> Ask(const std::string& key, int n = 1, int priority = 0) {
    const auto admitted = [this] {
      return router_->metrics().prompt_tokens.With({"fake"}).Value();
    };
    const double before = admitted();
    auto answer = std::async(std::launch::async, [=, this] { return Post(key, n, priority); });
    EXPECT_TRUE(WaitFor([&] {
      return admitted() > before ||
             answer.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
    }));
    EXPECT_EQ(router_->Get("/health").status, 200);
    return answer;
  }

  net::HttpResponse Post(const std::string& key, int n, int priority) {
    return router_->Post("/v1/completions",
                         Concat(R"({"model":"fake","prompt":"hello","max_tokens":3,"n":)", n,
                                R"(,"priority":)", priority, "}"),
                         {{"Authorization", "Bearer " + key}});
  }

  // The keys of all sequences that came to the worker, in order, one letter each.
  std::string Order() {
    std::string order;
    for (const auto& sequence : worker_->Submitted()) order += sequence.cache_salt().substr(0, 1);
    return order;
  }

  std::unique_ptr<FakeWorker> worker_;
  std::unique_ptr<InProcessRouter> router_;
};

TEST_F(Fairness, KeysTakeTurns) {
  Start();
  std::vector<std::future<net::HttpResponse>> answers;
  for (int i = 0; i < 8; ++i) answers.push_back(Ask("g"));
  for (int i = 0; i < 3; ++i) answers.push_back(Ask("m"));
  worker_->ReleaseSteps();
  for (auto& answer : answers) EXPECT_EQ(answer.get().status, 200);
  EXPECT_EQ(Order(), "gmgmgmggggg");
}

TEST_F(Fairness, SamplesOfOneRequestAreAsManyTurns) {
  Start();
  auto greedy = Ask("g", /*n=*/6);
  auto modest = Ask("m");
  worker_->ReleaseSteps();
  EXPECT_EQ(greedy.get().status, 200);
  EXPECT_EQ(modest.get().status, 200);
  EXPECT_EQ(Order(), "gmggggg");
}

TEST_F(Fairness, FirstComeFirstServedIsAnOrderToo) {
  InProcessRouterOptions options;
  options.queue_order = "fifo";
  Start(options);
  std::vector<std::future<net::HttpResponse>> answers;
  for (int i = 0; i < 4; ++i) answers.push_back(Ask("g"));
  answers.push_back(Ask("m"));
  worker_->ReleaseSteps();
  for (auto& answer : answers) EXPECT_EQ(answer.get().status, 200);
  EXPECT_EQ(Order(), "ggggm");
}

TEST_F(Fairness, AFullQueueGivesWayToAnotherKeyAndTheDisplacedAreToldSo) {
  InProcessRouterOptions options;
  options.admission.max_queued_sequences = 4;
  Start(options);
  std::vector<std::future<net::HttpResponse>> greedy;
  for (int i = 0; i < 4; ++i) greedy.push_back(Ask("g"));
  EXPECT_EQ(Post("g", 1, 0).status, 429) << "its own queue is full";
  auto modest = Ask("m");
  const net::HttpResponse displaced = greedy.back().get();
  greedy.pop_back();
  EXPECT_EQ(displaced.status, 429);
  EXPECT_NE(displaced.body.find("goes before this one"), std::string::npos) << displaced.body;
  worker_->ReleaseSteps();
  EXPECT_EQ(modest.get().status, 200);
  for (auto& answer : greedy) EXPECT_EQ(answer.get().status, 200);
  EXPECT_TRUE(WaitFor([&] { return router_->service().num_running() == 0; }));
}

TEST_F(Fairness, AHigherPriorityTakesTheNewestPlaceOfTheLowest) {
  InProcessRouterOptions options;
  options.admission.max_queued_sequences = 3;
  Start(options);
  auto first = Ask("m", 1, 1);
  auto low = Ask("m", 2, 0);
  auto high = Ask("m", 1, 2);
  EXPECT_EQ(low.get().status, 429);
  EXPECT_EQ(Post("m", 2, 1).status, 429) << "one place is left, and nothing lower waits";
  worker_->ReleaseSteps();
  EXPECT_EQ(first.get().status, 200);
  EXPECT_EQ(high.get().status, 200);
}

TEST_F(Fairness, AKeyCannotAskForMoreThanItsPriority) {
  Start();
  const net::HttpResponse refused = Post("g", 1, 1);
  EXPECT_EQ(refused.status, 400);
  EXPECT_NE(refused.body.find("'priority' is 1, expected at most 0"), std::string::npos)
      << refused.body;
  worker_->ReleaseSteps();
  EXPECT_EQ(Post("m", 1, 1).status, 200);
}

}  // namespace
}  // namespace pingti::testing
