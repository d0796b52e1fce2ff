// Structured logs: one JSON object a line on stderr, or aligned text for people.
//
//   LogInfo("request finished", {{"request_id", id}, {"tokens", count}});
//
// Thread-safe after InitLogging. Message first, constant; what varies goes into fields.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <variant>

#include "absl/status/status.h"

namespace pingti {

enum class LogLevel { kDebug, kInfo, kWarning, kError };
enum class LogFormat { kJson, kText };

// One key with its value; views need to live only for the call.
struct LogField {
  std::string_view key;
  std::variant<std::string, int64_t, double, bool> value;

  LogField(std::string_view k, std::string_view v) : key(k), value(std::string(v)) {}
  LogField(std::string_view k, const std::string& v) : key(k), value(v) {}
  LogField(std::string_view k, const char* v) : key(k), value(std::string(v)) {}
  LogField(std::string_view k, bool v) : key(k), value(v) {}
  LogField(std::string_view k, double v) : key(k), value(v) {}
  template <typename Int>
  requires std::is_integral_v<Int> LogField(std::string_view k, Int v)
      : key(k), value(static_cast<int64_t>(v)) {}
};

// Errors: InvalidArgument naming the accepted spellings.
absl::Status InitLogging(std::string_view level, std::string_view format,
                         std::string_view process_name);

// Lines leave by a thread of their own from now on (log_writer.h); call it once, after InitLogging
// and any fork. Lines that a process logs before go out in the call.
void StartLogThread();
// Gives lines that wait a second to leave. For the end of a process that started the thread.
void FlushLogs();
// Lines that found no room because nobody reads stderr.
uint64_t DroppedLogLines();

void Log(LogLevel level, std::string_view message, std::initializer_list<LogField> fields);

inline void LogInfo(std::string_view message, std::initializer_list<LogField> fields = {}) {
  Log(LogLevel::kInfo, message, fields);
}
inline void LogWarning(std::string_view message, std::initializer_list<LogField> fields = {}) {
  Log(LogLevel::kWarning, message, fields);
}
inline void LogError(std::string_view message, std::initializer_list<LogField> fields = {}) {
  Log(LogLevel::kError, message, fields);
}

}  // namespace pingti
