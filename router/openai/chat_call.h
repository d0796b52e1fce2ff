// /v1/chat/completions and /v1/completions as router/http serves them.
#pragma once

#include "router/api/http_call.h"

namespace pingti::router {

absl::StatusOr<ParsedCall> ParseChatCall(CallInput input);
absl::StatusOr<ParsedCall> ParseCompletionCall(CallInput input);

extern const ErrorShape kOpenAiErrors;

}  // namespace pingti::router
