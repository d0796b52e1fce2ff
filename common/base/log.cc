// Where log lines go: stderr, whole lines, so that those of several threads never mix. The one
// process-wide state is the level, the format and the process's name, set once by InitLogging, and
// the thread that writes.
#include "common/base/log.h"

#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <span>
#include <string>
#include <utility>

#include "common/base/log_line.h"
#include "common/base/log_writer.h"
#include "common/base/mutex.h"
#include "common/base/strings.h"

namespace pingti {
namespace {

struct Logger {
  std::atomic<LogLevel> level{LogLevel::kInfo};
  std::atomic<LogFormat> format{LogFormat::kText};
  std::string process = "pingti";  // written before other threads exist
  Mutex write_mutex;
  std::atomic<LogWriter*> writer{nullptr};  // never destroyed, like the logger
};

constexpr size_t kMaxQueuedBytes = 8u << 20;
constexpr std::chrono::milliseconds kFlushPatience{1000};

Logger& TheLogger() {
  static auto* const logger = new Logger;  // never destroyed: late threads may still log
  return *logger;
}

void WriteAll(std::string_view line) {
  while (!line.empty()) {
    const ssize_t written = ::write(STDERR_FILENO, line.data(), line.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return;  // nobody reads stderr: there is nowhere to say so
    }
    line.remove_prefix(static_cast<size_t>(written));
  }
}

absl::Status UnknownSpelling(std::string_view what, std::string_view value,
                             std::string_view expected) {
  return absl::InvalidArgumentError(Concat(what, " is '", value, "': expected one of ", expected));
}

}  // namespace

absl::Status InitLogging(std::string_view level, std::string_view format,
                         std::string_view process_name) {
  Logger& logger = TheLogger();
  if (level == "debug") {
    logger.level = LogLevel::kDebug;
  } else if (level == "info") {
    logger.level = LogLevel::kInfo;
  } else if (level == "warning") {
    logger.level = LogLevel::kWarning;
  } else if (level == "error") {
    logger.level = LogLevel::kError;
  } else {
    return UnknownSpelling("log level", level, "debug, info, warning, error");
  }
  if (format == "json") {
    logger.format = LogFormat::kJson;
  } else if (format == "text") {
    logger.format = LogFormat::kText;
  } else {
    return UnknownSpelling("log format", format, "json, text");
  }
  logger.process = std::string(process_name);
  return absl::OkStatus();
}

void Log(LogLevel level, std::string_view message, std::initializer_list<LogField> fields) {
  Logger& logger = TheLogger();
  if (level < logger.level.load(std::memory_order_relaxed)) return;
  const LogRecord record{.time = std::chrono::system_clock::now(),
                         .level = level,
                         .process = logger.process,
                         .message = message,
                         .fields = std::span(fields.begin(), fields.size())};
  std::string line = FormatLogLine(logger.format.load(std::memory_order_relaxed), record);
  if (LogWriter* const writer = logger.writer.load()) return writer->Write(std::move(line));
  MutexLock lock(&logger.write_mutex);
  WriteAll(line);
}

void StartLogThread() {
  static auto* const writer = new LogWriter(STDERR_FILENO, kMaxQueuedBytes);
  TheLogger().writer.store(writer);
}

void FlushLogs() {
  if (LogWriter* const writer = TheLogger().writer.load()) writer->Flush(kFlushPatience);
}

uint64_t DroppedLogLines() {
  const LogWriter* const writer = TheLogger().writer.load();
  return writer == nullptr ? 0 : writer->dropped();
}

}  // namespace pingti
