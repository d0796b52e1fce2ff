// See api_error.h. The extra parts travel as status payloads.
#include "router/api/api_error.h"

#include <cstdint>
#include <cstdlib>
#include <optional>
#include <utility>

#include "absl/strings/cord.h"
#include "common/base/strings.h"

namespace pingti::router {
namespace {

constexpr char kParam[] = "pingti/param";
constexpr char kCode[] = "pingti/code";
constexpr size_t kMaxMessageBytes = 2'000;
constexpr size_t kMaxParamBytes = 200;
constexpr char kRetryAfter[] = "pingti/retry-after";

std::string Payload(const absl::Status& status, const char* key) {
  const absl::optional<absl::Cord> value = status.GetPayload(key);
  return value.has_value() ? std::string(*value) : std::string();
}

// The index that `param` has where `pattern` has "[]", as "[3]"; empty: none.
std::string IndexIn(std::string_view param, std::string_view pattern) {
  const size_t at = pattern.find("[]");
  if (at == std::string_view::npos || param.substr(0, at) != pattern.substr(0, at)) return "";
  const size_t end = param.find(']', at);
  return end == std::string_view::npos ? "" : std::string(param.substr(at, end + 1 - at));
}

std::string WithIndex(std::string_view pattern, std::string_view index) {
  const size_t at = pattern.find("[]");
  if (at == std::string_view::npos) return std::string(pattern);
  return Concat(pattern.substr(0, at), index, pattern.substr(at + 2));
}

}  // namespace

std::string Shorten(std::string_view text, size_t max_bytes) {
  if (text.size() <= max_bytes) return std::string(text);
  size_t end = max_bytes;
  // 10xxxxxx continues a character of UTF-8, which has at most four bytes.
  while (end > 0 && max_bytes - end < 4 && (static_cast<uint8_t>(text[end]) & 0xc0) == 0x80) --end;
  return Concat(text.substr(0, end), "...");
}

absl::Status ApiError(absl::StatusCode status, std::string message, std::string_view param,
                      std::string_view code) {
  absl::Status result(status, Shorten(message, kMaxMessageBytes));
  if (!param.empty()) result.SetPayload(kParam, absl::Cord(Shorten(param, kMaxParamBytes)));
  if (!code.empty()) result.SetPayload(kCode, absl::Cord(std::string(code)));
  return result;
}

absl::Status FieldError(std::string_view param, std::string message) {
  return ApiError(absl::StatusCode::kInvalidArgument, std::move(message), param, "invalid_value");
}

absl::Status UnsupportedField(std::string_view param, std::string_view why) {
  return ApiError(absl::StatusCode::kInvalidArgument,
                  Concat("'", param, "' is not supported: ", why), param, "unsupported_parameter");
}

absl::Status RenameFields(const absl::Status& status, std::span<const FieldName> names) {
  std::string message(status.message());
  std::string param = ErrorParam(status);
  for (const FieldName& name : names) {
    const std::string index = IndexIn(param, name.from);
    const std::string from = WithIndex(name.from, index);
    const bool is_under =
        param.starts_with(from) &&
        (param.size() == from.size() || param[from.size()] == '.' || param[from.size()] == '[');
    if (!is_under) continue;
    const std::string renamed = Concat(WithIndex(name.to, index), param.substr(from.size()));
    const std::string quoted = Concat("'", param, "'");
    for (size_t at = 0; (at = message.find(quoted, at)) != std::string::npos;) {
      const std::string replacement = Concat("'", renamed, "'");
      message.replace(at, quoted.size(), replacement);
      at += replacement.size();
    }
    param = renamed;
    break;
  }
  absl::Status result = ApiError(status.code(), std::move(message), param, ErrorCode(status));
  const int retry_after = RetryAfterSeconds(status);
  return retry_after > 0 ? WithRetryAfter(std::move(result), retry_after) : result;
}

std::string ErrorParam(const absl::Status& status) { return Payload(status, kParam); }
std::string ErrorCode(const absl::Status& status) { return Payload(status, kCode); }

int RetryAfterSeconds(const absl::Status& status) {
  return std::atoi(Payload(status, kRetryAfter).c_str());
}

absl::Status WithRetryAfter(absl::Status status, int seconds) {
  status.SetPayload(kRetryAfter, absl::Cord(Concat(seconds)));
  return status;
}

HttpError ToHttpError(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
      return {400, "invalid_request_error"};
    case absl::StatusCode::kUnauthenticated:
      return {401, "authentication_error"};
    case absl::StatusCode::kPermissionDenied:
      return {403, "permission_error"};
    case absl::StatusCode::kNotFound:
      return {404, "invalid_request_error"};
    case absl::StatusCode::kResourceExhausted:
      return {429, "rate_limit_error"};
    case absl::StatusCode::kCancelled:
      return {499, "client_closed_request"};
    case absl::StatusCode::kUnimplemented:
      return {501, "invalid_request_error"};
    case absl::StatusCode::kUnavailable:
      return {503, "service_unavailable_error"};
    case absl::StatusCode::kDeadlineExceeded:
      return {504, "timeout_error"};
    default:
      return {500, "server_error"};
  }
}

}  // namespace pingti::router
