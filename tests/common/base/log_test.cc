// How a line looks, and that lines of many threads stay whole.
#include "common/base/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "common/base/check.h"
#include "common/base/log_line.h"
#include "common/base/strings.h"

namespace pingti {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

// 2026-01-02T03:04:05.006Z
constexpr std::chrono::system_clock::time_point kTime{std::chrono::milliseconds(1767323045006)};

std::string Line(LogFormat format, std::string_view message, std::vector<LogField> fields,
                 LogLevel level = LogLevel::kInfo) {
  return FormatLogLine(format, {.time = kTime,
                                .level = level,
                                .process = "pingti-router",
                                .message = message,
                                .fields = fields});
}

TEST(LogLineTest, JsonHasTheFixedFieldsFirst) {
  EXPECT_EQ(Line(LogFormat::kJson, "request finished",
                 {{"request_id", "r-1"}, {"tokens", 7}, {"ratio", 0.5}, {"stream", true}}),
            "{\"ts\":\"2026-01-02T03:04:05.006Z\",\"level\":\"info\","
            "\"process\":\"pingti-router\",\"msg\":\"request finished\","
            "\"request_id\":\"r-1\",\"tokens\":7,\"ratio\":0.5,\"stream\":true}\n");
}

TEST(LogLineTest, TextIsForPeople) {
  EXPECT_EQ(Line(LogFormat::kText, "worker lost",
                 {{"worker", "w1:9001"}, {"why", "two words"}, {"empty", ""}}, LogLevel::kWarning),
            "2026-01-02T03:04:05.006Z WARN  pingti-router: worker lost worker=w1:9001 "
            "why=\"two words\" empty=\"\"\n");
}

TEST(LogLineTest, AValueCannotBreakOutOfItsLine) {
  const std::string line =
      Line(LogFormat::kJson, "m", {{"k", std::string_view("a\"b\\c\nd\r\t\0\x1b", 11)}});
  EXPECT_THAT(line, HasSubstr("\"k\":\"a\\\"b\\\\c\\nd\\r\\t\\u0000\\u001b\"}\n"));
  const std::string text = Line(LogFormat::kText, "m", {{"k", "a\nb"}});
  EXPECT_THAT(text, HasSubstr("k=\"a\\nb\"\n"));
}

TEST(LogLineTest, AnythingNotUtf8IsReplaced) {
  const std::string kBad = "\xEF\xBF\xBD";
  const auto quoted = [](std::string_view value) {
    const std::string line = Line(LogFormat::kJson, "m", {{"k", value}});
    const size_t start = line.find("\"k\":\"") + 5;
    return line.substr(start, line.size() - start - 3);
  };
  EXPECT_EQ(quoted("平替 é 🙂"), "平替 é 🙂");
  EXPECT_EQ(quoted("a\xFFz"), Concat("a", kBad, "z"));
  EXPECT_EQ(quoted("\xC0\xAF"), kBad + kBad) << "overlong";
  EXPECT_EQ(quoted("\xED\xA0\x80"), kBad + kBad + kBad) << "surrogate";
  EXPECT_EQ(quoted("\xF4\x90\x80\x80"), kBad + kBad + kBad + kBad) << "above U+10FFFF";
  EXPECT_EQ(quoted("cut \xE5\xB9"), Concat("cut ", kBad, kBad));
}

TEST(LogLineTest, NumbersJsonCannotHoldAreQuoted) {
  EXPECT_THAT(Line(LogFormat::kJson, "m", {{"k", std::numeric_limits<double>::quiet_NaN()}}),
              HasSubstr("\"k\":\"nan\"}"));
}

TEST(LogLineTest, LongValuesAreCutBetweenCharacters) {
  const std::string line = Line(LogFormat::kJson, "m", {{"k", "a" + std::string(1 << 20, '\xC3')}});
  EXPECT_LT(line.size(), 16'000u);
  std::string value;
  for (int i = 0; i < 5000; ++i) value += "é";
  EXPECT_THAT(Line(LogFormat::kJson, "m", {{"k", "x" + value}}), HasSubstr("é... (10001 bytes)\""));
}

TEST(LogLineTest, TimestampsBeforeTheEpochAreStillInOrder) {
  EXPECT_EQ(FormatTimestamp(std::chrono::system_clock::time_point(std::chrono::milliseconds(-1))),
            "1969-12-31T23:59:59.999Z");
}

TEST(InitLoggingTest, NamesWhatItDoesNotKnow) {
  EXPECT_EQ(std::string(InitLogging("loud", "json", "p").message()),
            "log level is 'loud': expected one of debug, info, warning, error");
  EXPECT_EQ(std::string(InitLogging("info", "xml", "p").message()),
            "log format is 'xml': expected one of json, text");
}

TEST(LogTest, WritesWholeLinesFromManyThreadsAndDropsLowerLevels) {
  ASSERT_TRUE(InitLogging("warning", "json", "p").ok());
  ::testing::internal::CaptureStderr();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([] {
      for (int i = 0; i < 100; ++i) {
        LogWarning("w", {{"pad", std::string(200, 'x')}});
        LogInfo("dropped");
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::istringstream lines(::testing::internal::GetCapturedStderr());
  ASSERT_TRUE(InitLogging("info", "text", "p").ok());
  int count = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    EXPECT_THAT(line, StartsWith("{\"ts\":\""));
    EXPECT_THAT(line, HasSubstr(Concat("\"pad\":\"", std::string(200, 'x'), "\"}")));
  }
  EXPECT_EQ(count, 400);
}

TEST(CheckDeathTest, SaysWhatIsBrokenAndWhere) {
  EXPECT_DEATH(PINGTI_CHECK_MSG(1 + 1 == 3, std::string("detail")),
               "log_test.cc:.*invariant broken: 1 \\+ 1 == 3: detail");
}

}  // namespace
}  // namespace pingti
