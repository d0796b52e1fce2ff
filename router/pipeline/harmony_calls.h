// gpt-oss's answers as sources of grammars (common/grammar/tool_calls_source.h): calls and
// documents are messages beside others, which end the turn. Pure. Read next: call_syntax.h.
#pragma once

#include <string_view>
#include <vector>

#include "boost/json/fwd.hpp"
#include "router/worker_link/served_model.h"

namespace pingti::router {

// All marks of the format.
std::vector<std::string_view> HarmonyMarks();

// Whether the workers hold a model to messages: it is gpt-oss, and its marks are control tokens.
bool HoldsMessages(const ServedModel& model);

// Behind a message, where another one follows.
inline constexpr std::string_view kHarmonyNext = "<|end|><|start|>assistant";

// One of `calls`, whose "begin" is the tool's name, in each spelling of the header that models
// write; or in one of them, where nothing else may stand in the answer. REQUIRES: calls.
boost::json::object HarmonyCalls(const boost::json::array& calls);
boost::json::object HarmonyForcedCalls(boost::json::array calls);

// The member "messages": thoughts, preambles and words.
boost::json::object HarmonyMessages();

// Makes a frame that has `document` alone the last message's.
void IntoHarmonyMessage(boost::json::object* document);

}  // namespace pingti::router
