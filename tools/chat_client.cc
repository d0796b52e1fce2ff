#include "tools/chat_client.h"

#include <utility>

#include "boost/json.hpp"
#include "common/base/status_macros.h"
#include "common/net/sse.h"
#include "common/text/utf8.h"

namespace pingti::tools {
namespace {

namespace json = boost::json;

std::string_view View(const json::string& text) { return {text.data(), text.size()}; }

// The member `key` of an object, or null for anything else.
const json::value* Find(const json::value* value, std::string_view key) {
  if (value == nullptr || !value->is_object()) return nullptr;
  return value->as_object().if_contains(json::string_view(key.data(), key.size()));
}

std::string_view FindString(const json::value* value, std::string_view key) {
  const json::value* found = Find(value, key);
  return found != nullptr && found->is_string() ? View(found->as_string()) : std::string_view();
}

absl::Status ServerError(int http_status, std::string_view body) {
  boost::system::error_code parse_error;
  const json::value parsed = json::parse(json::string_view(body.data(), body.size()), parse_error);
  std::string message;
  if (!parse_error) message = FindString(Find(&parsed, "error"), "message");
  if (message.empty()) message = std::string(body.substr(0, 200));
  const std::string text = "the server answered " + std::to_string(http_status) + ": " + message;
  if (http_status == 404) return absl::NotFoundError(text);
  if (http_status == 429 || http_status == 503) return absl::UnavailableError(text);
  return absl::InvalidArgumentError(text);
}

// JSON is UTF-8, so a server could only say that it cannot read the request.
absl::Status CheckUtf8(const ChatSettings& settings, const std::vector<ChatMessage>& history) {
  const auto check = [](const std::string& text, const std::string& what) {
    if (text::ValidUtf8Prefix(text) == text.size()) return absl::OkStatus();
    return absl::InvalidArgumentError("the text of the " + what + " is not UTF-8");
  };
  PINGTI_RETURN_IF_ERROR(check(settings.model, "model's id"));
  for (const ChatMessage& message : history) {
    PINGTI_RETURN_IF_ERROR(check(message.content, message.role + " message"));
  }
  return absl::OkStatus();
}

std::string RequestBody(const ChatSettings& settings, const std::vector<ChatMessage>& history) {
  json::array messages;
  for (const ChatMessage& message : history) {
    messages.push_back(json::object{{"role", message.role}, {"content", message.content}});
  }
  json::object body{{"model", settings.model},
                    {"messages", std::move(messages)},
                    {"stream", true},
                    {"stream_options", {{"include_usage", true}}}};
  if (settings.temperature) body["temperature"] = *settings.temperature;
  if (settings.max_tokens) body["max_tokens"] = *settings.max_tokens;
  if (settings.seed) body["seed"] = *settings.seed;
  return json::serialize(body);
}

// Takes one chunk of the stream apart. Errors: the chunk is no JSON, or carries an error object.
absl::Status TakeChunk(std::string_view data, const ChatSink& sink, ChatAnswer* answer) {
  boost::system::error_code parse_error;
  const json::value chunk = json::parse(json::string_view(data.data(), data.size()), parse_error);
  if (parse_error) {
    return absl::DataLossError("the server sent a chunk that is not JSON: " +
                               std::string(data.substr(0, 100)));
  }
  if (const json::value* error = Find(&chunk, "error"); error != nullptr) {
    return absl::UnavailableError("the server ended the answer: " +
                                  std::string(FindString(error, "message")));
  }
  if (const json::value* tokens = Find(Find(&chunk, "usage"), "completion_tokens");
      tokens != nullptr && tokens->is_int64()) {
    answer->completion_tokens = static_cast<int>(tokens->as_int64());
  }
  const json::value* choices = Find(&chunk, "choices");
  if (choices == nullptr || !choices->is_array() || choices->as_array().empty()) {
    return absl::OkStatus();
  }
  const json::value* choice = &choices->as_array().front();
  const json::value* delta = Find(choice, "delta");
  if (const auto text = FindString(delta, "reasoning_content"); !text.empty()) {
    sink.on_reasoning(text);
  }
  if (const auto text = FindString(delta, "content"); !text.empty()) {
    answer->content += text;
    sink.on_content(text);
  }
  if (const auto reason = FindString(choice, "finish_reason"); !reason.empty()) {
    answer->finish_reason = reason;
  }
  return absl::OkStatus();
}

}  // namespace

ChatClient::ChatClient(ChatSettings settings) : settings_(std::move(settings)) {}

net::HttpHeaders ChatClient::Headers() const {
  net::HttpHeaders headers{{"Content-Type", "application/json"}};
  if (!settings_.api_key.empty()) {
    headers.emplace_back("Authorization", "Bearer " + settings_.api_key);
  }
  return headers;
}

absl::StatusOr<std::vector<std::string>> ChatClient::ListModels() {
  PINGTI_ASSIGN_OR_RETURN(const net::HttpResponse response,
                          http_.Send({.method = "GET",
                                      .url = settings_.url + "/v1/models",
                                      .headers = Headers(),
                                      .body = ""}));
  if (response.status != 200) return ServerError(response.status, response.body);
  boost::system::error_code parse_error;
  const json::value parsed = json::parse(response.body, parse_error);
  const json::value* data = parse_error ? nullptr : Find(&parsed, "data");
  if (data == nullptr || !data->is_array()) {
    return absl::DataLossError(settings_.url + "/v1/models did not answer with a list of models");
  }
  std::vector<std::string> ids;
  for (const json::value& model : data->as_array()) ids.emplace_back(FindString(&model, "id"));
  return ids;
}

absl::Status ChatClient::ResolveModel() {
  if (!settings_.model.empty()) return absl::OkStatus();
  PINGTI_ASSIGN_OR_RETURN(const std::vector<std::string> ids, ListModels());
  if (ids.empty()) return absl::NotFoundError("the server at " + settings_.url + " has no model");
  settings_.model = ids.front();
  return absl::OkStatus();
}

absl::StatusOr<ChatAnswer> ChatClient::Ask(const std::vector<ChatMessage>& history,
                                           const ChatSink& sink) {
  PINGTI_RETURN_IF_ERROR(CheckUtf8(settings_, history));
  ChatAnswer answer;
  absl::Status stream_status;
  bool done = false;
  net::SseReader reader;
  const auto on_data = [&](std::string_view data) {
    if (data == "[DONE]") {
      done = true;
    } else if (stream_status.ok()) {
      stream_status = TakeChunk(data, sink, &answer);
    }
  };
  const absl::StatusOr<net::HttpResponse> response =
      http_.SendStreaming({.method = "POST",
                           .url = settings_.url + "/v1/chat/completions",
                           .headers = Headers(),
                           .body = RequestBody(settings_, history)},
                          [&](std::string_view bytes) {
                            reader.Feed(bytes, on_data);
                            return stream_status.ok();
                          });
  PINGTI_RETURN_IF_ERROR(stream_status);
  if (absl::IsCancelled(response.status())) {
    answer.finish_reason = "cancelled";
    return answer;
  }
  PINGTI_RETURN_IF_ERROR(response.status());
  if (response->status != 200) return ServerError(response->status, response->body);
  if (!done) return absl::UnavailableError("the connection ended in the middle of the answer");
  return answer;
}

}  // namespace pingti::tools
