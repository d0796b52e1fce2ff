// The command line's client against the product's server, and against servers that misbehave.
#include "common/net/http_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <memory>
#include <string>
#include <thread>

#include "common/base/strings.h"
#include "common/net/admin_server.h"
#include "tests/testing/await.h"

namespace pingti::net {
namespace {

using std::chrono::milliseconds;
using testing::AwaitOrDie;
using ::testing::HasSubstr;

std::unique_ptr<HttpServer> StartOrDie(HttpHandler handler) {
  auto server = HttpServer::Start({}, std::move(handler));
  EXPECT_TRUE(server.ok()) << server.status();
  return std::move(*server);
}

std::string UrlOf(const HttpServer& server, std::string_view path) {
  return Concat("http://127.0.0.1:", server.port(), path);
}

TEST(ParseHttpUrlTest, TakesUrlsApart) {
  const auto full = ParseHttpUrl("http://example.org:8080/v1/models?x=1");
  ASSERT_TRUE(full.ok()) << full.status();
  EXPECT_EQ(full->host, "example.org");
  EXPECT_EQ(full->port, 8080);
  EXPECT_EQ(full->target, "/v1/models?x=1");
  const auto bare = ParseHttpUrl("http://[::1]");
  ASSERT_TRUE(bare.ok()) << bare.status();
  EXPECT_EQ(bare->host, "::1");
  EXPECT_EQ(bare->port, 80);
  EXPECT_EQ(bare->target, "/");
  EXPECT_EQ(ParseHttpUrl("http://h?q")->target, "/?q");
  EXPECT_FALSE(full->tls);
  const auto secure = ParseHttpUrl("https://example.org/");
  ASSERT_TRUE(secure.ok()) << secure.status();
  EXPECT_TRUE(secure->tls);
  EXPECT_EQ(secure->port, 443);
}

TEST(ParseHttpUrlTest, RefusesWhatItCannotDo) {
  for (const char* url :
       {"h:80/", "ftp://h", "http://", "http://:80/", "http://h:x/", "http://h:0/",
        "http://h:70000/", "http://[::1/", "http://u:p@h/", "http://h/a b", "http://h/a\r\nX: y"}) {
    const auto parsed = ParseHttpUrl(url);
    EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument) << url;
    EXPECT_THAT(std::string(parsed.status().message()), HasSubstr(url));
  }
}

TEST(HttpClientTest, PostsABodyAndReturnsTheAnswer) {
  const auto server = StartOrDie([](HttpRequest request, std::shared_ptr<HttpResponder> responder) {
    responder->Send({.status = 201,
                     .headers = {{"X-Host", std::string(request.Header("host"))}},
                     .body = Concat(request.method, " ", request.path, " ", request.body)});
  });
  HttpClient client;
  const auto answer = client.Send(
      {.method = "POST", .url = UrlOf(*server, "/p"), .headers = {{"A", "b"}}, .body = "text"});
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->status, 201);
  EXPECT_EQ(answer->body, "POST /p text");
  EXPECT_EQ(answer->content_type, "application/json");
}

TEST(HttpClientTest, StreamsPiecesAsTheyArrive) {
  std::promise<std::shared_ptr<HttpResponder>> arrived;
  const auto server = StartOrDie([&](HttpRequest, std::shared_ptr<HttpResponder> responder) {
    responder->StartStream({});
    responder->Write("first");
    arrived.set_value(std::move(responder));
  });
  HttpClient client;
  std::string received;
  std::shared_ptr<HttpResponder> responder;
  const auto answer =
      client.SendStreaming({.url = UrlOf(*server, "/")}, [&](std::string_view piece) {
        received += piece;
        if (responder == nullptr) {
          responder = AwaitOrDie(arrived.get_future(), "the handler");
          responder->Write("second");  // sent only after the first piece has been seen
          responder->EndStream();
        }
        return true;
      });
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(received, "firstsecond");
  EXPECT_EQ(answer->body, "");
}

TEST(HttpClientTest, AnErrorAnswerToAStreamComesWhole) {
  const auto server = StartOrDie([](HttpRequest, std::shared_ptr<HttpResponder> responder) {
    responder->Send({.status = 429, .body = "slow down"});
  });
  HttpClient client;
  const auto answer = client.SendStreaming({.url = UrlOf(*server, "/")}, [](std::string_view) {
    ADD_FAILURE() << "an error is not part of the stream";
    return true;
  });
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->status, 429);
  EXPECT_EQ(answer->body, "slow down");
}

