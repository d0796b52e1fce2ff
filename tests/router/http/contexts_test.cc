// Workers of one build with contexts of different lengths behind one router.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "boost/json.hpp"
#include "common/base/strings.h"
#include "tests/testing/fake_worker.h"
#include "tests/testing/in_process_router.h"

namespace pingti::testing {
namespace {

namespace json = boost::json;
using worker::v1::Sequence;

constexpr uint32_t kContexts[] = {80, 120, 400};

class Contexts : public ::testing::Test {
 protected:
  Contexts() {
    InProcessRouterOptions router;
    router.policy = "round_robin";
    for (const uint32_t context : kContexts) {
      FakeWorkerOptions options;
      options.max_context_tokens = context;
      options.answer = [this](const Sequence&) { return ByteTokens(text_); };
      workers_.push_back(std::make_unique<FakeWorker>(options));
      router.workers.push_back(workers_.back()->address());
    }
    router_ = std::make_unique<InProcessRouter>(std::move(router));
  }
  void SetUp() override { ASSERT_TRUE(router_->WaitReady(3)); }

  net::HttpResponse Post(const std::string& fields) {
    return router_->Post(
        "/v1/chat/completions",
        Concat(R"({"model":"fake","messages":[{"role":"user","content":"a"}])", fields, "}"));
  }
  struct Answer {
    std::string text;
    std::string finish_reason;
    size_t prompt_tokens = 0;
  };
  Answer Ask(const std::string& fields) {
    const net::HttpResponse response = Post(fields);
    EXPECT_EQ(response.status, 200) << response.body;
    const json::value body = json::parse(response.body);
    const json::object& choice = body.at("choices").at(0).as_object();
    return {std::string(choice.at("message").at("content").as_string()),
            std::string(choice.at("finish_reason").as_string()),
            body.at("usage").at("prompt_tokens").to_number<size_t>()};
  }

  const std::string text_ = std::string(150, 'z');
  std::vector<std::unique_ptr<FakeWorker>> workers_;
  std::unique_ptr<InProcessRouter> router_;
};

TEST_F(Contexts, AnAnswerThatFillsItsWorkersContextGoesOnAtALargerOne) {
  for (int i = 0; i < 6; ++i) {
    const Answer answer = Ask("");
    EXPECT_EQ(answer.text, text_);
    EXPECT_EQ(answer.finish_reason, "stop");
  }
  // In turn: no worker is asked first twice, so that one with less than the answer was asked.
  EXPECT_GT(workers_[0]->Submitted().size() + workers_[1]->Submitted().size(), 0u);
}

TEST_F(Contexts, ARequestGoesWhereAllThatItAsksForFits) {
  for (int i = 0; i < 4; ++i) EXPECT_EQ(Ask(R"(,"max_tokens":120)").text, text_.substr(0, 120));
  EXPECT_TRUE(workers_[0]->Submitted().empty());
  EXPECT_TRUE(workers_[1]->Submitted().empty());
  EXPECT_EQ(workers_[2]->Submitted().size(), 4u);
  // More than the largest leaves is all that it leaves.
  EXPECT_EQ(Ask(R"(,"max_tokens":128000)").text, text_);
  EXPECT_EQ(workers_[2]->Submitted().size(), 5u);
}

TEST_F(Contexts, WithoutTheLargestAnAnswerEndsWhereTheOthersEnd) {
  workers_[2].reset();
  ASSERT_TRUE(WaitFor([&] { return router_->registry().num_ready() == 2; }));
  const Answer answer = Ask("");
  EXPECT_EQ(answer.text, text_.substr(0, kContexts[1] - answer.prompt_tokens));
  EXPECT_EQ(answer.finish_reason, "length");
}

}  // namespace
}  // namespace pingti::testing
