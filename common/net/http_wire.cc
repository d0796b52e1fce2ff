// Formatting and parsing of the small pieces of HTTP/1.1 that Beast does not do for us.
#include "common/net/http_wire.h"

#include <boost/beast/http/status.hpp>
#include <cctype>
#include <charconv>
#include <cstdio>
#include <ctime>

#include "common/base/check.h"
#include "common/base/strings.h"

namespace pingti::net {
namespace {

// IMF-fixdate (RFC 9110, section 5.6.7), spelled out so that no locale changes it.
std::string FormatDate(std::chrono::system_clock::time_point now) {
  constexpr const char* kDays[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  constexpr const char* kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  char text[64];
  std::snprintf(text, sizeof(text), "%s, %02d %s %04d %02d:%02d:%02d GMT", kDays[utc.tm_wday],
                utc.tm_mday, kMonths[utc.tm_mon], utc.tm_year + 1900, utc.tm_hour, utc.tm_min,
                utc.tm_sec);
  return text;
}

void AppendField(std::string& out, std::string_view name, std::string_view value) {
  out += name;
  out += ": ";
  for (const char c : value) out += (c == '\r' || c == '\n' || c == '\0') ? ' ' : c;
  out += "\r\n";
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::optional<std::string> PercentDecode(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '%') {
      if (i + 2 >= text.size()) return std::nullopt;
      const int high = HexDigit(text[i + 1]);
      const int low = HexDigit(text[i + 2]);
      if (high < 0 || low < 0) return std::nullopt;
      c = static_cast<char>(high * 16 + low);
      i += 2;
    }
    if (c == '\0') return std::nullopt;
    out += c;
  }
  return out;
}

}  // namespace

bool StatusAllowsBody(int status) { return status >= 200 && status != 204 && status != 304; }

std::string FormatHead(const HttpResponseHead& head, std::chrono::system_clock::time_point now) {
  const HttpResponse& response = head.response;
  const auto reason = boost::beast::http::obsolete_reason(
      boost::beast::http::int_to_status(static_cast<unsigned>(response.status)));
  std::string out = Concat("HTTP/1.1 ", response.status, " ",
                           std::string_view(reason.data(), reason.size()), "\r\n");
  AppendField(out, "Date", FormatDate(now));
  for (const auto& [name, value] : response.headers) AppendField(out, name, value);
  if (StatusAllowsBody(response.status)) {
    if (!response.content_type.empty()) AppendField(out, "Content-Type", response.content_type);
    if (head.framing == HttpFraming::kLength) {
      AppendField(out, "Content-Length", Concat(response.body.size()));
    } else if (head.framing == HttpFraming::kChunked) {
      AppendField(out, "Transfer-Encoding", "chunked");
    }
  }
  if (!head.keep_alive) {
    AppendField(out, "Connection", "close");
  } else if (head.http_1_0) {
    AppendField(out, "Connection", "keep-alive");
  }
  out += "\r\n";
  return out;
}

void AppendChunk(std::string& out, std::string_view bytes) {
  PINGTI_CHECK(!bytes.empty());
  char size[20];
  const auto end = std::to_chars(size, size + sizeof(size), bytes.size(), 16);
  out.append(size, end.ptr);
  out += "\r\n";
  out += bytes;
  out += "\r\n";
}

std::optional<HttpTarget> ParseTarget(std::string_view target) {
  if (target == "*") return HttpTarget{.path = "*", .query = ""};
  if (!target.starts_with('/')) {
    const size_t scheme_end = target.find("://");
    if (scheme_end == std::string_view::npos || scheme_end == 0) return std::nullopt;
    target.remove_prefix(scheme_end + 3);
    const size_t path = target.find_first_of("/?");
    if (path == std::string_view::npos) return HttpTarget{.path = "/", .query = ""};
    target.remove_prefix(path);
    if (target.front() == '?')
      return HttpTarget{.path = "/", .query = std::string(target.substr(1))};
  }
  const size_t fragment = target.find('#');
  if (fragment != std::string_view::npos) return std::nullopt;
  const size_t query = target.find('?');
  const std::optional<std::string> path = PercentDecode(target.substr(0, query));
  if (!path) return std::nullopt;
  HttpTarget parsed;
  parsed.path = *path;
  if (query != std::string_view::npos) parsed.query = std::string(target.substr(query + 1));
  return parsed;
}

}  // namespace pingti::net
