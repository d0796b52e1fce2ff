// See input_items.h.
#include "router/responses/input_items.h"

#include <array>
#include <span>
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

using Names = std::span<const std::string_view>;

// The text of a string or of an array of text parts.
absl::StatusOr<std::string> JoinParts(const std::string& path, const json::value& content,
                                      Names part_types) {
  return JoinText(path, content,
                  [part_types](const std::string& part_path, std::string_view type,
                               const json::object& part) -> absl::StatusOr<std::string_view> {
                    if (!IsIn(type, part_types)) {
                      return UnsupportedField(
                          part_path + ".type",
                          Concat("content part '", type, "'; only text is taken here"));
                    }
                    const char* member = type == "refusal" ? "refusal" : "text";
                    PINGTI_RETURN_IF_ERROR(RequireString(part_path, part, member));
                    return TextOf(part, member);
                  });
}

// Gathers messages; the assistant's last one stays open for more of the same turn.
class MessageList {
 public:
  void Add(std::string_view role, std::string_view content) {
    assistant_open_ = false;
    messages_.push_back(
        json::object{{"role", json::string(role)}, {"content", json::string(content)}});
  }
  void AddToolResult(std::string_view call_id, std::string_view text) {
    Add("tool", text);
    messages_.back().get_object()["tool_call_id"] = json::string(call_id);
  }
  void AddAssistantText(std::string_view text) {
    OpenAssistant(Next::kText)["content"] = json::string(text);
  }
  void AddReasoning(std::string_view text) {
    OpenAssistant(Next::kReasoning)["reasoning_content"] = json::string(text);
  }
  void AddCall(json::object call) {
    json::object& message = OpenAssistant(Next::kCall);
    if (!message.contains("tool_calls")) message["tool_calls"] = json::array();
    message["tool_calls"].get_array().push_back(std::move(call));
  }
  // A turn of reasoning alone still needs words for the template.
  json::array Take() {
    for (json::value& message : messages_) {
      json::object& object = message.get_object();
      if (!object.contains("content") && !object.contains("tool_calls")) object["content"] = "";
    }
    return std::move(messages_);
  }

 private:
  // In the order in which they stand in a turn.
  enum class Next { kReasoning, kText, kCall };

  // The open turn, or a new one when the open one is past `next`.
  json::object& OpenAssistant(Next next) {
    if (assistant_open_) {
      json::object& last = messages_.back().get_object();
      const bool has_text = last.contains("content") || last.contains("tool_calls");
      const bool is_past =
          (next == Next::kText && has_text) ||
          (next == Next::kReasoning && (has_text || last.contains("reasoning_content")));
      if (!is_past) return last;
    }
    assistant_open_ = true;
    messages_.push_back(json::object{{"role", "assistant"}});
    return messages_.back().get_object();
  }

  json::array messages_;
  bool assistant_open_ = false;
};

absl::Status AddMessage(const std::string& path, const json::object& item, MessageList* list) {
  static constexpr std::array<std::string_view, 4> kParts = {"input_text", "text", "output_text",
                                                             "refusal"};
  PINGTI_RETURN_IF_ERROR(RequireString(path, item, "role"));
  const std::string_view role = TextOf(item, "role");
  if (role != "user" && role != "assistant" && role != "system" && role != "developer") {
    return WrongValue(path + ".role", role, {"user", "assistant", "system", "developer"});
  }
  const json::value* content = Member(item, "content");
  if (content == nullptr) return MissingField(path + ".content");
  PINGTI_ASSIGN_OR_RETURN(const std::string text, JoinParts(path + ".content", *content, kParts));
  if (role == "assistant") {
    list->AddAssistantText(text);
  } else {
    list->Add(role, text);
  }
  return absl::OkStatus();
}

absl::Status AddCall(const std::string& path, const json::object& item, MessageList* list) {
  for (const char* name : {"call_id", "name", "arguments"}) {
    PINGTI_RETURN_IF_ERROR(RequireString(path, item, name));
  }
  list->AddCall(
      FunctionCall(TextOf(item, "call_id"), TextOf(item, "name"), TextOf(item, "arguments")));
  return absl::OkStatus();
}

