// Workers that say what cannot be: no answer is wrong for it, and the sequence goes on elsewhere.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tests/router/http/sse_client.h"
#include "tests/testing/fake_worker.h"
#include "tests/testing/in_process_router.h"

namespace pingti::testing {
namespace {

using worker::v1::SequenceOutput;
using worker::v1::SessionResponse;

const std::string kText = "What a worker says is believed as far as it can be true.";

std::string AskBody(int max_tokens) {
  return R"({"model":"fake","messages":[{"role":"user","content":"hi"}],"stream":true,"max_tokens":)" +
         std::to_string(max_tokens) + "}";
}

class HostileWorkers : public ::testing::Test {
 protected:
  using Twist = std::function<void(SessionResponse*)>;

  // Two workers; the first that has said five tokens goes wrong from there on.
  void Start(const Twist& twist) {
    InProcessRouterOptions router;
    for (int i = 0; i < 2; ++i) {
      FakeWorkerOptions options;
      options.answer = [](const worker::v1::Sequence&) { return ByteTokens(kText); };
      options.say = [this, i, twist, said = std::make_shared<int>(0)](SessionResponse* response) {
        if (!response->has_step_output()) return;
        for (const SequenceOutput& output : response->step_output().outputs()) {
          *said += output.token_ids_size();
        }
        int nobody = -1;
        if (*said > 5) hostile_.compare_exchange_strong(nobody, i);
        if (hostile_ == i) twist(response);
      };
      workers_.push_back(std::make_unique<FakeWorker>(std::move(options)));
      router.workers.push_back(workers_.back()->address());
    }
    router_ = std::make_unique<InProcessRouter>(std::move(router));
    ASSERT_TRUE(router_->WaitReady(2));
  }
  void ExpectTheAnswer() {
    EXPECT_EQ(StreamChat(*router_, AskBody(200)).content, kText);
    ASSERT_NE(hostile_, -1);
  }
  size_t OthersSequences() { return workers_[1 - hostile_]->num_submitted(); }

  std::atomic<int> hostile_{-1};
  std::vector<std::unique_ptr<FakeWorker>> workers_;
  std::unique_ptr<InProcessRouter> router_;
};

SequenceOutput* FirstOutput(SessionResponse* response) {
  return response->mutable_step_output()->mutable_outputs(0);
}

TEST_F(HostileWorkers, ATokenOutsideTheVocabulary) {
  Start([](SessionResponse* response) { FirstOutput(response)->set_token_ids(0, 1'000'000); });
  ExpectTheAnswer();
  EXPECT_EQ(OthersSequences(), 1u);
}

TEST_F(HostileWorkers, MoreTokensThanTheContextHolds) {
  Start([](SessionResponse* response) {
    for (int i = 0; i < 1'000'000; ++i) FirstOutput(response)->add_token_ids('x');
  });
  ExpectTheAnswer();
  EXPECT_EQ(OthersSequences(), 1u);
}

TEST_F(HostileWorkers, MoreTokensThanWereAskedFor) {
  Start([](SessionResponse* response) {
    FirstOutput(response)->clear_finish();
    for (int i = 0; i < 20; ++i) FirstOutput(response)->add_token_ids('x');
  });
  EXPECT_EQ(StreamChat(*router_, AskBody(12)).content, kText.substr(0, 12));
  EXPECT_EQ(OthersSequences(), 1u);
}

TEST_F(HostileWorkers, LogprobsOfNoTokens) {
  Start([](SessionResponse* response) {
    for (int i = 0; i < 1'000; ++i) FirstOutput(response)->add_logprobs()->add_top();
  });
  ExpectTheAnswer();
  EXPECT_EQ(OthersSequences(), 1u);
}

TEST_F(HostileWorkers, SequencesThatNobodySent) {
  Start([](SessionResponse* response) {
    for (uint64_t id = 1'000; id < 2'000; ++id) {
      SequenceOutput* output = response->mutable_step_output()->add_outputs();
      output->set_sequence_id(id);
      output->add_token_ids('x');
    }
  });
  ExpectTheAnswer();
  EXPECT_EQ(OthersSequences(), 0u);
}

TEST_F(HostileWorkers, OutputBehindTheEnd) {
  Start([](SessionResponse* response) {
    if (!FirstOutput(response)->has_finish()) return;
    const SequenceOutput last = *FirstOutput(response);
    for (int i = 0; i < 100; ++i) *response->mutable_step_output()->add_outputs() = last;
  });
  ExpectTheAnswer();
  EXPECT_EQ(OthersSequences(), 0u);
}

TEST_F(HostileWorkers, ASecondWelcome) {
  Start([](SessionResponse* response) { response->mutable_welcome()->set_protocol_version(1); });
  ExpectTheAnswer();
  EXPECT_EQ(OthersSequences(), 1u);
}

TEST_F(HostileWorkers, AMessageThatWouldTakeALotOfMemory) {
  Start([](SessionResponse* response) {
    for (int i = 0; i < 1'000'000; ++i) response->mutable_step_output()->add_outputs();
  });
  ExpectTheAnswer();
  EXPECT_EQ(OthersSequences(), 1u);
}

TEST(HostileWorker, WhoSpeaksBeforeItsWelcomeIsNeverReady) {
  FakeWorkerOptions options;
  std::atomic<int> early{0};
  options.say = [&](SessionResponse* response) {
    if (!response->has_welcome()) return;
    response->mutable_load_report();
    ++early;
  };
  FakeWorker worker(std::move(options));
  InProcessRouterOptions router_options;
  router_options.workers = {worker.address()};
  InProcessRouter router(std::move(router_options));
  EXPECT_TRUE(WaitFor([&] { return early > 1; })) << "it is tried again";
  EXPECT_EQ(router.registry().num_ready(), 0u);
}

TEST(HostileWorker, ASequenceLargerThanAWorkersMessageFailsAlone) {
  FakeWorkerOptions options;
  options.answer = [](const worker::v1::Sequence&) { return ByteTokens("yes"); };
  options.say = [](SessionResponse* response) {
    if (response->has_welcome()) response->mutable_welcome()->set_max_message_bytes(2'000);
  };
  FakeWorker worker(std::move(options));
  InProcessRouterOptions router_options;
  router_options.workers = {worker.address()};
  InProcessRouter router(std::move(router_options));
  ASSERT_TRUE(router.WaitReady(1));
  const auto ask = [&](size_t length) {
    return router.Post("/v1/completions", R"({"model":"fake","max_tokens":3,"prompt":")" +
                                              std::string(length, 'x') + R"("})");
  };
  EXPECT_EQ(ask(100).status, 200);
  const net::HttpResponse refused = ask(3'000);
  EXPECT_EQ(refused.status, 400);
  EXPECT_NE(refused.body.find("expected at most 2000 bytes"), std::string::npos) << refused.body;
  EXPECT_EQ(ask(100).status, 200);
  EXPECT_EQ(worker.num_sessions(), 1u);
}

}  // namespace
}  // namespace pingti::testing
