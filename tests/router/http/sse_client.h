// Reads one streamed chat answer as a client would.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "boost/json.hpp"
#include "common/net/http_client.h"
#include "common/net/sse.h"
#include "tests/testing/in_process_router.h"
#include "tests/testing/wait_for.h"

namespace pingti::testing {

struct SseAnswer {
  int status = 0;  // 0: the connection broke
  std::string error;
  std::vector<boost::json::object> chunks;
  std::string content;
  std::string reasoning;
  std::string tool_arguments;
  std::string finish_reason;
  int comments = 0;
  bool done = false;
};

inline void TakeChunk(std::string_view data, SseAnswer* answer) {
  if (data == "[DONE]") {
    answer->done = true;
    return;
  }
  const auto chunk =
      boost::json::parse(boost::json::string_view(data.data(), data.size())).as_object();
  answer->chunks.push_back(chunk);
  if (const auto* error = chunk.if_contains("error")) {
    answer->error = boost::json::serialize(*error);
    return;
  }
  for (const auto& choice : chunk.at("choices").as_array()) {
    const auto& delta = choice.at("delta").as_object();
    const auto add = [&](const char* name, std::string* to) {
      if (const auto* text = delta.if_contains(name)) *to += std::string(text->as_string());
    };
    add("content", &answer->content);
    add("reasoning_content", &answer->reasoning);
    if (const auto* calls = delta.if_contains("tool_calls")) {
      answer->tool_arguments +=
          std::string(calls->at(0).at("function").at("arguments").as_string());
    }
    const auto& finish = choice.at("finish_reason");
    if (finish.is_string()) answer->finish_reason = std::string(finish.as_string());
  }
}

// `on_content` sees all content so far after each piece; false ends the connection. So does an
// answer that is not complete within kPatience, although comments may keep the connection alive.
inline SseAnswer StreamChat(InProcessRouter& router, const std::string& body,
                            const std::function<bool(const std::string&)>& on_content = nullptr) {
  SseAnswer answer;
  net::HttpClient client({.read_timeout = kPatience});
  net::SseReader reader;
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  const auto response = client.SendStreaming(
      {.method = "POST", .url = router.url() + "/v1/chat/completions", .body = body},
      [&](std::string_view bytes) {
        if (bytes.starts_with(':')) ++answer.comments;
        reader.Feed(bytes, [&](std::string_view data) { TakeChunk(data, &answer); });
        if (std::chrono::steady_clock::now() > deadline) return false;
        return on_content == nullptr || on_content(answer.content);
      });
  if (response.ok()) {
    answer.status = response->status;
    if (answer.status != 200) answer.error = response->body;
  }
  return answer;
}

}  // namespace pingti::testing
