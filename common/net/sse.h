// Server-sent events (HTML Living Standard, section 9.2), both ways.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace pingti::net {

// An empty comment: readers pass over it (HTML standard, section 9.2.6). A blank line behind it
// would be the end of an event to readers that are strict.
inline constexpr std::string_view kSseFiller = ":\n";

// What ends a stream of OpenAI-style chunks.
inline constexpr std::string_view kSseDone = "data: [DONE]\n\n";

// An event with `payload` as its data; each of its lines gets its own "data: ".
std::string SseData(std::string_view payload);
// A comment line, which clients skip: keeps idle proxies from closing. `text` has no line break.
std::string SseComment(std::string_view text);

// Reads a stream of events that arrives in pieces of any size. Thread-compatible.
class SseReader {
 public:
  // Calls `on_data` for every event completed by these bytes, with its data lines joined by "\n".
  // Comments and other fields are skipped.
  void Feed(std::string_view bytes, const std::function<void(std::string_view)>& on_data);

 private:
  void TakeLine(std::string_view line, const std::function<void(std::string_view)>& on_data);

  std::string line_;  // unfinished
  std::string data_;
  bool has_data_ = false;
  bool after_carriage_return_ = false;
};

}  // namespace pingti::net