TEST(HttpClientTest, CancelFromAnotherThreadEndsTheRequest) {
  std::promise<void> arrived;
  std::promise<void> closed;
  std::shared_ptr<HttpResponder> kept;
  const auto server = StartOrDie([&](HttpRequest, std::shared_ptr<HttpResponder> responder) {
    responder->OnClose([&closed] { closed.set_value(); });
    kept = std::move(responder);
    arrived.set_value();
  });
  HttpClient client;
  std::thread canceller([&] {
    AwaitOrDie(arrived.get_future(), "the request to arrive");
    client.Cancel();
  });
  const auto answer = client.Send({.url = UrlOf(*server, "/")});
  canceller.join();
  EXPECT_EQ(answer.status().code(), absl::StatusCode::kCancelled) << answer.status();
  EXPECT_EQ(closed.get_future().wait_for(std::chrono::minutes(1)), std::future_status::ready);
}

TEST(HttpClientTest, CallbackThatReturnsFalseCancels) {
  std::promise<void> closed;
  std::shared_ptr<HttpResponder> kept;
  const auto server = StartOrDie([&](HttpRequest, std::shared_ptr<HttpResponder> responder) {
    responder->OnClose([&closed] { closed.set_value(); });
    responder->StartStream({});
    responder->Write("x");
    kept = std::move(responder);
  });
  HttpClient client;
  const auto answer =
      client.SendStreaming({.url = UrlOf(*server, "/")}, [](std::string_view) { return false; });
  EXPECT_EQ(answer.status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(closed.get_future().wait_for(std::chrono::minutes(1)), std::future_status::ready);
}

TEST(HttpClientTest, NobodyListeningIsUnavailableAndNamesTheAddress) {
  std::string url;
  {
    const auto server = StartOrDie([](HttpRequest, std::shared_ptr<HttpResponder>) {});
    url = UrlOf(*server, "/");
  }
  HttpClient client;
  const auto answer = client.Send({.url = url});
  EXPECT_EQ(answer.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(answer.status().message()), HasSubstr("connecting to 127.0.0.1:"));
}

TEST(HttpClientTest, AnAnswerThatDoesNotComeIsDeadlineExceeded) {
  std::shared_ptr<HttpResponder> kept;
  const auto server = StartOrDie(
      [&](HttpRequest, std::shared_ptr<HttpResponder> responder) { kept = std::move(responder); });
  HttpClient client({.read_timeout = milliseconds(30)});
  const auto answer = client.Send({.url = UrlOf(*server, "/")});
  EXPECT_EQ(answer.status().code(), absl::StatusCode::kDeadlineExceeded) << answer.status();
}

TEST(HttpClientTest, AStreamCutShortIsUnavailable) {
  const auto server = StartOrDie([](HttpRequest, std::shared_ptr<HttpResponder> responder) {
    responder->StartStream({});
    responder->Write("half");
  });
  HttpClient client;
  std::string received;
  const auto answer = client.SendStreaming({.url = UrlOf(*server, "/")}, [&](std::string_view p) {
    received += p;
    return true;
  });
  EXPECT_EQ(answer.status().code(), absl::StatusCode::kUnavailable) << answer.status();
}

TEST(HttpClientTest, AnAnswerTooLargeIsRefused) {
  const auto server = StartOrDie([](HttpRequest, std::shared_ptr<HttpResponder> responder) {
    responder->Send({.body = std::string(5000, 'x')});
  });
  HttpClient client({.max_body_bytes = 1000});
  const auto answer = client.Send({.url = UrlOf(*server, "/")});
  EXPECT_EQ(answer.status().code(), absl::StatusCode::kResourceExhausted);
}

TEST(AdminServerTest, AnswersMetricsAndProbes) {
  std::atomic<bool> ready{false};
  const auto server = StartAdminServer(
      {}, {.metrics = [] { return std::string("pingti_x 1\n"); },
           .healthy = [] { return absl::OkStatus(); },
           .ready =
               [&] {
                 return ready ? absl::OkStatus() : absl::UnavailableError("the model is loading");
               }});
  ASSERT_TRUE(server.ok()) << server.status();
  const auto get = [&](std::string_view path) {
    HttpClient client;
    auto answer = client.Send({.url = UrlOf(**server, path)});
    EXPECT_TRUE(answer.ok()) << answer.status();
    return *answer;
  };
  EXPECT_EQ(get("/metrics").body, "pingti_x 1\n");
  EXPECT_EQ(get("/metrics").content_type, "text/plain; version=0.0.4; charset=utf-8");
  EXPECT_EQ(get("/healthz").status, 200);
  EXPECT_EQ(get("/readyz").status, 503);
  EXPECT_EQ(get("/readyz").body, "the model is loading\n");
  ready = true;
  EXPECT_EQ(get("/readyz").status, 200);
  EXPECT_EQ(get("/other").status, 404);
  HttpClient client;
  EXPECT_EQ(client.Send({.method = "POST", .url = UrlOf(**server, "/metrics")})->status, 405);
  EXPECT_EQ(client.Send({.method = "HEAD", .url = UrlOf(**server, "/metrics")})->body, "");
}

}  // namespace
}  // namespace pingti::net
