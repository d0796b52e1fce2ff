// See messages.h.
#include "router/anthropic/messages.h"

#include <array>
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

constexpr std::array<std::string_view, 2> kTurnFields = {"role", "content"};
constexpr std::array<std::string_view, 4> kTextFields = {"type", "text", "cache_control",
                                                         "citations"};
constexpr std::array<std::string_view, 5> kResultFields = {"type", "tool_use_id", "content",
                                                           "is_error", "cache_control"};
constexpr std::array<std::string_view, 6> kUseFields = {"type",          "id",    "name", "input",
                                                        "cache_control", "caller"};
constexpr std::array<std::string_view, 3> kThinkingFields = {"type", "thinking", "signature"};

absl::StatusOr<std::string_view> ReadTextBlock(const std::string& path, const json::object& block) {
  PINGTI_RETURN_IF_ERROR(RefuseUnknown(path, block, kTextFields));
  PINGTI_RETURN_IF_ERROR(CheckCacheControl(path, block));
  if (const json::value* citations = Member(block, "citations")) {
    if (!citations->is_array() || !citations->get_array().empty()) {
      return UnsupportedField(path + ".citations", "the model cannot cite");
    }
  }
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

absl::Status AddToolResult(const std::string& path, const json::object& block, json::array* out) {
  PINGTI_RETURN_IF_ERROR(RefuseUnknown(path, block, kResultFields));
  PINGTI_RETURN_IF_ERROR(CheckCacheControl(path, block));
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
    out->push_back(Message("user", View(content.get_string())));
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
  if (has_text) out->push_back(Message("user", text));
  return absl::OkStatus();
}

absl::Status AddToolUse(const std::string& path, const json::object& block, json::array* calls) {
  PINGTI_RETURN_IF_ERROR(RefuseUnknown(path, block, kUseFields));
  PINGTI_RETURN_IF_ERROR(CheckCacheControl(path, block));
  PINGTI_RETURN_IF_ERROR(RequireString(path, block, "id"));
  PINGTI_RETURN_IF_ERROR(RequireString(path, block, "name"));
  const json::value* input = Member(block, "input");
  if (input == nullptr) return MissingField(path + ".input");
  if (!input->is_object()) return WrongType(path + ".input", *input, "an object");
  calls->push_back(
      FunctionCall(TextOf(block, "id"), TextOf(block, "name"), json::serialize(*input)));
  return absl::OkStatus();
}

absl::Status AddAssistantBlock(const std::string& path, std::string_view type,
                               const json::object& block, json::object* message) {
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
    PINGTI_RETURN_IF_ERROR(RefuseUnknown(path, block, kThinkingFields));
    PINGTI_RETURN_IF_ERROR(RequireString(path, block, "thinking"));
    append("reasoning_content", TextOf(block, "thinking"));
    return absl::OkStatus();
  }
  if (type == "tool_use") {
    if (!message->contains("tool_calls")) (*message)["tool_calls"] = json::array();
    return AddToolUse(path, block, &(*message)["tool_calls"].get_array());
  }
  return UnsupportedField(path + ".type",
                          Concat("'", type, "'; expected 'text', 'thinking' or 'tool_use'"));
}

absl::Status AddAssistantTurn(const std::string& path, const json::value& content,
                              json::array* out) {
  if (content.is_string()) {
    out->push_back(Message("assistant", View(content.get_string())));
    return absl::OkStatus();
  }
  if (!content.is_array()) return WrongType(path, content, "a string or an array");
  json::object message{{"role", "assistant"}};
  PINGTI_RETURN_IF_ERROR(ForEachPart(
      path, content.get_array(),
      [&](const std::string& block_path, std::string_view type, const json::object& block) {
        return AddAssistantBlock(block_path, type, block, &message);
      }));
  if (!message.contains("content") && !message.contains("tool_calls")) message["content"] = "";
  out->push_back(std::move(message));
  return absl::OkStatus();
}

absl::Status AddTurn(const std::string& path, const json::value& value, json::array* out) {
  PINGTI_ASSIGN_OR_RETURN(const json::object* object, RequireObject(path, value));
  const json::object& turn = *object;
  PINGTI_RETURN_IF_ERROR(RefuseUnknown(path, turn, kTurnFields));
  PINGTI_RETURN_IF_ERROR(RequireString(path, turn, "role"));
  const json::value* content = Member(turn, "content");
  if (content == nullptr) return MissingField(path + ".content");
  const std::string_view role = TextOf(turn, "role");
  if (role == "user") return AddUserTurn(path + ".content", *content, out);
  if (role == "assistant") return AddAssistantTurn(path + ".content", *content, out);
  if (role == "system") {
    PINGTI_ASSIGN_OR_RETURN(const std::string text, JoinTextBlocks(path + ".content", *content));
    out->push_back(Message("system", text));
    return absl::OkStatus();
  }
  return WrongValue(path + ".role", role, {"user", "assistant", "system"});
}

}  // namespace

absl::Status CheckCacheControl(const std::string& path, const json::object& object) {
  static constexpr std::array<std::string_view, 2> kKnown = {"type", "ttl"};
  const json::value* mark = Member(object, "cache_control");
  if (mark == nullptr) return absl::OkStatus();
  const std::string field = path.empty() ? "cache_control" : path + ".cache_control";
  if (!mark->is_object()) return WrongType(field, *mark, "an object");
  PINGTI_RETURN_IF_ERROR(RefuseUnknown(field, mark->get_object(), kKnown));
  PINGTI_RETURN_IF_ERROR(RequireString(field, mark->get_object(), "type"));
  if (mark->get_object().at("type") != "ephemeral") {
    return UnsupportedField(field + ".type", "expected 'ephemeral'");
  }
  const json::value* ttl = Member(mark->get_object(), "ttl");
  if (ttl == nullptr || *ttl == "5m" || *ttl == "1h") return absl::OkStatus();
  return FieldError(field + ".ttl", Concat("'", field, ".ttl' is ", json::serialize(*ttl),
                                           ", expected '5m' or '1h'"));
}

absl::StatusOr<json::array> TurnsToMessages(const json::value& turns, const json::value* system) {
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
    PINGTI_RETURN_IF_ERROR(AddTurn(Concat("messages[", i, "]"), list[i], &messages));
  }
  if (list.back().get_object().at("role") == "assistant") {
    return UnsupportedField(Concat("messages[", list.size() - 1, "].role"),
                            "the last message must be the user's; an assistant's words are not "
                            "continued");
  }
  return messages;
}

}  // namespace pingti::router
