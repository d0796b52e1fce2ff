// Formatting of log lines; pure functions.
#include "common/base/log_line.h"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <variant>

#include "common/base/strings.h"

namespace pingti {
namespace {

constexpr size_t kMaxValueBytes = 2048;
constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

std::string_view JsonLevel(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return "debug";
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kWarning:
      return "warning";
    case LogLevel::kError:
      return "error";
  }
  return "unknown";
}

std::string_view TextLevel(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return "DEBUG";
    case LogLevel::kInfo:
      return "INFO ";
    case LogLevel::kWarning:
      return "WARN ";
    case LogLevel::kError:
      return "ERROR";
  }
  return "?????";
}

// Length of the well-formed UTF-8 sequence at the start of `text` (RFC 3629), 0 if there is none.
size_t Utf8Length(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const auto continues = [&](size_t i, uint8_t least = 0x80, uint8_t most = 0xBF) {
    return i < text.size() && byte(i) >= least && byte(i) <= most;
  };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return continues(1) ? 2 : 0;
  if (lead >= 0xE0 && lead <= 0xEF) {
    const uint8_t least = lead == 0xE0 ? 0xA0 : 0x80;  // no overlong forms
    const uint8_t most = lead == 0xED ? 0x9F : 0xBF;   // no surrogates
    return continues(1, least, most) && continues(2) ? 3 : 0;
  }
  if (lead >= 0xF0 && lead <= 0xF4) {
    const uint8_t least = lead == 0xF0 ? 0x90 : 0x80;
    const uint8_t most = lead == 0xF4 ? 0x8F : 0xBF;  // nothing above U+10FFFF
    return continues(1, least, most) && continues(2) && continues(3) ? 4 : 0;
  }
  return 0;
}

// Appends one ASCII character with JSON's escapes.
void AppendEscaped(std::string& out, char c) {
  switch (c) {
    case '"':
      out += "\\\"";
      return;
    case '\\':
      out += "\\\\";
      return;
    case '\n':
      out += "\\n";
      return;
    case '\r':
      out += "\\r";
      return;
    case '\t':
      out += "\\t";
      return;
    default:
      break;
  }
  if (static_cast<uint8_t>(c) < 0x20 || c == 0x7F) {
    char escaped[8];
    std::snprintf(escaped, sizeof(escaped), "\\u%04x", static_cast<unsigned>(c));
    out += escaped;
  } else {
    out += c;
  }
}

void AppendQuoted(std::string& out, std::string_view text) {
  out += '"';
  while (!text.empty()) {
    const size_t length = Utf8Length(text);
    if (length == 0) {
      out += kReplacement;
      text.remove_prefix(1);
      continue;
    }
    if (length == 1) {
      AppendEscaped(out, text[0]);
    } else {
      out += text.substr(0, length);
    }
    text.remove_prefix(length);
  }
  out += '"';
}

// Quoted unless it is one printable ASCII word.
void AppendTextValue(std::string& out, std::string_view text) {
  bool plain = !text.empty();
  for (const char c : text) {
    if (c <= ' ' || c >= 0x7F || c == '"' || c == '=' || c == '\\') plain = false;
  }
  if (plain) {
    out += text;
  } else {
    AppendQuoted(out, text);
  }
}

// Values come from clients too: what is longer is cut, with a word of how much there was.
std::string Shortened(const std::string& text) {
  if (text.size() <= kMaxValueBytes) return text;
  size_t end = kMaxValueBytes;
  while (end > 0 && (static_cast<uint8_t>(text[end]) & 0xC0) == 0x80) --end;  // whole characters
  return Concat(std::string_view(text).substr(0, end), "... (", text.size(), " bytes)");
}

void AppendValue(std::string& out, LogFormat format, const LogField& field) {
  if (const auto* value = std::get_if<std::string>(&field.value)) {
    const std::string text = Shortened(*value);
    if (format == LogFormat::kJson) {
      AppendQuoted(out, text);
    } else {
      AppendTextValue(out, text);
    }
  } else if (const auto* integer = std::get_if<int64_t>(&field.value)) {
    out += Concat(*integer);
  } else if (const auto* flag = std::get_if<bool>(&field.value)) {
    out += *flag ? "true" : "false";
  } else {
    const double number = std::get<double>(field.value);
    if (std::isfinite(number)) {
      out += Concat(number);
    } else {
      AppendQuoted(out, Concat(number));  // JSON has no word for it
    }
  }
}

std::string FormatJson(const LogRecord& record) {
  std::string out = Concat("{\"ts\":\"", FormatTimestamp(record.time), "\",\"level\":\"",
                           JsonLevel(record.level), "\",\"process\":");
  AppendQuoted(out, record.process);
  out += ",\"msg\":";
  AppendQuoted(out, record.message);
  for (const LogField& field : record.fields) {
    out += ',';
    AppendQuoted(out, field.key);
    out += ':';
    AppendValue(out, LogFormat::kJson, field);
  }
  out += "}\n";
  return out;
}

std::string FormatText(const LogRecord& record) {
  std::string out = Concat(FormatTimestamp(record.time), " ", TextLevel(record.level), " ",
                           record.process, ": ", record.message);
  for (const LogField& field : record.fields) {
    out += ' ';
    out += field.key;
    out += '=';
    AppendValue(out, LogFormat::kText, field);
  }
  out += '\n';
  return out;
}

}  // namespace

std::string FormatTimestamp(std::chrono::system_clock::time_point time) {
  const auto since_epoch =
      std::chrono::floor<std::chrono::milliseconds>(time).time_since_epoch().count();
  const int64_t ms = ((since_epoch % 1000) + 1000) % 1000;
  const std::time_t seconds = static_cast<std::time_t>((since_epoch - ms) / 1000);
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  char text[64];
  std::snprintf(text, sizeof(text), "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", utc.tm_year + 1900,
                utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec,
                static_cast<int>(ms));
  return text;
}

std::string FormatLogLine(LogFormat format, const LogRecord& record) {
  return format == LogFormat::kJson ? FormatJson(record) : FormatText(record);
}

}  // namespace pingti
