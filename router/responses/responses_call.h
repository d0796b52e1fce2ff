// POST /v1/responses as router/http serves it.
#pragma once

#include "router/api/http_call.h"

namespace pingti::router {

absl::StatusOr<ParsedCall> ParseResponsesCall(CallInput input);

extern const ErrorShape kResponsesErrors;

}  // namespace pingti::router
