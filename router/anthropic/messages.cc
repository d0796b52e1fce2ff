// See messages.h.
#include "router/anthropic/messages.h"

#include <string>
#include <string_view>
#include <utility>

#include "boost/json.hpp"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "router/api/api_error.h"
#include "router/api/json_fields.h"
#include "router/openai/chat_body.h"

namespace pingti::router {
namespace json = boost::json;
namespace {

absl::StatusOr<std::string_view> ReadTextBlock(const std::string& path, const json::object& block) {
  PINGTI_RETURN_IF_ERROR(RequireString(path, block, "text"));
  return TextOf(block, "text");
}

// A string, or blocks of which all are text.
absl::StatusOr<std::string> JoinTextBlocks(const std::string& path, const json::value& content) {
  return JoinText(path, content,
                  [](const std::string& block_path, std::string_view type,
                     const json::object& block) -> absl::StatusOr<std::string_view> {
                    if (type == "text") return ReadTextBlock(block_path, block);
                    return UnsupportedField(block_path + ".type",
                                            Concat("'", type, "'; only text is taken here"));
                  });
}

json::object Message(std::string_view role, std::string_view content) {
  return {{"role", json::string(role)}, {"content", json::string(content)}};
}

// Adds a message to those of a chat; to the last one where both are of one role, as turns of one
// role that follow each other are one turn.
void Append(json::object message, json::array* out) {
  if (out->empty() || out->back().get_object().at("role") != message.at("role")) {
    out->push_back(std::move(message));
    return;
  }
  json::object& last = out->back().get_object();
  for (const char* name : {"content", "reasoning_content"}) {
    const json::value* more = message.if_contains(name);
    if (more == nullptr || more->get_string().empty()) continue;
    if (!last.contains(name)) last[name] = json::string();
    json::string& text = last[name].get_string();
    if (!text.empty()) text.append("\n");
    text.append(more->get_string());
  }
  const json::value* calls = message.if_contains("tool_calls");
  if (calls == nullptr) return;
  if (!last.contains("tool_calls")) last["tool_calls"] = json::array();
  json::array& all = last["tool_calls"].get_array();
  all.insert(all.end(), calls->get_array().begin(), calls->get_array().end());
}

absl::Status AddToolResult(const std::string& path, const json::object& block, json::array* out) {
  PINGTI_RETURN_IF_ERROR(RequireString(path, block, "tool_use_id"));
  std::string text;
  if (const json::value* content = Member(block, "content")) {
    PINGTI_ASSIGN_OR_RETURN(text, JoinTextBlocks(path + ".content", *content));
  }
  if (const json::value* is_error = Member(block, "is_error")) {
    bool failed = false;
    PINGTI_RETURN_IF_ERROR(ReadBool(path + ".is_error", *is_error, &failed));
    // Chat templates have no place for it but the text.
    if (failed) text = Concat("Error: ", text);
  }
  json::object message = Message("tool", text);
  message["tool_call_id"] = block.at("tool_use_id");
  out->push_back(std::move(message));
  return absl::OkStatus();
}

absl::Status AddUserTurn(const std::string& path, const json::value& content, json::array* out) {
  if (content.is_string()) {
    Append(Message("user", View(content.get_string())), out);
    return absl::OkStatus();
  }
  if (!content.is_array()) return WrongType(path, content, "a string or an array");
  if (content.get_array().empty()) {
    return FieldError(path, Concat("'", path, "' is empty, expected at least one block"));
  }
  std::string text;
  bool has_text = false;
  const auto read_block = [&](const std::string& block_path, std::string_view type,
                              const json::object& block) -> absl::Status {
    if (type == "tool_result") {
      if (!has_text) return AddToolResult(block_path, block, out);
      return FieldError(block_path, "tool results must stand before a turn's text");
    }
    if (type != "text") {
      return UnsupportedField(block_path + ".type",
                              Concat("'", type, "'; expected 'text' or 'tool_result'"));
    }
    PINGTI_ASSIGN_OR_RETURN(const std::string_view piece, ReadTextBlock(block_path, block));
    text += piece;
    has_text = true;
    return absl::OkStatus();
  };
  PINGTI_RETURN_IF_ERROR(ForEachPart(path, content.get_array(), read_block));
  if (has_text) Append(Message("user", text), out);
  return absl::OkStatus();
}

absl::Status AddToolUse(const std::string& path, const json::object& block, json::array* calls) {
  PINGTI_RETURN_IF_ERROR(RequireString(path, block, "id"));
  PINGTI_RETURN_IF_ERROR(RequireString(path, block, "name"));
  const json::value* input = Member(block, "input");
  if (input == nullptr) return MissingField(path + ".input");
  if (!input->is_object()) return WrongType(path + ".input", *input, "an object");
  calls->push_back(
      FunctionCall(TextOf(block, "id"), TextOf(block, "name"), json::serialize(*input)));
  return absl::OkStatus();
}

// What tools of Anthropic's servers did, and thoughts that only they can read.
bool IsForeignBlock(std::string_view type) {
  return type == "redacted_thinking" || type.ends_with("_tool_use") ||
         type.ends_with("_tool_result");
}

absl::Status AddAssistantBlock(const std::string& path, std::string_view type,
                               const json::object& block, json::object* message,
                               IgnoredFields* ignored) {
  const auto append = [&](const char* name, std::string_view text) {
    if (!message->contains(name)) (*message)[name] = json::string();
    (*message)[name].get_string().append(json::string_view(text.data(), text.size()));
  };
  if (type == "text") {
    PINGTI_ASSIGN_OR_RETURN(const std::string_view text, ReadTextBlock(path, block));
    append("content", text);
    return absl::OkStatus();
  }
  if (type == "thinking") {
    PINGTI_RETURN_IF_ERROR(RequireString(path, block, "thinking"));
    append("reasoning_content", TextOf(block, "thinking"));
    return absl::OkStatus();
  }
  if (type == "tool_use") {
    if (!message->contains("tool_calls")) (*message)["tool_calls"] = json::array();
    return AddToolUse(path, block, &(*message)["tool_calls"].get_array());
  }
  if (IsForeignBlock(type)) {
    ignored->Add(IsPlainName(type) ? Concat("messages[].content[", type, "]")
                                   : "messages[].content[*]");
    return absl::OkStatus();
  }
  return UnsupportedField(path + ".type",
                          Concat("'", type, "'; expected 'text', 'thinking' or 'tool_use'"));
}

absl::Status AddAssistantTurn(const std::string& path, const json::value& content, json::array* out,
                              IgnoredFields* ignored) {
  if (content.is_string()) {
    Append(Message("assistant", View(content.get_string())), out);
    return absl::OkStatus();
  }
  if (!content.is_array()) return WrongType(path, content, "a string or an array");
  json::object message{{"role", "assistant"}};
  PINGTI_RETURN_IF_ERROR(ForEachPart(
      path, content.get_array(),
      [&](const std::string& block_path, std::string_view type, const json::object& block) {
        return AddAssistantBlock(block_path, type, block, &message, ignored);
      }));
  if (!message.contains("content") && !message.contains("tool_calls")) message["content"] = "";
  Append(std::move(message), out);
  return absl::OkStatus();
}

absl::Status AddTurn(const std::string& path, const json::value& value, json::array* out,
                     IgnoredFields* ignored) {
  PINGTI_ASSIGN_OR_RETURN(const json::object* object, RequireObject(path, value));
  const json::object& turn = *object;
  PINGTI_RETURN_IF_ERROR(RequireString(path, turn, "role"));
  const json::value* content = Member(turn, "content");
  if (content == nullptr) return MissingField(path + ".content");
  const std::string_view role = TextOf(turn, "role");
  if (role == "user") return AddUserTurn(path + ".content", *content, out);
  if (role == "assistant") return AddAssistantTurn(path + ".content", *content, out, ignored);
  if (role == "system") {
    PINGTI_ASSIGN_OR_RETURN(const std::string text, JoinTextBlocks(path + ".content", *content));
    out->push_back(Message("system", text));
    return absl::OkStatus();
  }
  return WrongValue(path + ".role", role, {"user", "assistant", "system"});
}

}  // namespace

absl::StatusOr<json::array> TurnsToMessages(const json::value& turns, const json::value* system,
                                            IgnoredFields* ignored) {
  json::array messages;
  if (system != nullptr) {
    PINGTI_ASSIGN_OR_RETURN(const std::string text, JoinTextBlocks("system", *system));
    messages.push_back(Message("system", text));
  }
  if (!turns.is_array()) return WrongType("messages", turns, "an array");
  const json::array& list = turns.get_array();
  if (list.empty()) {
    return FieldError("messages",
                      "Invalid 'messages': empty array. Expected at least one message.");
  }
  for (size_t i = 0; i < list.size(); ++i) {
    PINGTI_RETURN_IF_ERROR(AddTurn(Concat("messages[", i, "]"), list[i], &messages, ignored));
  }
  if (list.back().get_object().at("role") == "assistant") {
    return UnsupportedField(Concat("messages[", list.size() - 1, "].role"),
                            "the last message must be the user's; an assistant's words are not "
                            "continued");
  }
  return messages;
}

}  // namespace pingti::router
