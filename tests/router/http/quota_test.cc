// What a key may use in a minute, as an HTTP client sees it.
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "common/base/sha256.h"
#include "common/base/strings.h"
#include "tests/testing/fake_worker.h"
#include "tests/testing/in_process_router.h"

namespace pingti::testing {
namespace {

class RateLimitHeaders : public ::testing::Test {
 protected:
  RateLimitHeaders() {
    FakeWorkerOptions worker;
    worker.answer = [](const worker::v1::Sequence&) { return ByteTokens("yes"); };
    worker_ = std::make_unique<FakeWorker>(worker);
    InProcessRouterOptions options;
    options.workers = {worker_->address()};
    options.api_keys =
        Concat("keys:\n- name: small\n  sha256: ", ToHex(Sha256("s")),
               "\n  class: batch\n  requests_per_minute: 2\n",
               "  tokens_per_minute: 6000\n- name: free\n  sha256: ", ToHex(Sha256("f")), "\n");
    router_ = std::make_unique<InProcessRouter>(std::move(options));
  }

  net::HttpResponse Ask(const std::string& key, bool stream = false) {
    return router_->Post("/v1/completions",
                         Concat(R"({"model":"fake","prompt":"hello","max_tokens":3,"stream":)",
                                stream ? "true" : "false", "}"),
                         {{"Authorization", "Bearer " + key}});
  }
  static std::string HeaderOf(const net::HttpResponse& response, const std::string& name) {
    for (const auto& [key, value] : response.headers) {
      if (key == name) return value;
    }
    return "";
  }

  std::unique_ptr<FakeWorker> worker_;
  std::unique_ptr<InProcessRouter> router_;
};

TEST_F(RateLimitHeaders, TellWhatIsLeft) {
  ASSERT_TRUE(router_->WaitReady(1));
  const net::HttpResponse first = Ask("s");
  ASSERT_EQ(first.status, 200) << first.body;
  EXPECT_EQ(HeaderOf(first, "x-ratelimit-limit-requests"), "2");
  EXPECT_EQ(HeaderOf(first, "x-ratelimit-remaining-requests"), "1");
  EXPECT_EQ(HeaderOf(first, "x-ratelimit-reset-requests").back(), 's');
  EXPECT_EQ(HeaderOf(first, "x-ratelimit-limit-tokens"), "6000");
  const int tokens = std::stoi(HeaderOf(first, "x-ratelimit-remaining-tokens"));
  EXPECT_GT(tokens, 5900);
  const net::HttpResponse second = Ask("s", /*stream=*/true);
  ASSERT_EQ(second.status, 200) << second.body;
  EXPECT_EQ(HeaderOf(second, "x-ratelimit-remaining-requests"), "0");

  const net::HttpResponse refused = Ask("s");
  EXPECT_EQ(refused.status, 429) << refused.body;
  EXPECT_NE(refused.body.find("rate_limit_exceeded"), std::string::npos) << refused.body;
  EXPECT_EQ(HeaderOf(refused, "x-ratelimit-remaining-requests"), "0");
  const int retry_after = std::stoi(HeaderOf(refused, "retry-after"));
  EXPECT_GT(retry_after, 0);
  EXPECT_LE(retry_after, 30) << "two requests a minute";

  const net::HttpResponse unlimited = Ask("f");
  EXPECT_EQ(unlimited.status, 200) << unlimited.body;
  EXPECT_EQ(HeaderOf(unlimited, "x-ratelimit-limit-requests"), "");
}

TEST_F(RateLimitHeaders, MetricsNameClassesAndNoKeys) {
  ASSERT_TRUE(router_->WaitReady(1));
  for (const char* key : {"s", "s", "s", "f", "unknown"}) Ask(key);
  const std::string text = router_->MetricsText();
  const auto has = [&](const std::string& line) { return text.find(line) != std::string::npos; };
  EXPECT_TRUE(has(R"(pingti_router_class_requests_total{code="200",tenant_class="batch"} 2)") ||
              has(R"(pingti_router_class_requests_total{tenant_class="batch",code="200"} 2)"))
      << text;
  EXPECT_TRUE(has(R"(pingti_router_class_requests_total{tenant_class="batch",code="429"} 1)") ||
              has(R"(pingti_router_class_requests_total{code="429",tenant_class="batch"} 1)"));
  EXPECT_TRUE(
      has(R"(pingti_router_class_time_to_first_token_seconds_count{tenant_class="batch"} 2)"));
  EXPECT_TRUE(
      has(R"(pingti_router_class_time_to_first_token_seconds_count{tenant_class="default"} 1)"));
  EXPECT_FALSE(has("small")) << "names of keys are no labels";
}

}  // namespace
}  // namespace pingti::testing
