// Which pages may ask, and what they are told.
#include "router/http/cors.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>

namespace pingti::router {
namespace {

using Headers = net::HttpHeaders;

CorsPolicy Allowing(std::vector<std::string> origins) {
  return *CorsPolicy::Make(std::move(origins));
}

net::HttpRequest Preflight(std::string origin) {
  net::HttpRequest request;
  request.method = "OPTIONS";
  request.path = "/v1/chat/completions";
  request.headers = {{"origin", std::move(origin)},
                     {"access-control-request-method", "POST"},
                     {"access-control-request-headers", "authorization,content-type"}};
  return request;
}

class RecordingResponder final : public net::HttpResponder {
 public:
  void Send(net::HttpResponse response) override { headers = std::move(response.headers); }
  void StartStream(net::HttpResponse head, std::string, std::string_view) override {
    headers = std::move(head.headers);
  }
  bool Write(std::string_view) override { return true; }
  void EndStream(std::string_view) override {}
  void OnClose(std::function<void()>) override {}

  Headers headers;
};

TEST(Cors, APageOfTheListMayAskAndReadTheAnswer) {
  const CorsPolicy policy = Allowing({"https://a.example", "http://localhost:3000"});
  const net::HttpRequest preflight = Preflight("http://localhost:3000");
  ASSERT_TRUE(policy.IsPreflight(preflight));
  const net::HttpResponse answer = policy.AnswerPreflight(preflight);
  EXPECT_EQ(answer.status, 204);
  EXPECT_EQ(answer.headers, (Headers{{"access-control-allow-origin", "http://localhost:3000"},
                                     {"vary", "origin"},
                                     {"access-control-allow-methods", "GET, HEAD, POST"},
                                     {"access-control-allow-headers", "authorization,content-type"},
                                     {"access-control-max-age", "600"}}));
  const Headers readable = {{"a", "b"},
                            {"access-control-allow-origin", "http://localhost:3000"},
                            {"vary", "origin"},
                            {"access-control-expose-headers", "*"}};
  net::HttpResponse response;
  response.headers = {{"a", "b"}};
  const auto responder = std::make_shared<RecordingResponder>();
  policy.Wrap(preflight, responder)->Send(response);
  EXPECT_EQ(responder->headers, readable);
  policy.Wrap(preflight, responder)->StartStream(response);
  EXPECT_EQ(responder->headers, readable);
}

TEST(Cors, OthersAreToldNothing) {
  for (const CorsPolicy& policy : {Allowing({}), Allowing({"https://a.example"})}) {
    const net::HttpRequest preflight = Preflight("https://b.example");
    EXPECT_FALSE(policy.IsPreflight(preflight));
    net::HttpResponse response;
    policy.AddHeaders(preflight, &response);
    EXPECT_TRUE(response.headers.empty());
    const auto responder = std::make_shared<RecordingResponder>();
    EXPECT_EQ(policy.Wrap(preflight, responder), responder);
  }
  const CorsPolicy any = Allowing({"*"});
  net::HttpRequest request = Preflight("https://b.example");
  EXPECT_TRUE(any.IsPreflight(request));
  EXPECT_EQ(any.AnswerPreflight(request).headers.front(),
            (std::pair<std::string, std::string>{"access-control-allow-origin", "*"}));
  request.headers.emplace_back("content-length", "9");  // a browser's has no body
  EXPECT_FALSE(any.IsPreflight(request));
  EXPECT_FALSE(any.IsPreflight(Preflight("")));
  request = Preflight("https://b.example");
  request.method = "POST";
  EXPECT_FALSE(any.IsPreflight(request));
}

TEST(Cors, WhatIsNoOriginIsNamed) {
  for (const char* origin : {"", "a.example", "https://", "https://a.example/", "HTTPS://a.example",
                             "https://a.example/path", "null"}) {
    const absl::Status status = CorsPolicy::Make({"*", origin}).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << origin;
    EXPECT_NE(status.message().find(std::string("'") + origin + "'"), std::string::npos) << status;
  }
  EXPECT_TRUE(CorsPolicy::Make({"https://[::1]:8443", "http://a-b.example"}).ok());
}

}  // namespace
}  // namespace pingti::router
