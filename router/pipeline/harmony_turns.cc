// See harmony_turns.h.
#include "router/pipeline/harmony_turns.h"

#include <utility>

#include "boost/json.hpp"

namespace pingti::router {
namespace json = boost::json;
namespace {

bool IsResult(const json::value& message) { return message.at("role") == "tool"; }

bool HasText(const json::object& message, const char* member) {
  const json::value* text = message.if_contains(member);
  return text != nullptr && text->is_string() && !text->get_string().empty();
}

void FitThought(json::object* message) {
  if (const json::value* thought = message->if_contains("reasoning_content")) {
    (*message)["thinking"] = json::value(*thought);
  }
  if (!message->contains("tool_calls") || !HasText(*message, "thinking")) return;
  if (!HasText(*message, "content")) return;
  json::string& thought = (*message)["thinking"].get_string();
  thought.append("\n").append(message->at("content").get_string());
  (*message)["content"] = "";
}

// Moves the results of `call`, or of no call in particular, from [begin, end) to `out`.
void MoveResults(const json::value* call, json::array::iterator begin, json::array::iterator end,
                 json::array* out) {
  for (auto it = begin; it != end; ++it) {
    if (it->is_null()) continue;  // moved before
    const bool belongs = call == nullptr || it->at("tool_call_id") == call->at("id");
    if (belongs) out->push_back(std::exchange(*it, nullptr));
  }
}

json::array WithOneCallEach(json::array messages) {
  json::array out;
  for (auto it = messages.begin(); it != messages.end();) {
    const auto turn = it++;
    json::value* member = turn->as_object().if_contains("tool_calls");
    if (member == nullptr || member->as_array().size() < 2) {
      out.push_back(std::move(*turn));
      continue;
    }
    const auto results = it;
    while (it != messages.end() && IsResult(*it)) ++it;
    json::array calls = std::move(member->as_array());
    json::object next = std::move(turn->as_object());
    for (const json::value& call : calls) {
      next["tool_calls"] = json::array{call};
      out.push_back(std::move(next));
      MoveResults(&call, results, it, &out);
      next = {{"role", "assistant"}, {"content", ""}};
    }
    MoveResults(nullptr, results, it, &out);
  }
  return out;
}

}  // namespace

void FitHarmonyTemplate(json::object* context) {
  json::array& messages = context->at("messages").as_array();
  for (json::value& message : messages) FitThought(&message.as_object());
  messages = WithOneCallEach(std::move(messages));
  json::value* tools = context->if_contains("tools");
  if (tools == nullptr) return;
  for (json::value& tool : tools->as_array()) {
    tool.at("function").as_object().emplace("description", "");
  }
}

}  // namespace pingti::router
