// Runs against a server in this process that answers as each test wants.
#include "tools/bench/load_run.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/base/mutex.h"
#include "common/net/http_server.h"
#include "common/net/sse.h"

namespace pingti::tools {
namespace {

using net::HttpRequest;
using net::HttpResponder;
using ResponderPtr = std::shared_ptr<HttpResponder>;

void SendStream(HttpResponder* responder, const std::vector<std::string>& events) {
  responder->StartStream(
      {.status = 200, .content_type = "text/event-stream", .headers = {}, .body = ""});
  for (const std::string& event : events) responder->Write(event);
  responder->EndStream();
}

std::string Text(const std::string& text) {
  return net::SseData(R"({"choices":[{"delta":{"content":")" + text + R"("}}]})");
}

const std::vector<std::string>& GoodAnswer() {
  static const std::vector<std::string> events = {
      Text("a"), Text("b"),
      net::SseData(R"({"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":4}})"),
      std::string(net::kSseDone)};
  return events;
}

class LoadRunTest : public ::testing::Test {
 protected:
  void Serve(net::HttpHandler handler) {
    auto server = net::HttpServer::Start({}, std::move(handler));
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    options_.url = "http://127.0.0.1:" + std::to_string(server_->port());
  }
  LoadResult Run(const LoadRun::Plan& plan,
                 const std::function<void(LoadRun*, const LoadProgress&)>& on_progress = nullptr) {
    auto run = LoadRun::Create(options_);
    EXPECT_TRUE(run.ok()) << run.status();
    std::vector<BenchRequest> requests(static_cast<size_t>(plan.num_requests), {"{}", 4});
    return (*run)->Run(plan, std::move(requests), [&](const LoadProgress& progress) {
      if (on_progress != nullptr) on_progress(run->get(), progress);
    });
  }

