// See writer.h.
#include "router/anthropic/writer.h"

#include <algorithm>
#include <utility>

#include "boost/json.hpp"
#include "common/base/strings.h"
#include "router/anthropic/parse.h"
#include "router/api/api_error.h"
#include "router/api/json_text.h"

namespace pingti::router {
namespace {

namespace json = boost::json;

void AppendEvent(std::string_view type, std::string_view members, std::string* out) {
  BeginTypedEvent(type, out);
  *out += Concat(members, "}\n\n");
}

// The three input counts add up to the prompt; nothing is ever counted as written to a cache.
std::string UsageJson(const UsageCounts& usage) {
  const uint32_t cached = std::min(usage.cached_prompt_tokens, usage.prompt_tokens);
  return Concat("{\"input_tokens\":", usage.prompt_tokens - cached,
                ",\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":", cached,
                ",\"output_tokens\":", usage.completion_tokens, "}");
}

std::string StopJson(FinishReason finish, const std::string& matched_stop) {
  std::string_view reason = "end_turn";
  if (finish == FinishReason::kLength) reason = "max_tokens";
  if (finish == FinishReason::kToolCalls) reason = "tool_use";
  if (finish == FinishReason::kStop && !matched_stop.empty()) reason = "stop_sequence";
  return Concat("\"stop_reason\":\"", reason, "\",\"stop_sequence\":",
                reason == "stop_sequence" ? JsonString(matched_stop) : std::string("null"));
}

std::string ToolUseJson(const ToolCallDelta& call, std::string_view input) {
  return Concat("{\"type\":\"tool_use\",\"id\":", JsonString(call.id),
                ",\"name\":", JsonString(call.name), ",\"input\":", input, "}");
}

// The reference asks for an object. A model's words need not be one; then they are kept as they are
// under a name that no schema has.
std::string InputJson(const std::string& arguments) {
  if (arguments.empty()) return "{}";
  boost::system::error_code error;
  const json::value parsed = json::parse(arguments, error);
  if (!error && parsed.is_object()) return arguments;
  return Concat("{\"INVALID_JSON\":", JsonString(arguments), "}");
}

std::string_view ErrorType(int http_status) {
  switch (http_status) {
    case 400:
      return "invalid_request_error";
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 429:
      return "rate_limit_error";
    case 503:
      return "overloaded_error";
    case 504:
      return "timeout_error";
    default:
      return http_status < 500 ? "invalid_request_error" : "api_error";
  }
}

std::string ErrorJson(const absl::Status& status) {
  const absl::Status error = InAnthropicWords(status);
  const std::string param = ErrorParam(error);
  std::string message(error.message());
  // This shape has no param: the message has to name the field.
  if (!param.empty() && message.find(param) == std::string::npos) {
    message = Concat(param, ": ", message);
  }
  // What Anthropic's clients look for before they send the whole conversation instead.
  const std::string_view details =
      param == "thread" ? ",\"details\":{\"error_code\":\"thread_unsupported_request\","
                          "\"unsupported\":[\"thread\"]}"
                        : "";
  return Concat("{\"type\":\"", ErrorType(ToHttpError(status).status),
                "\",\"message\":", JsonString(message), details, "}");
}

}  // namespace

MessagesWriter::MessagesWriter(std::string id, std::string_view model)
    : id_(std::move(id)), model_json_(JsonString(model)) {}

std::string MessagesWriter::Head() const {
  return Concat("{\"id\":\"", id_,
                "\",\"type\":\"message\",\"role\":\"assistant\",\"model\":", model_json_,
                ",\"content\":");
}

std::string MessagesWriter::Whole(const std::vector<ChoiceAnswer>& choices,
                                  const UsageCounts& usage) {
  const ChoiceAnswer& answer = choices.front();
  std::string blocks;
  const auto add = [&blocks](const std::string& block) {
    if (!blocks.empty()) blocks += ',';
    blocks += block;
  };
  if (!answer.reasoning.empty()) {
    add(Concat("{\"type\":\"thinking\",\"thinking\":", JsonString(answer.reasoning),
               ",\"signature\":\"\"}"));
  }
  if (!answer.content.empty()) {
    add(Concat("{\"type\":\"text\",\"text\":", JsonString(answer.content), ",\"citations\":null}"));
  }
  for (const ToolCallDelta& call : answer.tool_calls) {
    add(ToolUseJson(call, InputJson(call.arguments)));
  }
  return Concat(Head(), "[", blocks, "],", StopJson(answer.finish, answer.matched_stop),
                ",\"usage\":", UsageJson(usage), "}");
}

void MessagesWriter::Begin(std::string* out) {
  if (std::exchange(begun_, true)) return;
  AppendEvent("message_start",
              Concat(",\"message\":", Head(), "[],\"stop_reason\":null,\"stop_sequence\":null,",
                     "\"usage\":", UsageJson({}), "}"),
              out);
  AppendEvent("ping", "", out);
}

void MessagesWriter::OpenBlock(Kind kind, std::string_view block, std::string* out) {
  CloseBlock(out);
  open_ = kind;
  AppendEvent("content_block_start",
              Concat(",\"index\":", next_block_, ",\"content_block\":", block), out);
}

void MessagesWriter::CloseBlock(std::string* out) {
  if (open_ == Kind::kNone) return;
  // A thought ends with its signature; there is nothing here to sign it against.
  if (open_ == Kind::kThinking) BlockDelta("signature_delta", "signature", "", out);
  open_ = Kind::kNone;
  AppendEvent("content_block_stop", Concat(",\"index\":", next_block_++), out);
}

void MessagesWriter::BlockDelta(std::string_view type, std::string_view member,
                                std::string_view text, std::string* out) const {
  AppendEvent("content_block_delta",
              Concat(",\"index\":", next_block_, ",\"delta\":{\"type\":\"", type, "\",\"", member,
                     "\":", JsonString(text), "}"),
              out);
}

void MessagesWriter::Delta(const ChoiceDelta& delta, std::string* out) {
  Begin(out);
  if (!delta.reasoning.empty()) {
    if (open_ != Kind::kThinking) {
      OpenBlock(Kind::kThinking, "{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}",
                out);
    }
    BlockDelta("thinking_delta", "thinking", delta.reasoning, out);
  }
  if (!delta.content.empty()) {
    if (open_ != Kind::kText) {
      OpenBlock(Kind::kText, "{\"type\":\"text\",\"text\":\"\",\"citations\":null}", out);
    }
    BlockDelta("text_delta", "text", delta.content, out);
  }
  for (const ToolCallDelta& call : delta.tool_calls) {
    if (open_ != Kind::kToolUse || open_call_ != call.index) {
      OpenBlock(Kind::kToolUse, ToolUseJson(call, "{}"), out);
      open_call_ = call.index;
    }
    if (!call.arguments.empty()) {
      BlockDelta("input_json_delta", "partial_json", call.arguments, out);
    }
  }
  if (delta.finish != FinishReason::kNone) {
    finish_ = delta.finish;
    matched_stop_ = delta.matched_stop;
  }
}

void MessagesWriter::Last(const UsageCounts& usage, std::string* out) {
  Begin(out);
  CloseBlock(out);
  AppendEvent(
      "message_delta",
      Concat(",\"delta\":{", StopJson(finish_, matched_stop_), "},\"usage\":", UsageJson(usage)),
      out);
  AppendEvent("message_stop", "", out);
}

void MessagesWriter::Error(const absl::Status& status, std::string* out) {
  AppendEvent("error", Concat(",\"error\":", ErrorJson(status)), out);
}

void MessagesWriter::KeepAlive(std::string* out) {
  Begin(out);
  AppendEvent("ping", "", out);
}

std::string WriteAnthropicError(const absl::Status& status, std::string_view request_id) {
  return Concat("{\"type\":\"error\",\"error\":", ErrorJson(status),
                ",\"request_id\":", JsonString(request_id), "}");
}

std::string WriteTokenCount(size_t num_tokens) {
  return Concat("{\"input_tokens\":", num_tokens, "}");
}

}  // namespace pingti::router
