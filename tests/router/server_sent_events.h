// The events of a stream as tests look at them: names and parsed data.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "boost/json.hpp"

namespace pingti::router {

struct SentEvent {
  std::string name;
  boost::json::value data;
};

// Every event must have a name and one line of data; comments are left out.
inline std::vector<SentEvent> ParseEvents(std::string_view stream) {
  std::vector<SentEvent> events;
  while (!stream.empty()) {
    if (stream.front() == ':') {
      stream.remove_prefix(stream.find('\n') + 1);
      continue;
    }
    const size_t end = stream.find("\n\n");
    EXPECT_NE(end, std::string_view::npos) << "the last event has no end: " << stream;
    if (end == std::string_view::npos) break;
    const std::string event(stream.substr(0, end));
    stream.remove_prefix(end + 2);
    const size_t line = event.find("\ndata: ");
    EXPECT_TRUE(event.starts_with("event: ") && line != std::string::npos) << event;
    if (line == std::string::npos) break;
    events.push_back({event.substr(7, line - 7), boost::json::parse(event.substr(line + 7))});
    EXPECT_EQ(std::string(events.back().data.at("type").as_string()), events.back().name);
  }
  return events;
}

inline std::vector<std::string> NamesOf(const std::vector<SentEvent>& events) {
  std::vector<std::string> names;
  for (const SentEvent& event : events) names.push_back(event.name);
  return names;
}

}  // namespace pingti::router
