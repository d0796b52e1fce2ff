// A conversation with an OpenAI-compatible server, without a terminal: history in, streamed text
// out.
//
// Used by chat_command.cc; tests drive it against a local HTTP server. Thread-compatible, except
// Cancel, which any thread may call while Ask runs.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/net/http_client.h"

namespace pingti::tools {

struct ChatMessage {
  std::string role;  // "system", "user", "assistant"
  std::string content;
};

struct ChatSettings {
  std::string url = "http://127.0.0.1:8080";
  std::string model;    // empty: the first one the server lists
  std::string api_key;  // empty: no Authorization header
  std::optional<double> temperature;
  std::optional<int> max_tokens;
  std::optional<int64_t> seed;
};

// Pieces of a streamed answer, as they arrive.
struct ChatSink {
  std::function<void(std::string_view)> on_reasoning;
  std::function<void(std::string_view)> on_content;
};

struct ChatAnswer {
  std::string content;
  std::string finish_reason;  // "stop", "length", ...; "cancelled" after Cancel
  int completion_tokens = 0;  // as the server counted them; 0 after Cancel
};

class ChatClient {
 public:
  explicit ChatClient(ChatSettings settings);

  // Ids of the models the server has. Errors: Unavailable when nobody answers.
  absl::StatusOr<std::vector<std::string>> ListModels();

  // Chooses settings.model when it is empty. Errors: NotFound when the server has no model.
  absl::Status ResolveModel();
  const std::string& model() const { return settings_.model; }

  // Streams the answer to `history`. Errors: what the server said in its error object, that the
  // connection ended in the middle of an answer, or InvalidArgument for text that is not UTF-8.
  absl::StatusOr<ChatAnswer> Ask(const std::vector<ChatMessage>& history, const ChatSink& sink);

  void Cancel() { http_.Cancel(); }

 private:
  net::HttpHeaders Headers() const;

  ChatSettings settings_;
  net::HttpClient http_;
};

}  // namespace pingti::tools
