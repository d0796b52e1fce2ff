// prefix_affinity through a whole router: a conversation goes on where its past is cached, unless
// that worker is overloaded or gone.
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "boost/json.hpp"
#include "common/base/strings.h"
#include "tests/testing/fake_worker.h"
#include "tests/testing/in_process_router.h"

namespace pingti::testing {
namespace {

namespace json = boost::json;

class Affinity : public ::testing::Test {
 protected:
  static constexpr size_t kWorkers = 3;

  void SetUp() override {
    InProcessRouterOptions router;
    for (size_t i = 0; i < kWorkers; ++i) {
      FakeWorkerOptions options;
      options.prefix_cache = true;
      options.report_interval = std::chrono::milliseconds(5);
      options.report = [this, i](worker::v1::LoadReport* report) {
        report->set_prefill_tokens_per_s(1000);
        report->set_waiting_uncached_tokens(waiting_[i].load());
      };
      workers_.push_back(std::make_unique<FakeWorker>(options));
      router.workers.push_back(workers_.back()->address());
    }
    router_ = std::make_unique<InProcessRouter>(std::move(router));
    ASSERT_TRUE(router_->WaitReady(kWorkers));
  }

  // Asks with so much history; the tokens that came from a cache.
  int64_t Turn(char conversation, int turns) {
    std::string messages;
    for (int i = 0; i < turns; ++i) {
      messages += Concat(i > 0 ? "," : "", R"({"role":"user","content":")",
                         std::string(100, conversation), i, R"("})");
    }
    const net::HttpResponse response = router_->Post(
        "/v1/chat/completions", Concat(R"({"model":"fake","messages":[)", messages, "]}"));
    EXPECT_EQ(response.status, 200) << response.body;
    return json::parse(response.body).at("usage").at("prompt_cache_hit_tokens").as_int64();
  }
  // The worker that got the sequence since Mark, kWorkers if none did.
  void Mark() {
    for (size_t i = 0; i < kWorkers; ++i) submitted_[i] = workers_[i]->num_submitted();
  }
  size_t Taker() {
    for (size_t i = 0; i < kWorkers; ++i) {
      if (workers_[i]->num_submitted() > submitted_[i]) return i;
    }
    return kWorkers;
  }

  std::vector<std::unique_ptr<FakeWorker>> workers_;
  std::atomic<uint64_t> waiting_[kWorkers] = {};
  size_t submitted_[kWorkers] = {};
  std::unique_ptr<InProcessRouter> router_;
};

TEST_F(Affinity, AConversationGoesOnWhereItBegan) {
  for (const char conversation : {'a', 'b', 'c', 'd'}) {
    Mark();
    EXPECT_EQ(Turn(conversation, 1), 0);
    const size_t home = Taker();
    for (int turns = 2; turns < 6; ++turns) {
      Mark();
      EXPECT_GT(Turn(conversation, turns), 90 * (turns - 1));
      EXPECT_EQ(Taker(), home) << conversation << turns;
    }
  }
}

TEST_F(Affinity, AnOverloadedWorkerLosesTheConversation) {
  Mark();
  Turn('a', 3);
  const size_t home = Taker();
  waiting_[home] = 10'000;  // ten seconds of work: no prefix of 300 tokens is worth that
  // Stays at home until the load report has arrived, then moves.
  int64_t hits = -1;
  ASSERT_TRUE(WaitFor([&] {
    Mark();
    hits = Turn('a', 4);
    return Taker() != home;
  }));
  EXPECT_EQ(hits, 0) << "its new worker had nothing of it";
}

TEST_F(Affinity, AWorkerThatIsGoneIsForgotten) {
  Mark();
  Turn('a', 3);
  const size_t home = Taker();
  workers_[home]->Kill();
  ASSERT_TRUE(WaitFor([&] { return router_->registry().num_ready() == kWorkers - 1; }));
  EXPECT_EQ(Turn('a', 4), 0);
  Mark();
  EXPECT_GT(Turn('a', 5), 300) << "cached at its new home";
}

}  // namespace
}  // namespace pingti::testing
