// The server from a client's side: well-formed, malformed, slow, greedy and vanishing clients.
#include "common/net/http_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "common/base/mutex.h"
#include "common/base/strings.h"
#include "tests/common/net/tcp_client.h"
#include "tests/testing/await.h"
#include "tests/testing/wait_for.h"

namespace pingti::net {
namespace {

using ::pingti::testing::kPatience;
using ::pingti::testing::TcpClient;
using ::pingti::testing::WaitFor;
using std::chrono::milliseconds;
using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

using Responder = std::shared_ptr<HttpResponder>;

// Keeps what handlers get until a test asks for it. Thread-safe.
class Mailbox {
 public:
  void Put(Responder responder) {
    MutexLock lock(&mutex_);
    waiting_.push_back(std::move(responder));
    arrived_.NotifyAll();
  }
  // Null when none comes in time.
  Responder Take() {
    MutexLock lock(&mutex_);
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    while (waiting_.empty()) {
      if (!arrived_.WaitUntil(&mutex_, deadline)) return nullptr;
    }
    Responder first = waiting_.front();
    waiting_.erase(waiting_.begin());
    return first;
  }

 private:
  Mutex mutex_;
  CondVar arrived_;
  std::vector<Responder> waiting_ PINGTI_GUARDED_BY(mutex_);
};

// Answers with what it was asked.
void Echo(HttpRequest request, Responder responder) {
  HttpResponse response;
  response.content_type = "text/plain";
  response.body = Concat(request.method, " ", request.path, " [", request.query, "] ",
                         request.Header("x-test"), " ", request.body);
  responder->Send(std::move(response));
}

std::unique_ptr<HttpServer> StartOrDie(HttpServerOptions options, HttpHandler handler) {
  auto server = HttpServer::Start(std::move(options), std::move(handler));
  EXPECT_TRUE(server.ok()) << server.status();
  return server.ok() ? std::move(*server) : nullptr;
}

std::string Get(std::string_view path) {
  return Concat("GET ", path, " HTTP/1.1\r\nHost: test\r\n\r\n");
}

std::string ReadAllOf(uint16_t port, std::string_view sent) {
  TcpClient client(port);
  EXPECT_TRUE(client.Send(sent));
  const std::string answer = client.ReadAll();
  EXPECT_TRUE(client.ended()) << "the server did not close after: " << sent.substr(0, 100);
  return answer;
}

TEST(HttpServerTest, AnswersWithLengthAndKeepsTheConnection) {
  const auto server = StartOrDie({}, Echo);
  TcpClient client(server->port());
  client.Send(
      "POST /a%20b?x=%31 HTTP/1.1\r\nHost: t\r\nX-Test: hello\r\nContent-Length: 4\r\n\r\nbody");
  std::string answer = client.ReadUntil("hello body");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(answer, HasSubstr("Content-Length: 28\r\n"));
  EXPECT_THAT(answer, EndsWith("\r\n\r\nPOST /a b [x=%31] hello body"));
  client.Send(Get("/second"));
  EXPECT_THAT(client.ReadUntil("/second"), HasSubstr("GET /second []"));
}

TEST(HttpServerTest, ReadsAChunkedBodyThatArrivesByteByByte) {
  const auto server = StartOrDie({}, Echo);
  TcpClient client(server->port());
  for (const char c :
       std::string("POST /c HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"
                   "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")) {
    ASSERT_TRUE(client.Send(std::string(1, c)));
  }
  EXPECT_THAT(client.ReadUntil("abcde"), EndsWith("POST /c []  abcde"));
}

TEST(HttpServerTest, PipelinedRequestsAreAnsweredInOrderOneAtATime) {
  Mailbox mailbox;
  std::atomic<int> handled{0};
  const auto server = StartOrDie({}, [&](HttpRequest request, Responder responder) {
    ++handled;
    mailbox.Put(responder);
  });
  TcpClient client(server->port());
  client.Send(Get("/1") + Get("/2") + Get("/3"));
  for (int i = 1; i <= 3; ++i) {
    const Responder responder = mailbox.Take();
    ASSERT_NE(responder, nullptr);
    EXPECT_EQ(handled, i);
    HttpResponse response;
    response.body = Concat("answer ", i);
    responder->Send(std::move(response));
  }
  const std::string answers = client.ReadUntil("answer 3");
  EXPECT_LT(answers.find("answer 1"), answers.find("answer 2"));
  EXPECT_LT(answers.find("answer 2"), answers.find("answer 3"));
}

TEST(HttpServerTest, WhatIsSentAheadWaitsInTheKernelUntilTheAnswerIsMade) {
  Mailbox mailbox;
  const auto server = StartOrDie({}, [&](HttpRequest request, Responder responder) {
    if (request.method == "GET") return mailbox.Put(responder);
    responder->Send({.body = Concat("a body of ", request.body.size())});
  });
  TcpClient client(server->port());
  client.Send(Get("/"));
  const Responder responder = mailbox.Take();
  ASSERT_NE(responder, nullptr);
  // More than sockets' buffers hold.
  const std::string ahead =
      Concat("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 25165824\r\n\r\n") +
      std::string(24 << 20, 'x');
  const size_t sent = client.SendUntilStuck(ahead, milliseconds(300));
  EXPECT_LT(sent, ahead.size());
  responder->Send({.body = "first"});
  EXPECT_TRUE(client.Send(std::string_view(ahead).substr(sent)));
  const std::string answers = client.ReadUntil("a body of");
  EXPECT_LT(answers.find("first"), answers.find("a body of"));
  EXPECT_THAT(client.ReadUntil("25165824"), HasSubstr("a body of 25165824"));
}

TEST(HttpServerTest, StreamsChunksWrittenFromAnotherThread) {
  Mailbox mailbox;
  const auto server = StartOrDie({}, [&](HttpRequest, Responder r) { mailbox.Put(std::move(r)); });
  TcpClient client(server->port());
  client.Send(Get("/stream"));
  const Responder responder = mailbox.Take();
  ASSERT_NE(responder, nullptr);
  responder->StartStream({.content_type = "text/event-stream"});
  EXPECT_TRUE(responder->Write("data: one\n\n"));
  EXPECT_THAT(client.ReadUntil("one"), HasSubstr("Transfer-Encoding: chunked\r\n"));
  EXPECT_TRUE(responder->Write(""));
  EXPECT_TRUE(responder->Write("data: two\n\n"));
  responder->EndStream();
  EXPECT_THAT(client.ReadUntil("0\r\n\r\n"),
              EndsWith("b\r\ndata: one\n\n\r\nb\r\ndata: two\n\n\r\n0\r\n\r\n"));
  client.Send(Get("/next"));
  EXPECT_NE(mailbox.Take(), nullptr) << "the connection goes on after a stream";
}

TEST(HttpServerTest, AStreamGoesOnWhileItsThreadIsHeldUp) {
  Mailbox mailbox;
  std::promise<void> held_up;
  std::promise<void> go_on;
  const auto server = StartOrDie({}, [&](HttpRequest request, Responder responder) {
    if (request.path == "/stream") return mailbox.Put(std::move(responder));
    held_up.set_value();
    go_on.get_future().wait();
    Echo(std::move(request), std::move(responder));
  });
  TcpClient client(server->port());
  client.Send(Get("/stream"));
  const Responder responder = mailbox.Take();
  ASSERT_NE(responder, nullptr);
  responder->StartStream({.content_type = "text/plain"}, "", "one");
  EXPECT_THAT(client.ReadUntil("one"), StartsWith("HTTP/1.1 200 OK\r\n"));
  TcpClient other(server->port());
  other.Send(Get("/"));
  held_up.get_future().wait();
  EXPECT_TRUE(responder->Write("two"));
  EXPECT_TRUE(responder->Write("three"));
  EXPECT_THAT(client.ReadUntil("three"), HasSubstr("3\r\ntwo\r\n5\r\nthree"));
  go_on.set_value();
  responder->EndStream("four");
  EXPECT_THAT(client.ReadUntil("0\r\n\r\n"), HasSubstr("4\r\nfour\r\n"));
  other.ReadUntil("GET /");
}

TEST(HttpServerTest, HeadGetsTheHeaderAlone) {
  const auto server = StartOrDie({}, Echo);
  const std::string answer =
      ReadAllOf(server->port(), "HEAD /x HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(answer, AllOf(HasSubstr("Content-Length: 12\r\n"), HasSubstr("Connection: close\r\n"),
                            EndsWith("\r\n\r\n")));
}

TEST(HttpServerTest, ExpectContinueIsAnsweredBeforeTheBody) {
  const auto server = StartOrDie({}, Echo);
  TcpClient client(server->port());
  client.Send("POST /e HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
  EXPECT_EQ(client.ReadUntil("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  client.Send("ok");
  EXPECT_THAT(client.ReadUntil(" ok"), EndsWith("POST /e []  ok"));
}

TEST(HttpServerTest, AStreamToAnHttp10ClientEndsWithTheConnection) {
  const auto server = StartOrDie({}, [](HttpRequest, Responder responder) {
    responder->StartStream({.content_type = "text/plain"});
    responder->Write("plain");
    responder->EndStream();
  });
  const std::string answer = ReadAllOf(server->port(), "GET / HTTP/1.0\r\n\r\n");
  EXPECT_THAT(answer, AllOf(Not(HasSubstr("chunked")), EndsWith("\r\n\r\nplain")));
}

TEST(HttpServerTest, HeaderValuesCannotStartAnotherHeader) {
  const auto server = StartOrDie({}, [](HttpRequest, Responder responder) {
    responder->Send({.headers = {{"X-Id", "a\r\nSet-Cookie: evil"}}});
  });
  TcpClient client(server->port());
  client.Send(Get("/"));
  EXPECT_THAT(client.ReadUntil("\r\n\r\n"), HasSubstr("X-Id: a  Set-Cookie: evil\r\n"));
}

struct BadRequest {
  const char* name;
  std::string bytes;
  int status;
};

class BadRequestTest : public ::testing::TestWithParam<BadRequest> {};

TEST_P(BadRequestTest, IsToldOffAndTheConnectionCloses) {
  const auto server = StartOrDie({.max_header_bytes = 1024, .max_body_bytes = 100}, Echo);
  const std::string answer = ReadAllOf(server->port(), GetParam().bytes);
  EXPECT_THAT(answer, StartsWith(Concat("HTTP/1.1 ", GetParam().status, " ")));
  EXPECT_THAT(answer, HasSubstr("Connection: close\r\n"));
}

INSTANTIATE_TEST_SUITE_P(
    HttpServerTest, BadRequestTest,
    ::testing::Values(
        BadRequest{"Garbage", "\x01\x02garbage\r\n\r\n", 400},
        BadRequest{"NoVersion", "GET /\r\n\r\n", 400},
        BadRequest{"Version2", "GET / HTTP/2.0\r\nHost: t\r\n\r\n", 400},
        BadRequest{"NoHost", "GET / HTTP/1.1\r\n\r\n", 400},
        BadRequest{"TwoHosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400},
        BadRequest{"BadTarget", "GET foo HTTP/1.1\r\nHost: t\r\n\r\n", 400},
        BadRequest{"BadEscape", "GET /%zz HTTP/1.1\r\nHost: t\r\n\r\n", 400},
        BadRequest{"NulInPath", "GET /%00 HTTP/1.1\r\nHost: t\r\n\r\n", 400},
        BadRequest{"BadLength", "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: -1\r\n\r\n", 400},
        BadRequest{"TwoLengths",
                   "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
                   400},
        BadRequest{"LengthAndChunked",
                   "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n"
                   "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                   400},
        BadRequest{"OtherCoding",
                   "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: gzip\r\n\r\nabc", 501},
        BadRequest{"BadChunk",
                   "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400},
        BadRequest{"HugeHeader",
                   "GET / HTTP/1.1\r\nHost: t\r\nX: " + std::string(5000, 'a') + "\r\n\r\n", 431},
        BadRequest{"HugeBodyAnnounced",
                   "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 99999999999\r\n\r\n", 413},
        BadRequest{"HugeBodyChunked",
                   "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n" +
                       std::string(255, 'a') + "\r\n0\r\n\r\n",
                   413},
        BadRequest{"OtherExpectation", "GET / HTTP/1.1\r\nHost: t\r\nExpect: magic\r\n\r\n", 417}),
    [](const auto& test) { return test.param.name; });

TEST(HttpServerTest, ALargeBodyTooManyIsRefusedReadably) {
  const auto server = StartOrDie({.max_body_bytes = 1000}, Echo);
  TcpClient client(server->port());
  client.Send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 4000000\r\n\r\n");
  // The client goes on sending; that must not cost it the answer.
  const std::string piece(50'000, 'x');
  for (int i = 0; i < 20; ++i) client.Send(piece);
  EXPECT_THAT(client.ReadUntil("too large"), StartsWith("HTTP/1.1 413 "));
}

struct EndlessFraming {
  std::string name;
  std::string start;
  std::string piece;
};

class EndlessFramingTest : public ::testing::TestWithParam<EndlessFraming> {};

// What a body says about its chunks is bounded like the body itself.
TEST_P(EndlessFramingTest, IsCutOffLongBeforeTheBodysLimit) {
  const auto server = StartOrDie({.max_header_bytes = 1024, .max_body_bytes = 100u << 20}, Echo);
  TcpClient client(server->port());
  client.Send(
      Concat("POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n", GetParam().start));
  size_t sent = 0;
  while (sent < (4u << 20) && client.Send(GetParam().piece)) sent += GetParam().piece.size();
  EXPECT_THAT(client.ReadUntil("framing"), StartsWith("HTTP/1.1 400 "));
}

std::string ManyOf(std::string_view text, int count) {
  std::string all;
  for (int i = 0; i < count; ++i) all += text;
  return all;
}

INSTANTIATE_TEST_SUITE_P(
    HttpServerTest, EndlessFramingTest,
    ::testing::Values(EndlessFraming{"ChunkExtension", "5;a=", std::string(4096, 'b')},
                      EndlessFraming{"ZerosOfASize", "0", std::string(4096, '0')},
                      EndlessFraming{"Trailers", "1\r\nx\r\n0\r\n", ManyOf("a: b\r\n", 700)},
                      EndlessFraming{"ExtensionOfEveryChunk", "",
                                     "1;" + std::string(200, 'e') + "\r\nx\r\n"}),
    [](const auto& test) { return test.param.name; });

TEST(HttpServerTest, ManySmallChunksAreABody) {
  const auto server = StartOrDie({.max_header_bytes = 1024}, Echo);
  TcpClient client(server->port());
  client.Send("POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n" +
              ManyOf("1\r\nx\r\n", 30'000) + "0\r\n\r\n");
  EXPECT_THAT(client.ReadUntil(std::string(30'000, 'x')), StartsWith("HTTP/1.1 200 OK"));
}

TEST(HttpServerTest, BodiesShareABudgetAndGiveItBack) {
  MemoryBudget budget(4000);
  Mailbox mailbox;
  std::vector<std::shared_ptr<MemoryBudget::Lease>> leases;
  const auto server =
      StartOrDie({.body_budget = &budget}, [&](HttpRequest request, Responder responder) {
        leases.push_back(request.body_lease);
        mailbox.Put(std::move(responder));
      });
  const std::string request =
      "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 600\r\n\r\n" + std::string(600, 'x');
  TcpClient first(server->port());
  first.Send(request);
  const Responder responder = mailbox.Take();
  ASSERT_NE(responder, nullptr);
  EXPECT_EQ(budget.used(), 2400u);
  TcpClient second(server->port());
  second.Send(request);
  EXPECT_THAT(second.ReadUntil("\r\n\r\n"),
              AllOf(StartsWith("HTTP/1.1 503 "), HasSubstr("Retry-After: 1\r\n")));
  responder->Send({.body = "done"});
  first.ReadUntil("done");
  leases.clear();
  EXPECT_TRUE(WaitFor([&] { return budget.used() == 0; }));
}

TEST(HttpServerTest, WhoIsRefusedAtTheHeaderSendsNoBody) {
  HttpServerOptions options;
  options.refuse = [](const HttpRequest& head) -> std::optional<HttpResponse> {
    if (head.Header("x-key") == "right") return std::nullopt;
    return HttpResponse{.status = 401, .body = "no"};
  };
  std::atomic<int> handled{0};
  const auto server = StartOrDie(options, [&](HttpRequest request, Responder responder) {
    ++handled;
    Echo(std::move(request), std::move(responder));
  });
  const std::string_view rest = "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n";
  TcpClient wrong(server->port());
  wrong.Send(Concat("POST / HTTP/1.1\r\nHost: t\r\nX-Key: wrong\r\n", rest));
  EXPECT_THAT(wrong.ReadAll(), AllOf(StartsWith("HTTP/1.1 401 "), EndsWith("\r\n\r\nno")));
  EXPECT_EQ(handled, 0);
  TcpClient right(server->port());
  right.Send(Concat("POST / HTTP/1.1\r\nHost: t\r\nX-Key: right\r\n", rest));
  right.ReadUntil("100 Continue\r\n\r\n");
  right.Send("hello");
  EXPECT_THAT(right.ReadUntil("hello"), HasSubstr("HTTP/1.1 200 OK"));
}

TEST(HttpServerTest, AClientThatHasOnlyClosedItsSendingSideGetsItsAnswer) {
  Mailbox mailbox;
  std::atomic<bool> closed{false};
  const auto server = StartOrDie({}, [&](HttpRequest, Responder responder) {
    responder->OnClose([&closed] { closed = true; });
    mailbox.Put(std::move(responder));
  });
  TcpClient client(server->port());
  client.Send(Get("/one") + Get("/two"));
  client.CloseSending();
  for (const std::string body : {"first", "second"}) {
    const Responder responder = mailbox.Take();
    ASSERT_NE(responder, nullptr);
    if (body == "first") client.ReadUntil("100 Continue");  // the server asks whether it is there
    responder->Send({.body = body});
  }
  EXPECT_THAT(client.ReadAll(), AllOf(HasSubstr("first"), EndsWith("second")));
  EXPECT_FALSE(closed);
}

TEST(HttpServerTest, AStreamWithFillerGoesOnForAClientThatHasClosedItsSendingSide) {
  Mailbox mailbox;
  std::promise<void> closed;
  const auto server = StartOrDie({}, [&](HttpRequest, Responder responder) {
    responder->OnClose([&closed] { closed.set_value(); });
    responder->StartStream({.content_type = "text/event-stream"}, ":\n\n");
    responder->Write("data: 1\n\n");
    mailbox.Put(std::move(responder));
  });
  TcpClient stays(server->port());
  stays.Send(Get("/"));
  stays.ReadUntil("data: 1");
  const Responder responder = mailbox.Take();
  stays.CloseSending();
  stays.ReadUntil(":\n\n\r\n");
  EXPECT_TRUE(responder->Write("data: 2\n\n"));
  responder->EndStream();
  EXPECT_THAT(stays.ReadAll(), AllOf(HasSubstr("data: 2\n\n"), EndsWith("0\r\n\r\n")));
  // One that has closed for good is noticed without a word from the handler.
  TcpClient leaves(server->port());
  leaves.Send(Get("/"));
  leaves.ReadUntil("data: 1");
  leaves.Close();
  EXPECT_EQ(closed.get_future().wait_for(kPatience), std::future_status::ready);
}

TEST(HttpServerTest, AThreadThatIsHeldUpShows) {
  std::promise<void> go_on;
  const auto server = StartOrDie({}, [&](HttpRequest request, Responder responder) {
    testing::AwaitOrDie(go_on.get_future(), "the test to let the handler go");
    Echo(std::move(request), std::move(responder));
  });
  TcpClient client(server->port());
  client.Send(Get("/"));
  EXPECT_TRUE(WaitFor([&] { return server->LongestStall() > milliseconds(500); }));
  go_on.set_value();
  client.ReadUntil("GET /");
  EXPECT_TRUE(WaitFor([&] { return server->LongestStall() < milliseconds(500); }));
}

TEST(HttpServerTest, ProtocolErrorsTakeTheShapeOfTheApi) {
  HttpServerOptions options;
  options.protocol_error = [](int status, std::string_view reason) {
    return HttpResponse{.body = Concat("{\"error\":\"", status, " ", reason, "\"}")};
  };
  const auto server = StartOrDie(options, Echo);
  EXPECT_THAT(ReadAllOf(server->port(), "GET / HTTP/1.1\r\n\r\n"),
              AllOf(HasSubstr("Content-Type: application/json\r\n"),
                    EndsWith("{\"error\":\"400 expected one Host header\"}")));
}

TEST(HttpServerTest, ASlowHeaderIsCutOffWith408) {
  const auto server = StartOrDie({.header_timeout = milliseconds(50)}, Echo);
  EXPECT_THAT(ReadAllOf(server->port(), "GET / HT"), StartsWith("HTTP/1.1 408 "));
}

TEST(HttpServerTest, ASilentConnectionIsClosedWithoutAWord) {
  const auto server = StartOrDie({.header_timeout = milliseconds(50)}, Echo);
  EXPECT_EQ(ReadAllOf(server->port(), ""), "");
}

TEST(HttpServerTest, ASlowBodyIsCutOffWith408) {
  // A header's time does not run for a body.
  const auto server =
      StartOrDie({.header_timeout = std::chrono::hours(1), .body_timeout = milliseconds(50)}, Echo);
  EXPECT_THAT(
      ReadAllOf(server->port(), "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nab"),
      StartsWith("HTTP/1.1 408 "));
}

TEST(HttpServerTest, AnIdleConnectionIsClosedAfterItsAnswer) {
  const auto server = StartOrDie({.idle_timeout = milliseconds(50)}, Echo);
  EXPECT_THAT(ReadAllOf(server->port(), Get("/once")), HasSubstr("GET /once"));
}

TEST(HttpServerTest, NoTimeLimitRunsWhileTheHandlerWorks) {
  Mailbox mailbox;
  const milliseconds brief(20);
  const auto server = StartOrDie({.header_timeout = brief,
                                  .body_timeout = brief,
                                  .idle_timeout = brief,
                                  .write_timeout = brief},
                                 [&](HttpRequest, Responder r) { mailbox.Put(std::move(r)); });
  TcpClient client(server->port());
  client.Send(Get("/"));
  const Responder responder = mailbox.Take();
  ASSERT_NE(responder, nullptr);
  const auto later = std::chrono::steady_clock::now() + 10 * brief;
  ASSERT_TRUE(WaitFor([&] { return std::chrono::steady_clock::now() > later; }));
  responder->Send({.body = "late"});
  EXPECT_THAT(client.ReadUntil("late"), HasSubstr("200 OK"));
}

class DisconnectTest : public ::testing::TestWithParam<bool> {};

TEST_P(DisconnectTest, MidStreamCallsOnCloseAtOnce) {
  Mailbox mailbox;
  std::promise<void> closed;
  const auto server = StartOrDie({}, [&](HttpRequest, Responder responder) {
    responder->OnClose([&closed] { closed.set_value(); });
    responder->StartStream({.content_type = "text/event-stream"});
    responder->Write("data: 1\n\n");
    mailbox.Put(std::move(responder));
  });
  TcpClient client(server->port());
  client.Send(Get("/"));
  client.ReadUntil("data: 1");
  const Responder responder = mailbox.Take();
  const auto left_at = std::chrono::steady_clock::now();
  if (GetParam()) {
    client.Reset();
  } else {
    client.Close();
  }
  ASSERT_EQ(closed.get_future().wait_for(kPatience), std::future_status::ready);
  // Nothing was written, so only the read side can have told. Generous for a sanitizer's build.
  EXPECT_LT(std::chrono::steady_clock::now() - left_at, std::chrono::seconds(2));
  EXPECT_FALSE(responder->Write("data: 2\n\n"));
  responder->EndStream();
  EXPECT_TRUE(WaitFor([&] { return server->num_connections() == 0; }));
}

INSTANTIATE_TEST_SUITE_P(HttpServerTest, DisconnectTest, ::testing::Bool(),
                         [](const auto& test) { return test.param ? "Reset" : "Closed"; });

TEST(HttpServerTest, DisconnectBeforeTheAnswerCallsOnClose) {
  Mailbox mailbox;
  std::promise<void> closed;
  const auto server = StartOrDie({}, [&](HttpRequest, Responder responder) {
    responder->OnClose([&closed] { closed.set_value(); });
    mailbox.Put(std::move(responder));
  });
  TcpClient client(server->port());
  client.Send(Get("/"));
  const Responder responder = mailbox.Take();
  client.Close();
  ASSERT_EQ(closed.get_future().wait_for(kPatience), std::future_status::ready);
  responder->Send({.body = "nobody is there"});
}

TEST(HttpServerTest, OnCloseIsNotCalledAfterACompleteAnswer) {
  std::atomic<bool> called{false};
  {
    const auto server = StartOrDie({}, [&](HttpRequest request, Responder responder) {
      responder->OnClose([&called] { called = true; });
      Echo(std::move(request), std::move(responder));
    });
    TcpClient client(server->port());
    client.Send(Get("/done"));
    client.ReadUntil("GET /done");
    client.Close();
    EXPECT_TRUE(WaitFor([&] { return server->num_connections() == 0; }));
  }
  EXPECT_FALSE(called);
}

TEST(HttpServerTest, AReaderTooSlowIsClosedWhenItsBufferIsFull) {
  Mailbox mailbox;
  std::promise<void> closed;
  const auto server =
      StartOrDie({.max_stream_buffer_bytes = 256 << 10}, [&](HttpRequest, Responder responder) {
        responder->OnClose([&closed] { closed.set_value(); });
        responder->StartStream({.content_type = "text/event-stream"});
        mailbox.Put(std::move(responder));
      });
  TcpClient client(server->port(), /*receive_buffer_bytes=*/4096);
  client.Send(Get("/"));
  const Responder responder = mailbox.Take();
  ASSERT_NE(responder, nullptr);
  // The kernel takes some megabytes before our own buffer begins to fill.
  const std::string piece(16 << 10, 'x');
  int written = 0;
  while (written < 10'000 && responder->Write(piece)) ++written;
  EXPECT_LT(written, 10'000);
  ASSERT_EQ(closed.get_future().wait_for(kPatience), std::future_status::ready);
  EXPECT_FALSE(responder->Write("more"));
  EXPECT_TRUE(WaitFor([&] { return server->num_connections() == 0; }));
}

TEST(HttpServerTest, AReaderThatIsLateGetsEveryByteOfAStreamInOrder) {
  Mailbox mailbox;
  const auto server = StartOrDie({.max_stream_buffer_bytes = 64 << 20},
                                 [&](HttpRequest, Responder r) { mailbox.Put(std::move(r)); });
  TcpClient client(server->port());
  client.Send("GET / HTTP/1.0\r\n\r\n");
  const Responder responder = mailbox.Take();
  ASSERT_NE(responder, nullptr);
  responder->StartStream({.content_type = "text/plain"});
  std::string sent;
  for (int i = 0; i < 1000; ++i) {
    const std::string piece = Concat(i, std::string(9000, static_cast<char>('a' + i % 26)));
    ASSERT_TRUE(responder->Write(piece));
    sent += piece;
  }
  responder->EndStream();
  EXPECT_TRUE(client.ReadAll().ends_with(sent));
}

TEST(HttpServerTest, ClientsThatLeaveMidStreamTakeNothingFromOthers) {
  Mailbox mailbox;
  const auto server = StartOrDie({}, [&](HttpRequest, Responder r) { mailbox.Put(std::move(r)); });
  std::vector<std::unique_ptr<TcpClient>> clients;
  std::vector<Responder> responders;
  for (int i = 0; i < 50; ++i) {
    clients.push_back(std::make_unique<TcpClient>(server->port()));
    ASSERT_TRUE(clients.back()->Send(Get("/")));
    responders.push_back(mailbox.Take());
    ASSERT_NE(responders.back(), nullptr);
    responders.back()->StartStream({.content_type = "text/plain"});
  }
  for (size_t round = 0; round < 40; ++round) {
    for (const Responder& responder : responders) responder->Write("token ");
    if (round < 25) clients[2 * round]->Close();
  }
  for (const Responder& responder : responders) responder->EndStream();
  for (size_t i = 1; i < clients.size(); i += 2) {
    clients[i]->ReadUntil("0\r\n\r\n");
    EXPECT_EQ(clients[i]->Count("token "), 40) << i;
  }
  responders.clear();
  EXPECT_TRUE(WaitFor([&] { return server->num_connections() == 25; }));
}

TEST(HttpServerTest, AReaderThatStopsIsClosedAfterTheWriteTimeout) {
  std::promise<void> closed;
  Mailbox mailbox;
  const auto server =
      StartOrDie({.max_stream_buffer_bytes = 64 << 20, .write_timeout = milliseconds(100)},
                 [&](HttpRequest, Responder responder) {
                   responder->OnClose([&closed] { closed.set_value(); });
                   responder->StartStream({.content_type = "text/plain"});
                   responder->Write(std::string(32 << 20, 'x'));
                   mailbox.Put(std::move(responder));
                 });
  TcpClient client(server->port(), /*receive_buffer_bytes=*/4096);
  client.Send(Get("/"));
  EXPECT_EQ(closed.get_future().wait_for(kPatience), std::future_status::ready);
}

TEST(HttpServerTest, AnAnswerDroppedBecomes500AndClosesTheConnection) {
  const auto server = StartOrDie({}, [](HttpRequest, Responder) {});
  EXPECT_THAT(ReadAllOf(server->port(), Get("/")), StartsWith("HTTP/1.1 500 "));
}

TEST(HttpServerTest, AStreamDroppedEndsWithoutItsLastChunk) {
  const auto server = StartOrDie({}, [](HttpRequest, Responder responder) {
    responder->StartStream({.content_type = "text/plain"});
    responder->Write("half");
  });
  EXPECT_THAT(ReadAllOf(server->port(), Get("/")), EndsWith("4\r\nhalf\r\n"));
}

TEST(HttpServerTest, ConnectionsPastTheLimitGet503) {
  Mailbox mailbox;
  const auto server = StartOrDie({.max_connections = 1},
                                 [&](HttpRequest, Responder r) { mailbox.Put(std::move(r)); });
  TcpClient first(server->port());
  first.Send(Get("/"));
  const Responder responder = mailbox.Take();
  ASSERT_NE(responder, nullptr);
  EXPECT_THAT(ReadAllOf(server->port(), Get("/")), StartsWith("HTTP/1.1 503 "));
  responder->Send({.body = "first"});
  EXPECT_THAT(first.ReadUntil("first"), HasSubstr("200 OK"));
}

TEST(HttpServerTest, DrainFinishesARunningStreamAndClosesIdleConnections) {
  Mailbox mailbox;
  const auto server = StartOrDie({}, [&](HttpRequest request, Responder responder) {
    if (request.path == "/quick") return Echo(std::move(request), std::move(responder));
    responder->StartStream({.content_type = "text/plain"});
    responder->Write("begun");
    mailbox.Put(std::move(responder));
  });
  TcpClient idle(server->port());
  idle.Send(Get("/quick"));
  idle.ReadUntil("/quick");
  TcpClient busy(server->port());
  busy.Send(Get("/stream"));
  busy.ReadUntil("begun");

  auto drained = std::async(std::launch::async, [&] { return server->Drain(kPatience); });
  idle.ReadAll();
  EXPECT_TRUE(idle.ended());
  TcpClient late(server->port());
  EXPECT_FALSE(late.connected());

  const Responder responder = mailbox.Take();
  EXPECT_TRUE(responder->Write("ended"));
  responder->EndStream();
  EXPECT_THAT(busy.ReadAll(), EndsWith("5\r\nended\r\n0\r\n\r\n"));
  busy.Close();
  EXPECT_TRUE(drained.get());
}

TEST(HttpServerTest, DrainGivesUpAtItsDeadline) {
  Mailbox mailbox;
  const auto server = StartOrDie({}, [&](HttpRequest, Responder r) { mailbox.Put(std::move(r)); });
  TcpClient client(server->port());
  client.Send(Get("/"));
  const Responder responder = mailbox.Take();
  ASSERT_NE(responder, nullptr);
  EXPECT_FALSE(server->Drain(milliseconds(30)));
  EXPECT_EQ(server->num_connections(), 1u);
}

TEST(HttpServerTest, AnAnswerMayOutliveTheServer) {
  Mailbox mailbox;
  std::promise<void> closed;
  auto server = StartOrDie({}, [&](HttpRequest, Responder responder) {
    responder->OnClose([&closed] { closed.set_value(); });
    responder->StartStream({.content_type = "text/plain"});
    mailbox.Put(std::move(responder));
  });
  TcpClient client(server->port());
  client.Send(Get("/"));
  const Responder responder = mailbox.Take();
  server.reset();
  EXPECT_EQ(closed.get_future().wait_for(milliseconds(0)), std::future_status::ready);
  EXPECT_FALSE(responder->Write("too late"));
}

TEST(HttpServerTest, APortInUseIsNamed) {
  const auto server = StartOrDie({}, Echo);
  const auto second = HttpServer::Start({.port = server->port()}, Echo);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(std::string(second.status().message()),
            Concat("address 127.0.0.1:", server->port(), " is already in use"));
}

TEST(HttpServerTest, AnAddressThatDoesNotParseIsNamed) {
  const auto server = HttpServer::Start({.address = "localhost"}, Echo);
  EXPECT_EQ(server.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(server.status().message()), HasSubstr("'localhost'"));
}

TEST(HttpServerTest, Serves200ConnectionsAtOnceOnTwoThreads) {
  Mailbox mailbox;
  const auto server =
      StartOrDie({.num_threads = 2}, [&](HttpRequest, Responder r) { mailbox.Put(std::move(r)); });
  std::vector<std::unique_ptr<TcpClient>> clients;
  for (int i = 0; i < 200; ++i) {
    clients.push_back(std::make_unique<TcpClient>(server->port()));
    ASSERT_TRUE(clients.back()->Send(Get(Concat("/", i))));
  }
  std::vector<Responder> responders;
  for (int i = 0; i < 200; ++i) {
    responders.push_back(mailbox.Take());
    ASSERT_NE(responders.back(), nullptr);
  }
  EXPECT_EQ(server->num_connections(), 200u);
  // Two writers, so that streams of one I/O thread are written to from both.
  const auto write = [&](size_t first) {
    for (size_t i = first; i < responders.size(); i += 2) {
      responders[i]->StartStream({.content_type = "text/plain"});
    }
    for (int round = 0; round < 20; ++round) {
      for (size_t i = first; i < responders.size(); i += 2) responders[i]->Write("token ");
    }
    for (size_t i = first; i < responders.size(); i += 2) responders[i]->EndStream();
  };
  std::thread even(write, 0), odd(write, 1);
  for (const auto& client : clients) {
    client->ReadUntil("0\r\n\r\n");
    EXPECT_EQ(client->Count("token "), 20);
  }
  even.join();
  odd.join();
}

}  // namespace
}  // namespace pingti::net
