// Events written, and read back from pieces cut anywhere.
#include "common/net/sse.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace pingti::net {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> ReadIn(const std::vector<std::string>& pieces) {
  SseReader reader;
  std::vector<std::string> events;
  for (const std::string& piece : pieces) {
    reader.Feed(piece, [&](std::string_view data) { events.emplace_back(data); });
  }
  return events;
}

TEST(SseTest, DataIsOneEvent) { EXPECT_EQ(SseData("{\"a\":1}"), "data: {\"a\":1}\n\n"); }

TEST(SseTest, EachLineOfDataHasItsField) {
  EXPECT_EQ(SseData("a\n\nb"), "data: a\ndata: \ndata: b\n\n");
  EXPECT_EQ(SseData(""), "data: \n\n");
}

TEST(SseTest, CommentIsSkippedByTheReader) {
  EXPECT_EQ(SseComment("keep-alive"), ": keep-alive\n");
  EXPECT_THAT(ReadIn({SseComment("keep-alive"), SseData("x")}), ElementsAre("x"));
}

TEST(SseReaderTest, ReadsWhatWasWrittenHoweverItIsCut) {
  const std::string stream = SseData("one") + SseComment("c") + SseData("two\nlines") +
                             SseData("") + std::string(kSseDone);
  for (size_t cut = 0; cut <= stream.size(); ++cut) {
    EXPECT_THAT(ReadIn({stream.substr(0, cut), stream.substr(cut)}),
                ElementsAre("one", "two\nlines", "", "[DONE]"))
        << "cut at " << cut;
  }
}

TEST(SseReaderTest, KnowsAllLineEndings) {
  EXPECT_THAT(ReadIn({"data: a\r\n\r", "\ndata: b\r\rdata:c\n\n"}), ElementsAre("a", "b", "c"));
}

TEST(SseReaderTest, SkipsOtherFieldsAndEventsWithoutData) {
  EXPECT_THAT(ReadIn({"event: ping\nid: 7\n\ndatax: no\n\ndata\n\n"}), ElementsAre(""));
}

TEST(SseReaderTest, AnUnfinishedEventIsNotReported) {
  EXPECT_THAT(ReadIn({"data: a\n\ndata: b\n"}), ElementsAre("a"));
}

}  // namespace
}  // namespace pingti::net
