// Clients that say nothing, read nothing, send garbage or far too much: each gets an answer or a
// reason, others are served meanwhile, and what one can make the router keep is bounded.
#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "boost/json.hpp"
#include "common/base/strings.h"
#include "tests/common/net/tcp_client.h"
#include "tests/router/http/sse_client.h"
#include "tests/testing/fake_worker.h"
#include "tests/testing/in_process_router.h"

namespace pingti::testing {
namespace {

namespace json = boost::json;
using std::chrono::milliseconds;
using worker::v1::Sequence;

constexpr char kPlainAsk[] = R"({"model":"fake","messages":[{"role":"user","content":"hi"}]})";

std::string Request(const std::string& body, const std::string& path = "/v1/chat/completions") {
  return Concat("POST ", path, " HTTP/1.1\r\nHost: h\r\nContent-Length: ", body.size(), "\r\n\r\n",
                body);
}

class HostileClients : public ::testing::Test {
 protected:
  void Start(InProcessRouterOptions options = {}, FakeWorkerOptions worker = {}) {
    worker_ = std::make_unique<FakeWorker>(std::move(worker));
    options.workers = {worker_->address()};
    router_ = std::make_unique<InProcessRouter>(std::move(options));
    ASSERT_TRUE(router_->WaitReady(1));
  }
  // Whether the router serves a well-behaved client.
  bool Serves() {
    const net::HttpResponse response = router_->Post("/v1/chat/completions", kPlainAsk);
    return response.status == 200 &&
           response.body.find("Hello from the fake worker.") != std::string::npos;
  }

