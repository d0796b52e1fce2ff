// POST /v1/messages as router/http serves it.
#pragma once

#include "router/api/http_call.h"

namespace pingti::router {

absl::StatusOr<ParsedCall> ParseMessagesCall(CallInput input);

// {"type":"error","error":{...},"request_id":...}
extern const ErrorShape kAnthropicErrors;

}  // namespace pingti::router
