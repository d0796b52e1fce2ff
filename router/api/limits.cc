// See limits.h.
#include "router/api/limits.h"

#include <optional>
#include <string>
#include <string_view>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "router/api/api_error.h"

namespace pingti::router {
namespace {

constexpr uint32_t kMaxTopLogprobs = 20;

// `!(x in range)` rather than `x out of range`: NaN is out of every range.
absl::Status CheckRange(std::string_view field, const std::optional<double>& value, double least,
                        double most) {
  if (!value.has_value() || (*value >= least && *value <= most)) return absl::OkStatus();
  return FieldError(
      field, Concat("'", field, "' is ", *value, ", expected a number from ", least, " to ", most));
}

absl::Status CheckSize(std::string_view field, size_t size, std::string_view what, size_t most) {
  if (size <= most) return absl::OkStatus();
  return FieldError(field,
                    Concat("'", field, "' has ", size, " ", what, ", expected at most ", most));
}

absl::Status CheckSampling(const GenerationParams& params) {
  PINGTI_RETURN_IF_ERROR(CheckRange("temperature", params.temperature, 0, 2));
  PINGTI_RETURN_IF_ERROR(CheckRange("top_p", params.top_p, 0, 1));
  if (params.top_p.has_value() && *params.top_p == 0) {
    return FieldError("top_p", "'top_p' is 0, expected a number above 0 and at most 1");
  }
  PINGTI_RETURN_IF_ERROR(CheckRange("min_p", params.min_p, 0, 1));
  PINGTI_RETURN_IF_ERROR(CheckRange("presence_penalty", params.presence_penalty, -2, 2));
  PINGTI_RETURN_IF_ERROR(CheckRange("frequency_penalty", params.frequency_penalty, -2, 2));
  PINGTI_RETURN_IF_ERROR(CheckRange("repetition_penalty", params.repetition_penalty, 0.01, 10));
  if (params.top_logprobs > kMaxTopLogprobs) {
    return FieldError("top_logprobs", Concat("'top_logprobs' is ", params.top_logprobs,
                                             ", expected 0 to ", kMaxTopLogprobs));
  }
  if (params.top_logprobs > 0 && !params.logprobs) {
    return FieldError("top_logprobs", "'top_logprobs' needs 'logprobs': true");
  }
  PINGTI_RETURN_IF_ERROR(
      CheckSize("logit_bias", params.logit_bias.size(), "entries", kMaxLogitBiases));
  for (const auto& [id, bias] : params.logit_bias) {
    PINGTI_RETURN_IF_ERROR(CheckRange("logit_bias", bias, -100, 100));
  }
  return absl::OkStatus();
}

absl::Status CheckStops(const GenerationParams& params) {
  PINGTI_RETURN_IF_ERROR(CheckSize("stop", params.stop.size(), "strings", kMaxStops));
  size_t bytes = 0;
  for (const std::string& stop : params.stop) {
    if (stop.empty()) return FieldError("stop", "'stop' has an empty string");
    bytes += stop.size();
  }
  PINGTI_RETURN_IF_ERROR(CheckSize("stop", bytes, "bytes", kMaxStopBytes));
  return CheckSize("stop_token_ids", params.stop_token_ids.size(), "ids", kMaxStopTokenIds);
}

}  // namespace

absl::Status CheckLimits(const ChatSize& chat) {
  PINGTI_RETURN_IF_ERROR(CheckSize("messages", chat.messages, "messages", kMaxMessages));
  PINGTI_RETURN_IF_ERROR(CheckSize("messages", chat.tool_calls, "tool calls", kMaxToolCalls));
  return CheckSize("tools", chat.tools, "tools", kMaxTools);
}

absl::Status CheckLimits(const GenerationRequest& request) {
  const GenerationParams& params = request.params;
  if (params.n < 1 || params.n > kMaxChoices) {
    return FieldError("n", Concat("'n' is ", params.n, ", expected 1 to ", kMaxChoices));
  }
  if (params.num_beams < 1 || params.best_of == 0u) {
    const std::string_view field = params.num_beams < 1 ? "num_beams" : "best_of";
    return FieldError(field, Concat("'", field, "' is 0, expected 1 to ", kMaxChoices));
  }
  if (params.width() > kMaxChoices) {
    const std::string_view field = params.num_beams > 1 ? "num_beams" : "best_of";
    return FieldError(
        field, Concat("'", field, "' is ", params.width(), ", expected at most ", kMaxChoices));
  }
  if (request.num_sequences() > kMaxSequences) {
    const std::string_view field = params.width() == params.n ? "n"
                                   : params.num_beams > 1     ? "num_beams"
                                                              : "best_of";
    return FieldError(field, Concat("'", field, "' times the number of prompts is ",
                                    request.num_sequences(), ", expected at most ", kMaxSequences));
  }
  PINGTI_RETURN_IF_ERROR(CheckSampling(params));
  PINGTI_RETURN_IF_ERROR(CheckStops(params));
  if (params.priority < -kMaxPriority || params.priority > kMaxPriority) {
    return FieldError("priority", Concat("'priority' is ", params.priority, ", expected ",
                                         -kMaxPriority, " to ", kMaxPriority));
  }
  if (params.min_tokens > 0 && params.max_tokens.has_value() &&
      params.min_tokens > *params.max_tokens) {
    return FieldError("min_tokens", Concat("'min_tokens' is ", params.min_tokens,
                                           ", above 'max_tokens' ", *params.max_tokens));
  }
  return absl::OkStatus();
}

}  // namespace pingti::router
