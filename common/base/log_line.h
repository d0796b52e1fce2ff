// How a log line looks, apart from where it goes (log.cc).
#pragma once

#include <chrono>
#include <span>
#include <string>
#include <string_view>

#include "common/base/log.h"

namespace pingti {

struct LogRecord {
  std::chrono::system_clock::time_point time;
  LogLevel level = LogLevel::kInfo;
  std::string_view process;
  std::string_view message;
  std::span<const LogField> fields;
};

// One line with its line feed.
// JSON: {"ts":"2026-01-01T00:00:00.000Z","level":"info","process":...,"msg":..., then the fields}.
// Bytes that are not UTF-8 become U+FFFD, so that a line is always valid JSON.
// Text: 2026-01-01T00:00:00.000Z INFO  process: message key=value key="two words".
std::string FormatLogLine(LogFormat format, const LogRecord& record);

// RFC 3339 with milliseconds, in UTC.
std::string FormatTimestamp(std::chrono::system_clock::time_point time);

}  // namespace pingti