  std::unique_ptr<FakeWorker> worker_;
  std::unique_ptr<InProcessRouter> router_;
};

TEST_F(HostileClients, AThousandSilentConnectionsAreClosedAndHinderNobody) {
  InProcessRouterOptions options;
  options.http.header_timeout = milliseconds(1500);
  Start(options);
  std::vector<std::unique_ptr<TcpClient>> silent;
  const auto first_ends = std::chrono::steady_clock::now() + options.http.header_timeout;
  for (int i = 0; i < 1000; ++i) {
    silent.push_back(std::make_unique<TcpClient>(router_->http_port()));
    ASSERT_TRUE(silent.back()->connected()) << i;
    if (i % 2 == 1) silent.back()->Send("POST /v1/chat/comple");  // half of them begin to speak
  }
  // All at once, unless this machine took so long that the first are over.
  ASSERT_TRUE(WaitFor([&] {
    return router_->num_connections() >= 1000 || std::chrono::steady_clock::now() > first_ends;
  }));
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(Serves());
  for (size_t i = 0; i < silent.size(); ++i) {
    const std::string said = silent[i]->ReadAll();
    ASSERT_TRUE(silent[i]->ended()) << i;
    EXPECT_EQ(said.empty(), i % 2 == 0) << "who began to speak is told 408";
    silent[i]->Close();
  }
  EXPECT_TRUE(WaitFor([&] { return router_->num_connections() == 0; }));
}

TEST_F(HostileClients, WhoDoesNotReadLosesItsStreamAndItsSequenceAlone) {
  InProcessRouterOptions options;
  options.http.max_stream_buffer_bytes = 256 << 10;
  FakeWorkerOptions worker;
  worker.max_context_tokens = 1u << 20;
  // A thousand bytes per event, since JSON writes such a token in six: in all more than the
  // kernel's own buffers hold.
  worker.tokens_per_step = 128;
  worker.answer = [](const Sequence& sequence) {
    const bool is_long = sequence.stop().max_tokens() == 900'000;
    return ByteTokens(is_long ? std::string(900'000, '\x01') : "Hello from the fake worker.");
  };
  Start(options, worker);
  worker_->HoldSteps();
  const std::string body =
      R"({"model":"fake","messages":[{"role":"user","content":"hi"}],"stream":true,)"
      R"("max_tokens":900000})";
  TcpClient slow(router_->http_port(), /*receive_buffer_bytes=*/4096);
  ASSERT_TRUE(slow.Send(Request(body)));
  ASSERT_TRUE(WaitFor([&] { return worker_->num_running() == 1; }));
  // The worker steps slowly, so that it cannot be done before the router has seen what waits, and
  // goes on until the other client has its answer, whenever that client's sequence comes.
  const auto serves = [&] {
    std::future<bool> served = std::async(std::launch::async, [&] { return Serves(); });
    EXPECT_TRUE(WaitFor([&] {
      worker_->AllowSteps(64);
      return served.wait_for(milliseconds(0)) == std::future_status::ready;
    }));
    return served.get();
  };
  ASSERT_TRUE(WaitFor([&] { return !serves() || worker_->num_cancelled() == 1; }));
  EXPECT_EQ(worker_->num_cancelled(), 1u);
  worker_->ReleaseSteps();
  EXPECT_TRUE(Serves());
  EXPECT_TRUE(WaitFor([&] { return router_->service().num_running() == 0; }));
}

TEST_F(HostileClients, WhoReadsAByteAtATimeGetsAllOfIt) {
  FakeWorkerOptions worker;
  worker.answer = [](const Sequence&) { return ByteTokens(std::string(50, 'y')); };
  Start({}, worker);
  TcpClient slow(router_->http_port(), /*receive_buffer_bytes=*/1);
  ASSERT_TRUE(slow.Send(
      Request(R"({"model":"fake","messages":[{"role":"user","content":"hi"}],"stream":true})")));
  const std::string got = slow.ReadUntil("data: [DONE]");
  EXPECT_EQ(slow.Count("\"content\":\"y\""), 50);
}

TEST_F(HostileClients, AClientGoneMidStreamIsCancelledBeforeTheNextStep) {
  Start();
  worker_->HoldSteps();
  auto client = std::make_unique<TcpClient>(router_->http_port());
  ASSERT_TRUE(client->Send(
      Request(R"({"model":"fake","messages":[{"role":"user","content":"hi"}],"stream":true})")));
  ASSERT_TRUE(WaitFor([&] { return worker_->num_running() == 1; }));
  worker_->AllowSteps(3);
  client->ReadUntil("\"content\":\"l\"");
  client->Reset();
  EXPECT_TRUE(WaitFor([&] { return worker_->num_cancelled() == 1; }));
  EXPECT_EQ(worker_->num_tokens_sent(), 3u) << "no step was let through meanwhile";
}

TEST_F(HostileClients, PipelinedRequestsAreAnsweredInOrder) {
  Start();
  const std::string chat = Request(kPlainAsk);
  const std::string models = "GET /v1/models HTTP/1.1\r\nHost: h\r\n\r\n";
  const std::string nowhere = "GET /nowhere HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
  TcpClient client(router_->http_port());
  ASSERT_TRUE(client.Send(chat + models + chat + nowhere));
  const std::string all = client.ReadAll();
  EXPECT_EQ(client.Count("HTTP/1.1 "), 4);
  const size_t first = all.find("chat.completion");
  const size_t list = all.find("\"object\":\"list\"");
  const size_t second = all.find("chat.completion", list);
  const size_t last = all.find("unknown_url");
  EXPECT_LT(first, list);
  EXPECT_LT(list, second);
  EXPECT_LT(second, last);
  EXPECT_NE(last, std::string::npos);
}

struct Garbage {
  std::string name;
  std::string bytes;
  std::string status;
};

class GarbageTest : public HostileClients, public ::testing::WithParamInterface<Garbage> {};

TEST_P(GarbageTest, GetsAReasonAndStopsNothing) {
  InProcessRouterOptions options;
  options.http.max_body_bytes = 1 << 20;
  Start(options);
  TcpClient client(router_->http_port());
  client.Send(GetParam().bytes);
  const std::string answer = client.ReadUntil("\r\n\r\n{\"error\":");
  EXPECT_TRUE(answer.starts_with(Concat("HTTP/1.1 ", GetParam().status))) << answer;
  EXPECT_NE(answer.find("{\"error\":"), std::string::npos) << answer;
  EXPECT_TRUE(Serves());
}

std::string BinaryNoise() {
  std::string noise;
  for (int i = 0; i < 4096; ++i) noise += static_cast<char>(i * 131 + i / 7);
  return noise;
}

std::vector<Garbage> AllGarbage() {
  const auto chat = [](const std::string& more) {
    return Request(
        Concat(R"({"model":"fake","messages":[{"role":"user","content":"hi"}],)", more, "}"));
  };
  return {
      {"Noise", BinaryNoise(), "400"},
      {"ATlsHello", std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11), "400"},
      {"AHugeHeader", "GET / HTTP/1.1\r\nHost: h\r\nX: " + std::string(80 << 10, 'x'), "431"},
      {"ManyHeaders",
       [] {
         std::string text = "GET / HTTP/1.1\r\nHost: h\r\n";
         for (int i = 0; i < 5000; ++i) text += Concat("X-", i, ": some value\r\n");
         return text;
       }(),
       "431"},
      {"ALongTarget", "GET /" + std::string(80 << 10, 'a') + " HTTP/1.1\r\n", "431"},
      {"TenMegabytesOfPrompt",
       "POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nContent-Length: 10485760\r\n\r\n{\"m",
       "413"},
      {"TenMegabytesInChunks",
       "POST /v1/completions HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
       "a00000\r\n" +
           std::string(1100 << 10, 'z'),
       "413"},
      {"LengthAndChunks",
       "POST /v1/completions HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n"
       "Content-Length: 3\r\n\r\n0\r\n\r\n",
       "400"},
      {"NanTemperature", chat(R"("temperature":NaN)"), "400"},
      {"InfiniteTemperature", chat(R"("temperature":1e999)"), "400"},
      {"NegativeTemperature", chat(R"("temperature":-0.1)"), "400"},
      {"NoTokens", chat(R"("max_tokens":0)"), "400"},
      {"NegativeTokens", chat(R"("max_tokens":-1)"), "400"},
      {"DeepJson", Request(std::string(100'000, '[')), "400"},
      {"NotUtf8", Request("{\"model\":\"\xff\xfe\"}"), "400"},
  };
}

INSTANTIATE_TEST_SUITE_P(All, GarbageTest, ::testing::ValuesIn(AllGarbage()),
                         [](const auto& param) { return param.param.name; });

TEST_F(HostileClients, APromptOfTenMegabytesIsRefusedForItsTokensWhenItsBytesAreAllowed) {
  Start();  // 100 MiB are
  const net::HttpResponse response =
      router_->Post("/v1/completions",
                    Concat(R"({"model":"fake","prompt":")", std::string(10 << 20, 'w'), "\"}"));
  EXPECT_EQ(response.status, 400);
  EXPECT_EQ(json::parse(response.body).at("error").at("code"), "context_length_exceeded");
  EXPECT_TRUE(Serves());
}

TEST_F(HostileClients, TextThatCannotFitIsRefusedBeforeItIsTokenized) {
  Start();
  const std::string body = Concat(R"({"model":"fake","messages":[{"role":"user","content":")",
                                  std::string(10'000'000, ' '), R"("}]})");
  const net::HttpResponse refused = router_->Post("/v1/chat/completions", body);
  EXPECT_EQ(refused.status, 400);
  EXPECT_NE(refused.body.find("context_length_exceeded"), std::string::npos);
  EXPECT_NE(refused.body.find("bytes of text"), std::string::npos);
  EXPECT_EQ(router_->Post("/v1/tokenize", body).status, 400);
  EXPECT_TRUE(Serves());
}

TEST_F(HostileClients, ALongNameIsCutWhereItIsToldAgain) {
  Start();
  const net::HttpResponse refused = router_->Post(
      "/v1/chat/completions", Concat(R"({"model":")", std::string(5'000'000, 'm'),
                                     R"(","messages":[{"role":"user","content":"hi"}]})"));
  EXPECT_EQ(refused.status, 404);
  EXPECT_LT(refused.body.size(), 5'000u);
  EXPECT_EQ(router_->MetricsText().find("mmm"), std::string::npos);
}

TEST_F(HostileClients, WrongKeysAreCounted) {
  InProcessRouterOptions options;
  options.api_keys = "good";
  Start(options);
  for (int i = 0; i < 30; ++i) {
    EXPECT_EQ(
        router_->Post("/v1/chat/completions", kPlainAsk, {{"authorization", "Bearer no"}}).status,
        401);
  }
  EXPECT_EQ(router_->metrics().requests.With({"/v1/chat/completions", "", "401"}).Value(), 30);
}

TEST_F(HostileClients, AClientsIdsAreEchoedAndBadOnesAreNot) {
  Start();
  const auto header = [](const net::HttpResponse& response, std::string_view wanted) {
    for (const auto& [name, value] : response.headers) {
      if (name == wanted) return value;
    }
    return std::string();
  };
  const std::string parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  for (const char* body : {kPlainAsk, "{}"}) {
    const net::HttpResponse response = router_->Post(
        "/v1/chat/completions", body, {{"x-request-id", "order-17"}, {"traceparent", parent}});
    EXPECT_EQ(header(response, "x-request-id"), "order-17");
    EXPECT_EQ(header(response, "traceparent"), parent);
  }
  const net::HttpResponse response = router_->Post(
      "/v1/chat/completions", kPlainAsk, {{"x-request-id", "a b"}, {"traceparent", "nonsense"}});
  EXPECT_TRUE(header(response, "x-request-id").starts_with("chatcmpl-"));
  EXPECT_EQ(header(response, "traceparent"), "");
}

}  // namespace
}  // namespace pingti::testing
