// See messages_call.h.
#include "router/anthropic/messages_call.h"

#include <utility>

#include "common/base/status_macros.h"
#include "router/anthropic/parse.h"
#include "router/anthropic/writer.h"

namespace pingti::router {

const ErrorShape kAnthropicErrors = {&WriteAnthropicError, "request-id"};

absl::StatusOr<ParsedCall> ParseMessagesCall(CallInput input) {
  PINGTI_ASSIGN_OR_RETURN(ParsedRequest parsed,
                          ParseMessagesRequest(input.body, input.api_version));
  ParsedCall call;
  call.stream = parsed.stream;
  call.ignored = std::move(parsed.ignored);
  call.request = std::move(parsed.request);
  call.request.id = input.id;
  call.request.created_unix_s = input.created_unix_s;
  call.writer =
      std::make_unique<MessagesWriter>(std::move(input.id), input.answer_name(call.request.model));
  return call;
}

}  // namespace pingti::router
