#include "tools/chat_client.h"

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "boost/json.hpp"
#include "common/net/http_server.h"
#include "common/net/sse.h"
#include "gtest/gtest.h"

namespace pingti::tools {
namespace {

using net::HttpRequest;
using net::HttpResponder;

std::string Chunk(const std::string& delta, const std::string& finish = "null") {
  return net::SseData(R"({"choices":[{"index":0,"delta":)" + delta + R"(,"finish_reason":)" +
                      finish + "}]}");
}

class ChatClientTest : public testing::Test {
 protected:
  // Serves `handler` on a free port; the settings point at it.
  ChatSettings Serve(net::HttpHandler handler) {
    auto server = net::HttpServer::Start({}, std::move(handler));
    EXPECT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    ChatSettings settings;
    settings.url = "http://127.0.0.1:" + std::to_string(server_->port());
    return settings;
  }

  ChatSink Recorder() {
    return {.on_reasoning = [this](std::string_view text) { reasoning_ += text; },
            .on_content = [this](std::string_view text) { content_ += text; }};
  }

  std::unique_ptr<net::HttpServer> server_;
  std::string reasoning_;
  std::string content_;
};

void SendStream(HttpResponder* responder, const std::vector<std::string>& pieces) {
  responder->StartStream(
      {.status = 200, .content_type = "text/event-stream", .headers = {}, .body = ""});
  for (const std::string& piece : pieces) responder->Write(piece);
  responder->EndStream();
}

TEST_F(ChatClientTest, StreamsReasoningAndContentApart) {
  std::string body;
  ChatSettings settings = Serve([&](HttpRequest request, std::shared_ptr<HttpResponder> responder) {
    body = request.body;
    SendStream(responder.get(),
               {Chunk(R"({"role":"assistant","reasoning_content":"hm"})"), ": waiting\n\n",
                Chunk(R"({"content":"Pa"})"), Chunk(R"({"content":"ris"})", R"("stop")"),
                net::SseData(R"({"choices":[],"usage":{"completion_tokens":4}})"),
                std::string(net::kSseDone)});
  });
  settings.model = "m";
  settings.temperature = 0.5;
  ChatClient client(settings);
  const auto answer = client.Ask({{"system", "be brief"}, {"user", "Capital?"}}, Recorder());
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(reasoning_, "hm");
  EXPECT_EQ(content_, "Paris");
  EXPECT_EQ(answer->content, "Paris");
  EXPECT_EQ(answer->finish_reason, "stop");
  EXPECT_EQ(answer->completion_tokens, 4);
  const boost::json::value sent = boost::json::parse(body);
  EXPECT_EQ(sent.at("model").as_string(), "m");
  EXPECT_EQ(sent.at("temperature").as_double(), 0.5);
  EXPECT_EQ(sent.at("messages").as_array().size(), 2u);
  EXPECT_FALSE(sent.as_object().contains("seed"));
}

TEST_F(ChatClientTest, TakesTheFirstModelWhenNoneIsNamed) {
  ChatClient client(Serve([](HttpRequest request, std::shared_ptr<HttpResponder> responder) {
    EXPECT_EQ(request.path, "/v1/models");
    responder->Send({.status = 200, .headers = {}, .body = R"({"data":[{"id":"a"},{"id":"b"}]})"});
  }));
  ASSERT_TRUE(client.ResolveModel().ok());
  EXPECT_EQ(client.model(), "a");
}

TEST_F(ChatClientTest, PassesOnWhatTheServerRefused) {
  ChatSettings settings = Serve([](HttpRequest, std::shared_ptr<HttpResponder> responder) {
    responder->Send(
        {.status = 400, .headers = {}, .body = R"({"error":{"message":"temperature is 9"}})"});
  });
  settings.model = "m";
  const auto answer = ChatClient(settings).Ask({{"user", "x"}}, Recorder());
  EXPECT_EQ(answer.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(answer.status().message().find("temperature is 9"), absl::string_view::npos);
}

TEST_F(ChatClientTest, AStreamThatEndsEarlyIsAnError) {
  ChatSettings settings = Serve([](HttpRequest, std::shared_ptr<HttpResponder> responder) {
    SendStream(responder.get(), {Chunk(R"({"content":"half"})")});
  });
  settings.model = "m";
  const auto answer = ChatClient(settings).Ask({{"user", "x"}}, Recorder());
  EXPECT_EQ(answer.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(content_, "half");
}

TEST_F(ChatClientTest, AnErrorInsideTheStreamIsAnError) {
  ChatSettings settings = Serve([](HttpRequest, std::shared_ptr<HttpResponder> responder) {
    SendStream(responder.get(), {net::SseData(R"({"error":{"message":"no worker is left"}})")});
  });
  settings.model = "m";
  const auto answer = ChatClient(settings).Ask({{"user", "x"}}, Recorder());
  ASSERT_FALSE(answer.ok());
  EXPECT_NE(answer.status().message().find("no worker is left"), absl::string_view::npos);
}

TEST_F(ChatClientTest, CancelKeepsWhatCame) {
  std::shared_ptr<HttpResponder> open;
  ChatSettings settings = Serve([&](HttpRequest, std::shared_ptr<HttpResponder> responder) {
    open = responder;
    open->StartStream(
        {.status = 200, .content_type = "text/event-stream", .headers = {}, .body = ""});
    open->Write(Chunk(R"({"content":"one"})"));
  });
  settings.model = "m";
  ChatClient client(settings);
  ChatSink sink = Recorder();
  std::thread canceller;
  sink.on_content = [&](std::string_view text) {
    content_ += text;
    canceller = std::thread([&] { client.Cancel(); });
  };
  const auto answer = client.Ask({{"user", "x"}}, sink);
  canceller.join();
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->finish_reason, "cancelled");
  EXPECT_EQ(answer->content, "one");
}

TEST(ChatClientWithoutServer, SaysThatNobodyAnswers) {
  ChatSettings settings;
  settings.url = "http://127.0.0.1:1";
  const absl::Status status = ChatClient(settings).ResolveModel();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_NE(status.message().find("127.0.0.1"), absl::string_view::npos);
}

}  // namespace
}  // namespace pingti::tools
