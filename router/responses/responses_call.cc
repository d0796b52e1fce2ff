// See responses_call.h.
#include "router/responses/responses_call.h"

#include <utility>

#include "common/base/status_macros.h"
#include "router/openai/write.h"
#include "router/responses/parse.h"
#include "router/responses/writer.h"

namespace pingti::router {

const ErrorShape kResponsesErrors = {[](const absl::Status& status, std::string_view) {
                                       return WriteError(InResponsesWords(status));
                                     },
                                     "x-request-id"};

absl::StatusOr<ParsedCall> ParseResponsesCall(CallInput input) {
  PINGTI_ASSIGN_OR_RETURN(ParsedResponse parsed, ParseResponsesRequest(input.body));
  ParsedCall call;
  call.stream = parsed.chat.stream;
  call.ignored = std::move(parsed.chat.ignored);
  call.request = std::move(parsed.chat.request);
  call.request.id = input.id;
  call.request.created_unix_s = input.created_unix_s;
  call.writer =
      std::make_unique<ResponsesWriter>(std::move(input.id), input.answer_name(call.request.model),
                                        input.created_unix_s, std::move(parsed.echo));
  return call;
}

}  // namespace pingti::router
