// Renders chat templates for tests/golden/text/compare_templates.py. Each line of standard input is
// {"template": text, "context": object}; the answer is a line {"output": text} or {"error": text}.
// `strftime_now` tells the time of jinja_env.py, so set TZ=UTC.
#include <boost/json.hpp>
#include <chrono>
#include <iostream>
#include <string>

#include "common/text/chat_template.h"

namespace {

absl::StatusOr<std::string> Render(const boost::json::object& request) {
  auto parsed =
      pingti::text::ChatTemplate::Parse(std::string_view(request.at("template").as_string()), {});
  if (!parsed.ok()) return parsed.status();
  const std::chrono::system_clock::time_point now(std::chrono::microseconds(1721999109123456));
  return (*parsed)->Render(request.at("context").as_object(), now);
}

}  // namespace

int main() {
  for (std::string line; std::getline(std::cin, line);) {
    const auto rendered = Render(boost::json::parse(line).as_object());
    boost::json::object answer;
    if (rendered.ok()) {
      answer["output"] = *rendered;
    } else {
      answer["error"] = std::string(rendered.status().message());
    }
    std::cout << boost::json::serialize(answer) << std::endl;
  }
}
