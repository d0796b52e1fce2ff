// Streams cut at every place, and what is no stream.
#include "tools/bench/stream_reader.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <string>
#include <vector>

namespace pingti::tools {
namespace {

std::string Chunk(const std::string& text) {
  char size[20];
  std::snprintf(size, sizeof(size), "%zx\r\n", text.size());
  return size + text + "\r\n";
}

std::string Event(const std::string& data) { return "data: " + data + "\n\n"; }

std::string Delta(const std::string& delta) {
  return Event(R"({"id":"x","choices":[{"index":0,"delta":)" + delta +
               R"(,"finish_reason":null}]})");
}

const char kHead[] =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
const char kUsage[] =
    R"({"choices":[],"usage":{"prompt_tokens":12,"completion_tokens":34,"total_tokens":46}})";

std::string Chat() {
  return kHead + Chunk(Delta(R"({"role":"assistant","content":""})")) + Chunk(": keep-alive\n\n") +
         Chunk(Delta(R"({"reasoning_content":"hm"})")) +
         Chunk(Delta(R"({"content":"a \"content\":\"\" b"})") + Delta(R"({"content":"\n"})")) +
         Chunk(Event(kUsage)) + Chunk(Event("[DONE]")) + "0\r\n\r\n";
}

struct Totals {
  int text_events = 0;
  bool ended = false;
  bool broken = false;
};

// Feeds `bytes` in pieces of `size`.
Totals FeedAll(StreamReader* reader, const std::string& bytes, size_t size) {
  Totals totals;
  for (size_t at = 0; at < bytes.size() && !totals.broken; at += size) {
    const StreamMarks marks = reader->Feed(std::string_view(bytes).substr(at, size));
    totals.text_events += marks.text_events;
    totals.ended = marks.ended;
    totals.broken = marks.broken;
  }
  return totals;
}

TEST(StreamReader, ReadsTheSameWhereverItIsCut) {
  const std::string bytes = Chat();
  for (size_t size = 1; size <= bytes.size(); ++size) {
    StreamReader reader;
    const Totals totals = FeedAll(&reader, bytes, size);
    ASSERT_FALSE(totals.broken) << size;
    EXPECT_TRUE(totals.ended) << size;
    EXPECT_EQ(totals.text_events, 3) << size;
    EXPECT_EQ(reader.status(), 200);
    EXPECT_TRUE(reader.done());
    EXPECT_TRUE(reader.keep_alive());
    EXPECT_EQ(reader.prompt_tokens(), 12);
    EXPECT_EQ(reader.completion_tokens(), 34);
    EXPECT_EQ(reader.error(), "");
  }
}

struct EventCase {
  const char* delta;
  int text_events;
};

TEST(StreamReader, CountsEventsWithTextOfAnyKind) {
  const std::vector<EventCase> cases = {
      {R"({"content":"a"})", 1},
      {R"({"content":""})", 0},
      {R"({"content":null})", 0},
      {R"({})", 0},
      {R"({"reasoning_content":"a"})", 1},
      {R"({"content":"","reasoning_content":"a"})", 1},
      {R"({"reasoning_content":"","content":"a"})", 1},
      {R"({"content":"","reasoning_content":""})", 0},
      {R"({"tool_calls":[{"index":0,"id":"c","function":{"name":"f","arguments":""}}]})", 0},
      {R"({"tool_calls":[{"index":0,"function":{"arguments":"{\""}}]})", 1},
      {R"({"content":"\"usage\":{\"prompt_tokens\":7}"})", 1},
  };
  for (const EventCase& one : cases) {
    StreamReader reader;
    const Totals totals = FeedAll(&reader, kHead + Chunk(Delta(one.delta)), 1000);
    EXPECT_EQ(totals.text_events, one.text_events) << one.delta;
    EXPECT_EQ(reader.prompt_tokens(), -1) << one.delta;
  }
  StreamReader reader;
  const std::string completion = Event(R"({"choices":[{"index":0,"text":"a","logprobs":null}]})");
  EXPECT_EQ(FeedAll(&reader, kHead + Chunk(completion), 1000).text_events, 1);
}

TEST(StreamReader, EndsAtTheLastChunkAndItsTrailers) {
  StreamReader reader;
  const Totals totals =
      FeedAll(&reader, kHead + Chunk(Event("[DONE]")) + "0\r\nServer-Timing: a\r\n\r\n", 3);
  EXPECT_TRUE(totals.ended);
  EXPECT_TRUE(reader.done());
}

TEST(StreamReader, AStreamWithoutItsEndMarkIsNotDone) {
  StreamReader reader;
  const Totals totals =
      FeedAll(&reader, kHead + Chunk(Delta(R"({"content":"a"})")) + "0\r\n\r\n", 9);
  EXPECT_TRUE(totals.ended);
  EXPECT_FALSE(reader.done());
}

TEST(StreamReader, KeepsAnErrorEventAndTheBodyOfARefusal) {
  StreamReader inside;
  FeedAll(&inside, kHead + Chunk(Event(R"({"error":{"message":"no worker"}})")) + "0\r\n\r\n", 7);
  EXPECT_EQ(inside.error(), R"({"error":{"message":"no worker"}})");
  StreamReader refused;
  const std::string body(700, 'x');
  const Totals totals = FeedAll(&refused,
                                "HTTP/1.1 429 Too Many Requests\r\ncontent-LENGTH:  700\r\n"
                                "Connection: close\r\n\r\n" +
                                    body,
                                11);
  EXPECT_TRUE(totals.ended);
  EXPECT_EQ(refused.status(), 429);
  EXPECT_EQ(refused.error(), body.substr(0, 500));
  EXPECT_FALSE(refused.keep_alive());
}

TEST(StreamReader, AnEmptyBodyEndsWithTheHead) {
  StreamReader reader;
  EXPECT_TRUE(FeedAll(&reader, "HTTP/1.1 503\r\nContent-Length: 0\r\n\r\n", 4).ended);
  EXPECT_EQ(reader.status(), 503);
}

TEST(StreamReader, SaysWhatIsNoHttp) {
  for (const std::string& bytes :
       {std::string("SSH-2.0-OpenSSH\r\n"), std::string("HTTP/2 200\r\n"),
        std::string("HTTP/1.1 ok\r\n"), std::string(70'000, 'a'), std::string(kHead) + "zz\r\n",
        std::string(kHead) + "fffffffffffffffff\r\n"}) {
    StreamReader reader;
    EXPECT_TRUE(FeedAll(&reader, bytes, 1024).broken) << bytes.substr(0, 40);
  }
}

}  // namespace
}  // namespace pingti::tools
