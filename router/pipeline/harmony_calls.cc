// See harmony_calls.h.
#include "router/pipeline/harmony_calls.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "boost/json.hpp"
#include "router/pipeline/tool_call_marks.h"

namespace pingti::router {
namespace json = boost::json;
namespace {

json::object MessageFrame(const char* begin, json::array behind, json::array calls) {
  return {{"begin", begin}, {"behind", std::move(behind)}, {"separator", ""}, {"end", ""},
          {"many", false},  {"calls", std::move(calls)}};
}

json::array BehindRecipient() {
  return {" <|constrain|>json<|message|>", "<|constrain|>json<|message|>", " json<|message|>",
          "<|message|>"};
}

}  // namespace

std::vector<std::string_view> HarmonyMarks() {
  return {kHarmonyStart, kHarmonyChannel, kHarmonyConstrain, kHarmonyMessage,
          kHarmonyEnd,   kHarmonyReturn,  kHarmonyCall};
}

bool HoldsMessages(const ServedModel& model) {
  if (model.reasoning != ReasoningFormat::kHarmony || model.tokenizer == nullptr) return false;
  const std::vector<std::string_view> marks = HarmonyMarks();
  return model.message_grammars &&
         std::all_of(marks.begin(), marks.end(), [&](std::string_view mark) {
           const std::optional<text::TokenId> id = model.tokenizer->FindToken(mark);
           return id.has_value() && model.tokenizer->IsSpecial(*id);
         });
}

json::object HarmonyCalls(const json::array& calls) {
  json::object frame = HarmonyForcedCalls(calls);
  json::array role_first;  // the recipient stands in the role, before the channel
  for (const char* channel : {"<|channel|>commentary", "<|channel|>analysis"}) {
    for (const json::value& behind : BehindRecipient()) {
      json::string& text = role_first.emplace_back(json::string(channel)).get_string();
      text.append(behind.get_string());
    }
  }
  frame["others"] =
      json::array{MessageFrame("<|channel|>analysis to=functions.", BehindRecipient(), calls),
                  MessageFrame(" to=functions.", std::move(role_first), calls)};
  return frame;
}

json::object HarmonyForcedCalls(json::array calls) {
  return MessageFrame("<|channel|>commentary to=functions.", BehindRecipient(), std::move(calls));
}

json::object HarmonyMessages() {
  json::array begins;
  for (const char* channel : {"analysis", "commentary", "final"}) {
    json::string& begin = begins.emplace_back(json::string("<|channel|>")).get_string();
    begin.append(channel).append("<|message|>");
  }
  return {{"begins", std::move(begins)},
          {"end", json::string_view(kHarmonyNext.data(), kHarmonyNext.size())}};
}

void IntoHarmonyMessage(json::object* document) {
  (*document)["begin"] = "<|channel|>final";
  (*document)["behind"] = json::array{"<|message|>", " <|constrain|>json<|message|>"};
}

}  // namespace pingti::router
