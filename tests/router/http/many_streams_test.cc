// Thousands of streams in bounded memory: a router of its own process, so that its memory is its
// own.
#include <gtest/gtest.h>

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "common/base/strings.h"
#include "tests/common/net/tcp_client.h"
#include "tests/testing/fake_worker.h"
#include "tests/testing/router_process.h"

namespace pingti::testing {
namespace {

constexpr int kTokens = 40;

// A sanitizer keeps memory of its own and holds back what is freed.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kOwnMemoryOnly = false;
#else
constexpr bool kOwnMemoryOnly = true;
#endif

std::string Request() {
  const std::string body =
      R"({"model":"fake","messages":[{"role":"user","content":"hi"}],"stream":true})";
  return Concat("POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nContent-Length: ", body.size(),
                "\r\n\r\n", body);
}

class ManyStreams : public ::testing::Test {
 protected:
  ManyStreams() {
    FakeWorkerOptions options;
    options.credit_sequences = 8192;
    options.answer = [](const worker::v1::Sequence&) {
      return ByteTokens(std::string(kTokens, 'x'));
    };
    worker_ = std::make_unique<FakeWorker>(options);
    // Longer than a busy machine keeps the fake worker from saying something.
    router_ =
        std::make_unique<RouterProcess>(PINGTI_ROUTER, std::vector<std::string>{worker_->address()},
                                        std::vector<std::string>{"--stall-timeout=60s"});
  }

  // Opens `count` streams, holds them all open half-way, and lets them end. Returns the router's
  // resident memory while all were open.
  double RunAtOnce(size_t count) {
    worker_->HoldSteps();
    std::vector<std::unique_ptr<TcpClient>> clients;
    for (size_t i = 0; i < count; ++i) {
      clients.push_back(std::make_unique<TcpClient>(router_->http_port()));
      EXPECT_TRUE(clients.back()->connected());
      EXPECT_TRUE(clients.back()->Send(Request()));
    }
    EXPECT_TRUE(WaitFor([&] { return worker_->num_running() == count; }));
    worker_->AllowSteps(kTokens / 2);
    for (const auto& client : clients) client->ReadUntil("\"content\":\"x\"");
    const double megabytes = router_->ResidentMegabytes();
    worker_->ReleaseSteps();
    for (const auto& client : clients) {
      client->ReadUntil("data: [DONE]");
      EXPECT_EQ(client->Count("\"content\":\"x\""), kTokens);
    }
    return megabytes;
  }

  std::unique_ptr<FakeWorker> worker_;
  std::unique_ptr<RouterProcess> router_;
};

TEST_F(ManyStreams, ThousandTakeLittleMemoryAndGiveItBackToTheNext) {
  RunAtOnce(100);  // what the first requests make once
  const double before = router_->ResidentMegabytes();
  const double first = RunAtOnce(1000);
  RecordProperty("kilobytes_per_stream", static_cast<int>((first - before) * 1024 / 1000));
  if (kOwnMemoryOnly) {
    EXPECT_LT(first - before, 40) << "MB for 1,000 streams";
  }
  for (int round = 0; round < 3; ++round) RunAtOnce(1000);
  const double last = RunAtOnce(1000);
  if (kOwnMemoryOnly) {
    EXPECT_LT(last - first, 15) << "MB more after 4,000 further streams";
  }
  std::printf("router: %.1f MB, with 1,000 streams %.1f MB, after 4,000 more %.1f MB\n", before,
              first, last);
}

}  // namespace
}  // namespace pingti::testing
