// See writer.h.
#include "router/responses/writer.h"

#include <algorithm>
#include <span>
#include <utility>

#include "boost/json.hpp"
#include "common/base/strings.h"
#include "common/net/sse.h"
#include "router/api/api_error.h"
#include "router/api/json_text.h"
#include "router/openai/write.h"
#include "router/openai/write_logprobs.h"
#include "router/responses/parse.h"

namespace pingti::router {
namespace {

std::string UsageJson(const UsageCounts& usage) {
  return Concat("{\"input_tokens\":", usage.prompt_tokens,
                ",\"input_tokens_details\":{\"cached_tokens\":",
                std::min(usage.cached_prompt_tokens, usage.prompt_tokens),
                ",\"cache_write_tokens\":0},\"output_tokens\":", usage.completion_tokens,
                ",\"output_tokens_details\":{\"reasoning_tokens\":", usage.reasoning_tokens,
                "},\"total_tokens\":", usage.prompt_tokens + usage.completion_tokens, "}");
}

// The reference has two codes that fit what can happen here.
std::string ErrorJson(const absl::Status& status) {
  const bool overload = status.code() == absl::StatusCode::kResourceExhausted;
  return Concat("{\"code\":", overload ? "\"rate_limit_exceeded\"" : "\"server_error\"",
                ",\"message\":", JsonString(std::string(status.message())), "}");
}

std::string LogprobsJson(std::span<const TokenLogprob> logprobs) {
  std::string out;
  for (const TokenLogprob& entry : logprobs) {
    if (!out.empty()) out += ',';
    AppendTokenLogprob(entry, &out);
  }
  return out;
}

}  // namespace

ResponsesWriter::ResponsesWriter(std::string id, std::string_view model, int64_t created_unix_s,
                                 std::string echo)
    : id_(std::move(id)),
      echo_(std::move(echo)),
      created_unix_s_(created_unix_s),
      model_json_(JsonString(model)) {}

std::string ResponsesWriter::Whole(const std::vector<ChoiceAnswer>& choices,
                                   const UsageCounts& usage) {
  const ChoiceAnswer& answer = choices.front();
  finish_ = answer.finish;
  std::vector<Item> items;
  if (!answer.reasoning.empty()) {
    items.push_back({.kind = Kind::kReasoning, .text = answer.reasoning});
  }
  if (!answer.content.empty() || answer.tool_calls.empty()) {
    items.push_back({.kind = Kind::kMessage,
                     .text = answer.content,
                     .logprobs = LogprobsJson(answer.content_logprobs())});
  }
  for (const ToolCallDelta& call : answer.tool_calls) {
    items.push_back({.kind = call.is_custom ? Kind::kCustomCall : Kind::kCall,
                     .text = call.arguments,
                     .call_id = call.id,
                     .name = call.name});
  }
  for (Item& item : items) {
    item.id = ItemId(item.kind);
    // Only the last item can be cut off: the others ended where it began.
    const bool is_last = &item == &items.back();
    items_.push_back(ItemJson(item, is_last ? StatusOf(item) : "completed"));
  }
  return ResponseJson(FinalStatus(), &usage, absl::OkStatus());
}

void ResponsesWriter::Delta(const ChoiceDelta& delta, std::string* out) {
  Begin(out);
  if (!delta.reasoning.empty()) AddText(Kind::kReasoning, delta.reasoning, nullptr, out);
  // A token that is part of a character, or of a call's syntax, has a probability before it has
  // text. While no item is open it waits: which kind comes first is not known yet.
  const bool only_logprobs = !delta.logprobs.empty() && delta.reasoning.empty() &&
                             delta.content.empty() && delta.tool_calls.empty();
  if (!delta.content.empty() || (only_logprobs && open_.kind == Kind::kMessage)) {
    held_logprobs_.insert(held_logprobs_.end(), delta.logprobs.begin(), delta.logprobs.end());
    AddText(Kind::kMessage, delta.content, &held_logprobs_, out);
    held_logprobs_.clear();
  } else if (only_logprobs && open_.kind == Kind::kNone) {
    held_logprobs_.insert(held_logprobs_.end(), delta.logprobs.begin(), delta.logprobs.end());
  } else if (!delta.reasoning.empty() || !delta.tool_calls.empty()) {
    held_logprobs_.clear();
  }
  for (const ToolCallDelta& call : delta.tool_calls) AddCall(call, out);
  if (delta.finish != FinishReason::kNone) finish_ = delta.finish;
}

void ResponsesWriter::Last(const UsageCounts& usage, std::string* out) {
  Begin(out);
  // An answer without a word is a message all the same.
  if (items_.empty() && open_.kind == Kind::kNone) {
    OpenItem(Kind::kMessage, nullptr, out);
    open_.logprobs = LogprobsJson(held_logprobs_);
  }
  CloseItem(out);
  const std::string_view status = FinalStatus();
  StateEvent(status, status, &usage, absl::OkStatus(), out);
}

void ResponsesWriter::Error(const absl::Status& status, std::string* out) {
  Begin(out);
  const absl::Status error = InResponsesWords(status);
  OpenEvent("error", out);
  const std::string param = ErrorParam(error);
  *out += Concat("\"code\":\"", ToHttpError(error).type,
                 "\",\"message\":", JsonString(std::string(error.message())),
                 ",\"param\":", param.empty() ? "null" : JsonString(param), "}\n\n");
  StateEvent("failed", "failed", nullptr, error, out);
}

void ResponsesWriter::KeepAlive(std::string* out) {
  Begin(out);
  *out += net::SseComment("keep-alive");
}

void ResponsesWriter::Begin(std::string* out) {
  if (std::exchange(begun_, true)) return;
  StateEvent("created", "in_progress", nullptr, absl::OkStatus(), out);
  StateEvent("in_progress", "in_progress", nullptr, absl::OkStatus(), out);
}

void ResponsesWriter::OpenEvent(std::string_view type, std::string* out) {
  BeginTypedEvent(type, out);
  *out += Concat(",\"sequence_number\":", sequence_number_++, ",");
}

void ResponsesWriter::StateEvent(std::string_view type, std::string_view status,
                                 const UsageCounts* usage, const absl::Status& error,
                                 std::string* out) {
  OpenEvent(Concat("response.", type), out);
  *out += Concat("\"response\":", ResponseJson(status, usage, error), "}\n\n");
}

void ResponsesWriter::AppendPlace(std::string* out) const {
  *out += Concat("\"item_id\":\"", open_.id, "\",\"output_index\":", items_.size(), ",");
  if (!IsCall(open_.kind)) *out += "\"content_index\":0,";
}

void ResponsesWriter::OpenItem(Kind kind, const ToolCallDelta* call, std::string* out) {
  CloseItem(out);
  open_ = {.kind = kind, .id = ItemId(kind)};
  if (call != nullptr) {
    open_.call_id = call->id;
    open_.name = call->name;
    open_call_ = call->index;
  }
  OpenEvent("response.output_item.added", out);
  *out += Concat("\"output_index\":", items_.size(), ",\"item\":", ItemJson(open_, "in_progress"),
                 "}\n\n");
  if (IsCall(kind)) return;
  OpenEvent("response.content_part.added", out);
  AppendPlace(out);
  *out += Concat("\"part\":", PartJson(open_), "}\n\n");
}

void ResponsesWriter::AddText(Kind kind, std::string_view text,
                              const std::vector<TokenLogprob>* logprobs, std::string* out) {
  if (open_.kind != kind) OpenItem(kind, nullptr, out);
  open_.text += text;
  OpenEvent(
      kind == Kind::kReasoning ? "response.reasoning_text.delta" : "response.output_text.delta",
      out);
  AppendPlace(out);
  *out += "\"delta\":";
  AppendJsonString(text, out);
  if (logprobs != nullptr) {
    const std::string entries = LogprobsJson(*logprobs);
    if (!open_.logprobs.empty() && !entries.empty()) open_.logprobs += ',';
    open_.logprobs += entries;
    *out += Concat(",\"logprobs\":[", entries, "]");
  }
  *out += "}\n\n";
}

void ResponsesWriter::AddCall(const ToolCallDelta& call, std::string* out) {
  if (!IsCall(open_.kind) || open_call_ != call.index) {
    OpenItem(call.is_custom ? Kind::kCustomCall : Kind::kCall, &call, out);
  }
  if (call.arguments.empty()) return;
  open_.text += call.arguments;
  OpenEvent(open_.kind == Kind::kCustomCall ? "response.custom_tool_call_input.delta"
                                            : "response.function_call_arguments.delta",
            out);
  AppendPlace(out);
  *out += Concat("\"delta\":", JsonString(call.arguments), "}\n\n");
}

void ResponsesWriter::CloseParts(std::string* out) {
  if (open_.kind == Kind::kCall) {
    OpenEvent("response.function_call_arguments.done", out);
    AppendPlace(out);
    *out += Concat("\"name\":", JsonString(open_.name), ",\"arguments\":", JsonString(open_.text),
                   "}\n\n");
    return;
  }
  if (open_.kind == Kind::kCustomCall) {
    OpenEvent("response.custom_tool_call_input.done", out);
    AppendPlace(out);
    *out += Concat("\"input\":", JsonString(open_.text), "}\n\n");
    return;
  }
  const bool is_reasoning = open_.kind == Kind::kReasoning;
  OpenEvent(is_reasoning ? "response.reasoning_text.done" : "response.output_text.done", out);
  AppendPlace(out);
  *out += Concat("\"text\":", JsonString(open_.text));
  if (!is_reasoning) *out += Concat(",\"logprobs\":[", open_.logprobs, "]");
  *out += "}\n\n";
  OpenEvent("response.content_part.done", out);
  AppendPlace(out);
  *out += Concat("\"part\":", PartJson(open_), "}\n\n");
}

void ResponsesWriter::CloseItem(std::string* out) {
  if (open_.kind == Kind::kNone) return;
  CloseParts(out);
  OpenEvent("response.output_item.done", out);
  // Only the last item can be cut off: whatever closed the others came after them.
  std::string item = ItemJson(open_, StatusOf(open_));
  *out += Concat("\"output_index\":", items_.size(), ",\"item\":", item, "}\n\n");
  items_.push_back(std::move(item));
  open_ = {};
}

std::string_view ResponsesWriter::FinalStatus() const {
  return finish_ == FinishReason::kLength ? "incomplete" : "completed";
}

// The tokens may have run out behind a call that is whole. A custom call comes as a whole.
std::string_view ResponsesWriter::StatusOf(const Item& item) const {
  if (item.kind == Kind::kCustomCall) return "completed";
  boost::json::error_code error;
  if (item.kind == Kind::kCall) boost::json::parse(item.text, error);
  const bool is_whole_call = item.kind == Kind::kCall && !error;
  return is_whole_call ? "completed" : FinalStatus();
}

std::string ResponsesWriter::ItemId(Kind kind) const {
  const std::string_view prefix = kind == Kind::kReasoning ? "rs_"
                                  : kind == Kind::kMessage ? "msg_"
                                  : kind == Kind::kCall    ? "fc_"
                                                           : "ctc_";
  // "resp_x" gives "msg_x_0".
  return Concat(prefix, std::string_view(id_).substr(id_.find('_') + 1), "_", items_.size());
}

std::string ResponsesWriter::PartJson(const Item& item) {
  if (item.kind == Kind::kReasoning) {
    return Concat("{\"type\":\"reasoning_text\",\"text\":", JsonString(item.text), "}");
  }
  return Concat("{\"type\":\"output_text\",\"annotations\":[],\"logprobs\":[", item.logprobs,
                "],\"text\":", JsonString(item.text), "}");
}

std::string ResponsesWriter::ItemJson(const Item& item, std::string_view status) {
  const std::string head = Concat("{\"id\":\"", item.id, "\",\"type\":\"");
  const std::string tail = Concat(",\"status\":\"", status, "\"}");
  if (item.kind == Kind::kCall) {
    return Concat(head, "function_call\",\"call_id\":", JsonString(item.call_id),
                  ",\"name\":", JsonString(item.name), ",\"arguments\":", JsonString(item.text),
                  tail);
  }
  if (item.kind == Kind::kCustomCall) {
    return Concat(head, "custom_tool_call\",\"call_id\":", JsonString(item.call_id),
                  ",\"name\":", JsonString(item.name), ",\"input\":", JsonString(item.text), tail);
  }
  const std::string parts = status == "in_progress" ? "[]" : Concat("[", PartJson(item), "]");
  if (item.kind == Kind::kReasoning) {
    return Concat(head, "reasoning\",\"summary\":[],\"content\":", parts, tail);
  }
  return Concat(head, "message\",\"role\":\"assistant\",\"content\":", parts, tail);
}

std::string ResponsesWriter::ResponseJson(std::string_view status, const UsageCounts* usage,
                                          const absl::Status& error) const {
  std::string out =
      Concat("{\"id\":\"", id_, "\",\"object\":\"response\",\"created_at\":", created_unix_s_,
             ",\"status\":\"", status, "\",\"error\":", error.ok() ? "null" : ErrorJson(error),
             ",\"incomplete_details\":",
             status == "incomplete" ? "{\"reason\":\"max_output_tokens\"}" : "null",
             ",\"model\":", model_json_, ",", echo_, ",\"output\":[");
  for (size_t i = 0; i < items_.size(); ++i) {
    if (i > 0) out += ',';
    out += items_[i];
  }
  out += Concat("],\"usage\":", usage == nullptr ? "null" : UsageJson(*usage), "}");
  return out;
}

}  // namespace pingti::router
