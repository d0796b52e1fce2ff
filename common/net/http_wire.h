// HTTP/1.1 as text: what the server writes, and the parts of a request target. Pure functions.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "common/net/http_server.h"

namespace pingti::net {

// How a response tells its length.
enum class HttpFraming { kLength, kChunked, kUntilClose };

struct HttpResponseHead {
  const HttpResponse& response;
  HttpFraming framing = HttpFraming::kLength;
  bool keep_alive = true;
  bool http_1_0 = false;
};

// Status line and header fields with the empty line after them. Line breaks inside header values,
// which would let a value start a header of its own, become blanks.
std::string FormatHead(const HttpResponseHead& head, std::chrono::system_clock::time_point now);

// Appends `bytes` as one chunk (RFC 9112, section 7.1). REQUIRES: not empty, which would be the
// end.
void AppendChunk(std::string& out, std::string_view bytes);
inline constexpr std::string_view kLastChunk = "0\r\n\r\n";

// Whether a response of this status may have a body at all (RFC 9110, section 6.4.1).
bool StatusAllowsBody(int status);

struct HttpTarget {
  std::string path;   // percent-decoded
  std::string query;  // raw
};

// Splits a request target in origin form ("/a%20b?x=1"), absolute form ("http://host/a") or "*".
// Nothing when malformed.
std::optional<HttpTarget> ParseTarget(std::string_view target);

}  // namespace pingti::net