  BenchOptions options_;
  std::unique_ptr<net::HttpServer> server_;
};

TEST_F(LoadRunTest, EveryRequestIsSentOnceAndAnswered) {
  std::atomic<int> seen{0};
  options_.api_key = "secret";
  Serve([&](const HttpRequest& request, const ResponderPtr& responder) {
    EXPECT_EQ(request.path, "/v1/chat/completions");
    EXPECT_EQ(request.Header("authorization"), "Bearer secret");
    ++seen;
    SendStream(responder.get(), GoodAnswer());
  });
  const LoadResult result = Run({.rate = std::nullopt, .concurrency = 3, .num_requests = 20});
  EXPECT_EQ(seen.load(), 20);
  ASSERT_EQ(result.answered.size(), 20u);
  EXPECT_TRUE(result.errors.empty());
  EXPECT_EQ(result.most_in_flight, 3);
  EXPECT_FALSE(result.stopped);
  for (const Answered& one : result.answered) {
    EXPECT_EQ(one.prompt_tokens, 5);
    EXPECT_EQ(one.output_tokens, 4);
    EXPECT_GT(one.ttft_ms, 0);
    EXPECT_GE(one.e2e_ms, one.ttft_ms);
    EXPECT_NEAR(one.tpot_ms * 3, one.e2e_ms - one.ttft_ms, 1e-9);
  }
  EXPECT_EQ(result.inter_token.count(), 20u);
}

TEST_F(LoadRunTest, AnOpenLoopStartsRequestsWhateverBecameOfTheOthers) {
  Mutex mutex;
  std::vector<ResponderPtr> held;
  Serve([&](const HttpRequest&, const ResponderPtr& responder) {
    MutexLock lock(&mutex);
    held.push_back(responder);
    if (held.size() < 6) return;
    for (const ResponderPtr& one : held) SendStream(one.get(), GoodAnswer());
  });
  options_.arrivals = BenchOptions::Arrivals::kConstant;
  const LoadResult result = Run({.rate = 500, .num_requests = 6});
  EXPECT_EQ(result.answered.size(), 6u);
  EXPECT_EQ(result.most_in_flight, 6);
  // The first waited for the sixth, which was due 10 ms later.
  double longest = 0;
  for (const Answered& one : result.answered) longest = std::max(longest, one.ttft_ms);
  EXPECT_GE(longest, 10);
}

struct Failure {
  const char* kind;
  const char* words;
  void (*answer)(HttpResponder* responder);
};
void PrintTo(const Failure& failure, std::ostream* out) { *out << failure.kind; }

class LoadRunCounts : public LoadRunTest, public ::testing::WithParamInterface<Failure> {};

TEST_P(LoadRunCounts, AnAnswerThatIsNoneUnderItsKind) {
  Serve([](const HttpRequest&, const ResponderPtr& responder) {
    GetParam().answer(responder.get());
  });
  const LoadResult result = Run({.rate = std::nullopt, .concurrency = 2, .num_requests = 5});
  EXPECT_TRUE(result.answered.empty());
  ASSERT_EQ(result.errors.size(), 1u);
  EXPECT_EQ(result.errors.begin()->first, GetParam().kind);
  EXPECT_EQ(result.errors.begin()->second, 5);
  EXPECT_NE(result.first_error.find(GetParam().words), std::string::npos) << result.first_error;
}

INSTANTIATE_TEST_SUITE_P(
    Failures, LoadRunCounts,
    ::testing::Values(
        Failure{"HTTP 429", "queue is full",
                [](HttpResponder* r) {
                  r->Send({.status = 429, .headers = {}, .body = "the queue is full"});
                }},
        Failure{"error event", "no worker",
                [](HttpResponder* r) {
                  SendStream(r, {Text("a"), net::SseData(R"({"error":{"message":"no worker"}})")});
                }},
        Failure{"cut off", "[DONE]", [](HttpResponder* r) { SendStream(r, {Text("a")}); }},
        Failure{"no text", "without a token",
                [](HttpResponder* r) { SendStream(r, {std::string(net::kSseDone)}); }}));

TEST_F(LoadRunTest, NobodyThereIsAnErrorForEveryRequest) {
  options_.url = "http://127.0.0.1:1";
  const LoadResult result = Run({.rate = 1000, .num_requests = 4});
  EXPECT_EQ(result.errors.at("connect"), 4);
}

TEST_F(LoadRunTest, MoreThanMayBeInFlightFail) {
  Mutex mutex;
  std::vector<ResponderPtr> held;
  Serve([&](const HttpRequest&, const ResponderPtr& responder) {
    MutexLock lock(&mutex);
    held.push_back(responder);
  });
  options_.max_in_flight = 2;
  options_.arrivals = BenchOptions::Arrivals::kConstant;
  bool released = false;
  const LoadResult result =
      Run({.rate = 1000, .num_requests = 5}, [&](LoadRun*, const LoadProgress& progress) {
        MutexLock lock(&mutex);
        if (progress.started < 5 || held.size() < 2 || released) return;
        released = true;
        for (const ResponderPtr& one : held) SendStream(one.get(), GoodAnswer());
      });
  EXPECT_EQ(result.answered.size(), 2u);
  EXPECT_EQ(result.errors.at("too many in flight"), 3);
}

TEST_F(LoadRunTest, AStopLeavesTheRestUnfinished) {
  Mutex mutex;
  std::vector<ResponderPtr> held;  // never ended: the client has to
  Serve([&](const HttpRequest&, const ResponderPtr& responder) {
    responder->StartStream(
        {.status = 200, .content_type = "text/event-stream", .headers = {}, .body = ""});
    responder->Write(Text("a"));
    MutexLock lock(&mutex);
    held.push_back(responder);
  });
  const LoadResult result = Run({.rate = std::nullopt, .concurrency = 4, .num_requests = 100},
                                [](LoadRun* run, const LoadProgress& progress) {
                                  if (progress.text_events >= 4) run->Stop();
                                });
  EXPECT_TRUE(result.stopped);
  EXPECT_EQ(result.unfinished, 4);
  EXPECT_TRUE(result.answered.empty());
  EXPECT_TRUE(result.errors.empty());
}

TEST(LoadRunCreate, NamesAnAddressThatIsNone) {
  BenchOptions options;
  for (const char* url : {"localhost:8080", "ftp://localhost", "http://"}) {
    options.url = url;
    EXPECT_TRUE(absl::IsInvalidArgument(LoadRun::Create(options).status())) << url;
  }
}

}  // namespace
}  // namespace pingti::tools
