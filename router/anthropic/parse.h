// The bodies of POST /v1/messages and /v1/messages/count_tokens. What becomes of each field,
// router/api/field_tables.cc says.
//
// Pure; thread-safe. Source: Anthropic's API reference. Read next: messages.h, writer.h.
#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "router/openai/parse.h"

namespace pingti::router {

// `version`: the header "anthropic-version", empty for none. Errors: InvalidArgument with the
// field's name in this API.
absl::StatusOr<ParsedRequest> ParseMessagesRequest(std::string_view body, std::string_view version);
// The same without the fields about the answer.
absl::StatusOr<ParsedRequest> ParseCountTokensRequest(std::string_view body);

// An error about a chat field in this API's words.
absl::Status InAnthropicWords(const absl::Status& status);

}  // namespace pingti::router