// A call of a tool that takes text: templates know calls with arguments only.
absl::Status AddCustomCall(const std::string& path, const json::object& item, MessageList* list) {
  for (const char* name : {"call_id", "name", "input"}) {
    PINGTI_RETURN_IF_ERROR(RequireString(path, item, name));
  }
  list->AddCall(CustomCall(TextOf(item, "call_id"), TextOf(item, "name"), TextOf(item, "input")));
  return absl::OkStatus();
}

absl::Status AddCallOutput(const std::string& path, const json::object& item, MessageList* list) {
  static constexpr std::array<std::string_view, 3> kParts = {"input_text", "text", "output_text"};
  PINGTI_RETURN_IF_ERROR(RequireString(path, item, "call_id"));
  const json::value* output = Member(item, "output");
  if (output == nullptr) return MissingField(path + ".output");
  PINGTI_ASSIGN_OR_RETURN(const std::string text, JoinParts(path + ".output", *output, kParts));
  list->AddToolResult(TextOf(item, "call_id"), text);
  return absl::OkStatus();
}

absl::Status AddReasoning(const std::string& path, const json::object& item, MessageList* list) {
  static constexpr std::array<std::string_view, 1> kParts = {"reasoning_text"};
  static constexpr std::array<std::string_view, 1> kSummaryParts = {"summary_text"};
  std::string text;
  if (const json::value* summary = Member(item, "summary")) {
    PINGTI_ASSIGN_OR_RETURN(text, JoinParts(path + ".summary", *summary, kSummaryParts));
  }
  // The whole thought, where it is there, says more than its summary.
  if (const json::value* content = Member(item, "content")) {
    PINGTI_ASSIGN_OR_RETURN(text, JoinParts(path + ".content", *content, kParts));
  }
  if (!text.empty()) list->AddReasoning(text);
  return absl::OkStatus();
}

// What a server's own tool did, as "web_search_call": it has no words of the conversation.
bool IsForeignCall(std::string_view type) { return type.ends_with("_call"); }

absl::Status AddItem(const std::string& path, const json::value& value, MessageList* list,
                     IgnoredFields* ignored) {
  PINGTI_ASSIGN_OR_RETURN(const json::object* object, RequireObject(path, value));
  const json::object& item = *object;
  if (!item.contains("type")) return AddMessage(path, item, list);
  PINGTI_RETURN_IF_ERROR(RequireString(path, item, "type"));
  const std::string_view type = TextOf(item, "type");
  if (type == "message") return AddMessage(path, item, list);
  if (type == "function_call") return AddCall(path, item, list);
  if (type == "custom_tool_call") return AddCustomCall(path, item, list);
  if (type == "function_call_output" || type == "custom_tool_call_output") {
    return AddCallOutput(path, item, list);
  }
  if (type == "reasoning") return AddReasoning(path, item, list);
  if (type == "item_reference") {
    return UnsupportedField(path + ".type",
                            "'item_reference': nothing is stored here; send the "
                            "item itself");
  }
  if (IsForeignCall(type)) {
    ignored->Add(IsPlainName(type) ? Concat("input[", type, "]") : "input[*]");
    return absl::OkStatus();
  }
  return UnsupportedField(path + ".type", Concat("item '", type,
                                                 "'; expected 'message', 'function_call', "
                                                 "'function_call_output' or 'reasoning'"));
}

}  // namespace

absl::StatusOr<json::array> ItemsToMessages(const json::value& input,
                                            const json::value* instructions,
                                            IgnoredFields* ignored) {
  MessageList list;
  if (instructions != nullptr) {
    std::string text;
    PINGTI_RETURN_IF_ERROR(ReadString("instructions", *instructions, &text));
    list.Add("system", text);
  }
  if (input.is_string()) {
    list.Add("user", View(input.get_string()));
    return list.Take();
  }
  if (!input.is_array()) return WrongType("input", input, "a string or an array");
  if (input.get_array().empty()) {
    return FieldError("input", "Invalid 'input': empty array. Expected at least one item.");
  }
  for (size_t i = 0; i < input.get_array().size(); ++i) {
    PINGTI_RETURN_IF_ERROR(AddItem(Concat("input[", i, "]"), input.get_array()[i], &list, ignored));
  }
  return list.Take();
}

}  // namespace pingti::router
