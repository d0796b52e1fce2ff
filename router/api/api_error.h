// Errors a client sees: an absl::Status that carries OpenAI's `param` and `code`, and the one place
// where a status becomes an HTTP status. (gRPC's codes are absl's own numbers.)
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace pingti::router {

// `text`, or its beginning and "..." where it has more than `max_bytes` bytes; no character is cut.
std::string Shorten(std::string_view text, size_t max_bytes);

// A status about one field of a request. `code` may be empty (JSON null). What quotes a client's
// own words at length is cut: it goes into logs and answers.
absl::Status ApiError(absl::StatusCode status, std::string message, std::string_view param,
                      std::string_view code);

// InvalidArgument naming the field.
absl::Status FieldError(std::string_view param, std::string message);
// InvalidArgument with code "unsupported_parameter"; the message names the field.
absl::Status UnsupportedField(std::string_view param, std::string_view why);

// The same error in the words of an API that has other names: a field that is `from` or lies under
// it becomes `to`, in the param and where the message quotes it. "[]" at the end of a list's name
// stands for any index: {"tools[].function", "tools[]"}.
struct FieldName {
  std::string_view from;
  std::string_view to;
};
absl::Status RenameFields(const absl::Status& status, std::span<const FieldName> names);

// The parts, empty when the status carries none.
std::string ErrorParam(const absl::Status& status);
std::string ErrorCode(const absl::Status& status);
// Seconds for Retry-After; 0: none.
int RetryAfterSeconds(const absl::Status& status);
absl::Status WithRetryAfter(absl::Status status, int seconds);

struct HttpError {
  int status;
  std::string_view type;  // OpenAI's error.type
};
HttpError ToHttpError(const absl::Status& status);

}  // namespace pingti::router
