// See write.h. Member order is that of OpenAI's own answers.
#include "router/openai/write.h"

#include <algorithm>
#include <charconv>
#include <iterator>
#include <utility>

#include "common/base/strings.h"
#include "common/net/sse.h"
#include "router/api/api_error.h"
#include "router/api/json_text.h"
#include "router/openai/write_logprobs.h"

namespace pingti::router {
namespace {

bool IsChat(const AnswerHead& head) { return head.kind == GenerationRequest::Kind::kChat; }

std::string HeadText(const AnswerHead& head, std::string_view object) {
  std::string out = "{\"id\":";
  AppendJsonString(head.id, &out);
  out += Concat(",\"object\":\"", object, "\",\"created\":", head.created_unix_s, ",\"model\":");
  AppendJsonString(head.model, &out);
  out += ",\"choices\":[";
  return out;
}

void AppendUsage(const UsageCounts& usage, std::string* out) {
  const uint32_t cached = std::min(usage.cached_prompt_tokens, usage.prompt_tokens);
  *out += Concat("{\"prompt_tokens\":", usage.prompt_tokens,
                 ",\"completion_tokens\":", usage.completion_tokens,
                 ",\"total_tokens\":", usage.prompt_tokens + usage.completion_tokens,
                 ",\"prompt_tokens_details\":{\"cached_tokens\":", cached,
                 "},\"completion_tokens_details\":{\"reasoning_tokens\":", usage.reasoning_tokens,
                 "},\"prompt_cache_hit_tokens\":", cached,
                 ",\"prompt_cache_miss_tokens\":", usage.prompt_tokens - cached, "}");
}

void AppendFinish(FinishReason finish, std::string* out) {
  *out += ",\"finish_reason\":";
  if (finish == FinishReason::kNone) {
    *out += "null";
  } else {
    *out += Concat("\"", FinishReasonName(finish), "\"");
  }
}

// `is_delta`: with "index", and id and name only when given.
void AppendToolCall(const ToolCallDelta& call, bool is_delta, std::string* out) {
  *out += '{';
  if (is_delta) *out += Concat("\"index\":", call.index, ",");
  if (!is_delta || !call.id.empty()) {
    *out += "\"id\":";
    AppendJsonString(call.id, out);
    *out += call.is_custom ? ",\"type\":\"custom\"," : ",\"type\":\"function\",";
  }
  *out += call.is_custom ? "\"custom\":{" : "\"function\":{";
  if (!is_delta || !call.name.empty()) {
    *out += "\"name\":";
    AppendJsonString(call.name, out);
    *out += ',';
  }
  *out += call.is_custom ? "\"input\":" : "\"arguments\":";
  AppendJsonString(call.arguments, out);
  *out += "}}";
}

void AppendMessage(const ChoiceAnswer& choice, std::string* out) {
  *out += "\"message\":{\"role\":\"assistant\",\"content\":";
  if (choice.content.empty() && !choice.tool_calls.empty()) {
    *out += "null";
  } else {
    AppendJsonString(choice.content, out);
  }
  if (!choice.reasoning.empty()) {
    *out += ",\"reasoning_content\":";
    AppendJsonString(choice.reasoning, out);
  }
  *out += ",\"refusal\":null";
  if (!choice.tool_calls.empty()) {
    *out += ",\"tool_calls\":[";
    for (size_t i = 0; i < choice.tool_calls.size(); ++i) {
      if (i > 0) *out += ',';
      AppendToolCall(choice.tool_calls[i], /*is_delta=*/false, out);
    }
    *out += ']';
  }
  *out += '}';
}

}  // namespace

std::string WriteAnswer(const AnswerHead& head, const std::vector<ChoiceAnswer>& choices,
                        const UsageCounts& usage) {
  std::string out = HeadText(head, IsChat(head) ? "chat.completion" : "text_completion");
  for (size_t i = 0; i < choices.size(); ++i) {
    const ChoiceAnswer& choice = choices[i];
    if (i > 0) out += ',';
    out += Concat("{\"index\":", i, ",");
    if (IsChat(head)) {
      AppendMessage(choice, &out);
    } else {
      out += "\"text\":";
      AppendJsonString(choice.content, &out);
    }
    out += ",\"logprobs\":";
    AppendLogprobs(head, head.logprobs ? &choice.logprobs : nullptr, &out);
    AppendFinish(choice.finish, &out);
    out += '}';
  }
  out += "],\"usage\":";
  AppendUsage(usage, &out);
  out += '}';
  return out;
}

ChunkWriter::ChunkWriter(const AnswerHead& head, size_t num_choices, bool include_usage)
    : head_(head),
      include_usage_(include_usage),
      prefix_("data: " +
              HeadText(head, IsChat(head) ? "chat.completion.chunk" : "text_completion")),
      role_sent_(num_choices, false) {}

void ChunkWriter::Begin(uint32_t choice, std::string* out) const {
  char index[16];
  const auto end = std::to_chars(std::begin(index), std::end(index), choice);
  out->append(prefix_).append("{\"index\":").append(std::begin(index), end.ptr);
  *out += IsChat(head_) ? ",\"delta\":{" : ",\"text\":";
}

void ChunkWriter::End(FinishReason finish, const std::vector<TokenLogprob>* logprobs,
                      std::string* out) const {
  if (IsChat(head_)) *out += '}';
  if (finish == FinishReason::kNone && logprobs == nullptr) {
    *out += ",\"logprobs\":null,\"finish_reason\":null";
  } else {
    *out += ",\"logprobs\":";
    AppendLogprobs(head_, logprobs, out);
    AppendFinish(finish, out);
  }
  *out += include_usage_ ? "}],\"usage\":null}\n\n" : "}]}\n\n";
}

void ChunkWriter::Delta(const ChoiceDelta& delta, std::string* out) {
  if (IsChat(head_)) {
    ChatDelta(delta, out);
  } else {
    CompletionDelta(delta, out);
  }
}

void ChunkWriter::ChatDelta(const ChoiceDelta& delta, std::string* out) {
  if (!role_sent_[delta.index]) {
    role_sent_[delta.index] = true;
    Begin(delta.index, out);
    *out += "\"role\":\"assistant\",\"content\":\"\"";
    End(FinishReason::kNone, nullptr, out);
  }
  // Logprobs go with the first event; alone they come with empty content.
  const std::vector<TokenLogprob>* logprobs =
      head_.logprobs && !delta.logprobs.empty() ? &delta.logprobs : nullptr;
  if (!delta.reasoning.empty()) {
    Begin(delta.index, out);
    *out += "\"reasoning_content\":";
    AppendJsonString(delta.reasoning, out);
    End(FinishReason::kNone, std::exchange(logprobs, nullptr), out);
  }
  if (!delta.content.empty() || (logprobs != nullptr && delta.tool_calls.empty())) {
    Begin(delta.index, out);
    *out += "\"content\":";
    AppendJsonString(delta.content, out);
    End(FinishReason::kNone, std::exchange(logprobs, nullptr), out);
  }
  for (const ToolCallDelta& call : delta.tool_calls) {
    Begin(delta.index, out);
    *out += "\"tool_calls\":[";
    AppendToolCall(call, /*is_delta=*/true, out);
    *out += ']';
    End(FinishReason::kNone, std::exchange(logprobs, nullptr), out);
  }
  if (delta.finish != FinishReason::kNone) {
    Begin(delta.index, out);
    End(delta.finish, nullptr, out);
  }
}

void ChunkWriter::CompletionDelta(const ChoiceDelta& delta, std::string* out) {
  Begin(delta.index, out);
  AppendJsonString(delta.content, out);
  End(delta.finish, head_.logprobs && !delta.logprobs.empty() ? &delta.logprobs : nullptr, out);
}

void ChunkWriter::Last(const UsageCounts& usage, std::string* out) {
  if (include_usage_) {
    *out += prefix_;
    *out += "],\"usage\":";
    AppendUsage(usage, out);
    *out += "}\n\n";
  }
  *out += net::kSseDone;
}

std::string WriteError(std::string_view message, std::string_view type, std::string_view param,
                       std::string_view code) {
  const auto text_or_null = [](std::string_view text, std::string* out) {
    if (text.empty()) {
      *out += "null";
    } else {
      AppendJsonString(text, out);
    }
  };
  std::string out = "{\"error\":{\"message\":";
  AppendJsonString(message, &out);
  out += ",\"type\":";
  AppendJsonString(type, &out);
  out += ",\"param\":";
  text_or_null(param, &out);
  out += ",\"code\":";
  text_or_null(code, &out);
  out += "}}";
  return out;
}

std::string WriteError(const absl::Status& status) {
  const auto message = status.message();
  return WriteError(std::string_view(message.data(), message.size()), ToHttpError(status).type,
                    ErrorParam(status), ErrorCode(status));
}

std::string WriteModel(const ModelEntry& model) {
  std::string out = "{\"id\":";
  AppendJsonString(model.id, &out);
  out += Concat(",\"object\":\"model\",\"created\":", model.created_unix_s, ",\"owned_by\":");
  AppendJsonString(model.owned_by, &out);
  if (model.max_context_tokens > 0) {
    out += Concat(",\"max_model_len\":", model.max_context_tokens);
  }
  if (!model.parent.empty()) {
    out += ",\"parent\":";
    AppendJsonString(model.parent, &out);
  }
  return out + "}";
}

std::string WriteModels(const std::vector<ModelEntry>& models) {
  std::string out = "{\"object\":\"list\",\"data\":[";
  for (size_t i = 0; i < models.size(); ++i) {
    if (i > 0) out += ',';
    out += WriteModel(models[i]);
  }
  return out + "]}";
}

std::string WriteAdapterChange(std::string_view adapter, bool load,
                               const std::vector<std::pair<std::string, bool>>& workers) {
  std::string out = "{\"object\":\"lora_adapter\",\"lora_name\":";
  AppendJsonString(adapter, &out);
  out += ",\"workers\":[";
  for (size_t i = 0; i < workers.size(); ++i) {
    out += i > 0 ? ",{\"worker\":" : "{\"worker\":";
    AppendJsonString(workers[i].first, &out);
    out += Concat(",\"status\":\"", workers[i].second ? "" : "already ",
                  load ? "loaded" : "unloaded", "\"}");
  }
  return out + "]}";
}

std::string WriteTokens(const std::vector<uint32_t>& ids, uint32_t max_context_tokens) {
  std::string out =
      Concat("{\"count\":", ids.size(), ",\"max_model_len\":", max_context_tokens, ",\"tokens\":[");
  for (size_t i = 0; i < ids.size(); ++i) {
    if (i > 0) out += ',';
    out += Concat(ids[i]);
  }
  return out + "]}";
}

std::string WriteText(std::string_view text) {
  std::string out = "{\"prompt\":";
  AppendJsonString(text, &out);
  return out + "}";
}

}  // namespace pingti::router
