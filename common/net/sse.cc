// Event streams: lines end in CR, LF or CRLF; an empty line ends an event.
#include "common/net/sse.h"

#include <cstddef>

#include "common/base/strings.h"

namespace pingti::net {

std::string SseData(std::string_view payload) {
  std::string out;
  out.reserve(payload.size() + 16);
  while (true) {
    const size_t line_end = payload.find('\n');
    out += "data: ";
    out += payload.substr(0, line_end);
    out += '\n';
    if (line_end == std::string_view::npos) break;
    payload.remove_prefix(line_end + 1);
  }
  out += '\n';
  return out;
}

std::string SseComment(std::string_view text) { return Concat(": ", text, "\n"); }

void SseReader::Feed(std::string_view bytes, const std::function<void(std::string_view)>& on_data) {
  for (const char c : bytes) {
    const bool second_of_crlf = c == '\n' && after_carriage_return_;
    after_carriage_return_ = c == '\r';
    if (second_of_crlf) continue;
    if (c != '\r' && c != '\n') {
      line_ += c;
      continue;
    }
    TakeLine(line_, on_data);
    line_.clear();
  }
}

void SseReader::TakeLine(std::string_view line,
                         const std::function<void(std::string_view)>& on_data) {
  if (line.empty()) {
    if (has_data_) on_data(data_);
    data_.clear();
    has_data_ = false;
    return;
  }
  const size_t colon = line.find(':');
  if (line.substr(0, colon) != "data") return;  // a comment, or a field nobody here needs
  std::string_view value = colon == std::string_view::npos ? "" : line.substr(colon + 1);
  if (value.starts_with(' ')) value.remove_prefix(1);
  if (has_data_) data_ += '\n';
  data_ += value;
  has_data_ = true;
}

}  // namespace pingti::net
