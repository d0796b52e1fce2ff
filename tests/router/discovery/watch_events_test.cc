#include "router/discovery/watch_events.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <utility>

#include "common/base/strings.h"

namespace pingti::router {
namespace {

std::string Event(std::string_view type, std::string_view name, int version,
                  std::string_view address) {
  return Concat(R"({"type":")", type, R"(","object":{"metadata":{"name":")", name,
                R"(","resourceVersion":")", version,
                R"("},"addressType":"IPv4","endpoints":[{"addresses":[")", address, "\"]}]}}\n");
}

class WatchEventsTest : public ::testing::Test {
 protected:
  std::string workers() {
    std::string text;
    for (const WorkerAddress& worker : slices_.Take()) text += worker.address + " ";
    return text;
  }

  EndpointSlices slices_{"9001", ""};
  std::string version_ = "1";
  int told_ = 0;
  WatchEvents events_{&slices_, &version_, [this] { ++told_; }};
};

TEST_F(WatchEventsTest, PiecesOfAnySizeSayTheSame) {
  const std::string text = Event("ADDED", "a", 2, "10.0.0.1") + "\n" +
                           Event("MODIFIED", "a", 3, "10.0.0.2") +
                           Event("ADDED", "b", 4, "10.0.0.3") + Event("DELETED", "b", 5, "");
  for (size_t size = 1; size <= text.size(); ++size) {
    EndpointSlices slices("9001", "");
    std::string version = "1";
    int told = 0;
    WatchEvents events(&slices, &version, [&] { ++told; });
    for (size_t at = 0; at < text.size(); at += size) {
      ASSERT_TRUE(events.Feed(std::string_view(text).substr(at, size)).ok());
    }
    EXPECT_EQ(told, 4) << size;
    EXPECT_EQ(version, "5") << size;
    const auto workers = slices.Take();
    ASSERT_EQ(workers.size(), 1u) << size;
    EXPECT_EQ(workers[0].address, "10.0.0.2:9001") << size;
  }
}

TEST_F(WatchEventsTest, BookmarksAndUnknownKindsTellTheirVersionAlone) {
  ASSERT_TRUE(events_.Feed(Event("ADDED", "a", 2, "10.0.0.1")).ok());
  ASSERT_TRUE(events_.Feed(Event("BOOKMARK", "a", 7, "10.0.0.9")).ok());
  EXPECT_EQ(version_, "7");
  ASSERT_TRUE(events_.Feed(Event("RENAMED", "a", 8, "10.0.0.9")).ok());
  EXPECT_EQ(version_, "8");
  EXPECT_EQ(workers(), "10.0.0.1:9001 ");
  EXPECT_EQ(told_, 3);
}

TEST_F(WatchEventsTest, AnErrorMakesAListComeNext) {
  for (const auto& [code, expected] : {std::pair(410, absl::StatusCode::kOutOfRange),
                                       std::pair(500, absl::StatusCode::kUnavailable)}) {
    version_ = "9";
    WatchEvents events(&slices_, &version_, [this] { ++told_; });
    const std::string line = Concat(R"({"type":"ERROR","object":{"code":)", code, "}}\n");
    EXPECT_EQ(events.Feed(line).code(), expected);
    EXPECT_EQ(version_, "");
  }
  EXPECT_EQ(told_, 0);
}

TEST_F(WatchEventsTest, WhatCannotBeReadIsAnErrorAndWhatStoodBeforeItCounts) {
  for (const std::string_view line :
       {"{", "[]", "7", R"({"type":"ADDED"})", R"({"object":{}})", R"({"type":1,"object":{}})",
        R"({"type":"ADDED","object":7})", R"({"type":"ADDED","object":{}})",
        R"({"type":"DELETED","object":{}})"}) {
    EndpointSlices slices("9001", "");
    std::string version = "1";
    WatchEvents events(&slices, &version, [] {});
    const absl::Status status = events.Feed(
        Concat(Event("ADDED", "a", 2, "10.0.0.1"), line, "\n", Event("ADDED", "b", 3, "10.0.0.2")));
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << line << ": " << status;
    EXPECT_EQ(version, "2") << line;
    EXPECT_EQ(slices.Take().size(), 1u) << line;
  }
}

TEST_F(WatchEventsTest, AnEventThatDoesNotEndIsRefused) {
  const std::string half(kMaxWatchEventBytes / 2, ' ');
  EXPECT_TRUE(events_.Feed(half).ok());
  EXPECT_TRUE(events_.Feed(half).ok());
  EXPECT_TRUE(absl::IsResourceExhausted(events_.Feed(" ")));
}

}  // namespace
}  // namespace pingti::router
