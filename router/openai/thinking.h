// The ways in which clients say whether and how long a model thinks: OpenAI's reasoning_effort,
// DeepSeek's thinking, Qwen's enable_thinking, OpenRouter's reasoning.
#pragma once

#include "absl/status/status.h"
#include "boost/json/fwd.hpp"
#include "router/api/request.h"

namespace pingti::router {

// Sets the switches that templates have for it (enable_thinking, thinking, reasoning_effort) in
// `context`, where chat_template_kwargs did not, and the request's thinking_budget. A model without
// a switch is not changed by them. Errors: InvalidArgument naming the field.
absl::Status ReadThinking(const boost::json::object& body, boost::json::object* context,
                          GenerationRequest* request);

}  // namespace pingti::router
