// The body of POST /v1/responses. What becomes of each field, router/api/field_tables.cc says.
//
// The router keeps no state, so what needs a stored response (previous_response_id, conversation,
// background) is refused. Pure; thread-safe. Read next: input_items.h, writer.h.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "router/openai/parse.h"

namespace pingti::router {

struct ParsedResponse {
  ParsedRequest chat;
  // Members of the response object that repeat the request: "\"tools\":[],...", no comma at the
  // end.
  std::string echo;
};

// Errors: InvalidArgument with the field's name in this API.
absl::StatusOr<ParsedResponse> ParseResponsesRequest(std::string_view body);

// An error about a chat field in this API's words.
absl::Status InResponsesWords(const absl::Status& status);

}  // namespace pingti::router
