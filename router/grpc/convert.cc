// See convert.h.
#include "router/grpc/convert.h"

#include <algorithm>
#include <span>
#include <utility>

#include "boost/json.hpp"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "common/text/utf8.h"
#include "router/api/api_error.h"
#include "router/api/json_fields.h"
#include "router/api/limits.h"
#include "router/api/request_fields.h"
#include "router/openai/chat_body.h"
#include "router/openai/parse_params.h"
#include "router/openai/template_context.h"

namespace pingti::router {
namespace json = boost::json;
namespace {

// A number of a later version reads as the default, as proto3 has it.
EarlyStopping EarlyStoppingOf(v1::GenerationParams::EarlyStopping message) {
  switch (message) {
    case v1::GenerationParams::EARLY_STOPPING_TRUE:
      return EarlyStopping::kTrue;
    case v1::GenerationParams::EARLY_STOPPING_NEVER:
      return EarlyStopping::kNever;
    default:
      return EarlyStopping::kFalse;
  }
}

absl::Status ReadFormat(const v1::ResponseFormat& format, GenerationRequest* request) {
  using Kind = grammar::GrammarSource::Kind;
  request->grammar_field = "response_format";
  switch (format.format_case()) {
    case v1::ResponseFormat::kJsonObject:
      if (format.json_object()) request->grammar = {Kind::kJsonObject, ""};
      return absl::OkStatus();
    case v1::ResponseFormat::kJsonSchema:
      request->grammar = {Kind::kJsonSchema, format.json_schema()};
      return absl::OkStatus();
    case v1::ResponseFormat::kRegex:
      request->grammar = {Kind::kRegex, format.regex()};
      return absl::OkStatus();
    case v1::ResponseFormat::kGrammar:
      request->grammar = {Kind::kEbnf, format.grammar()};
      return absl::OkStatus();
    case v1::ResponseFormat::FORMAT_NOT_SET:
      break;
  }
  return FieldError("response_format",
                    "expected one of 'json_object', 'json_schema', 'regex' and 'grammar'");
}

absl::Status ReadParams(const v1::GenerationParams& from, GenerationRequest* request) {
  GenerationParams* to = &request->params;
  if (from.has_response_format()) {
    PINGTI_RETURN_IF_ERROR(ReadFormat(from.response_format(), request));
  }
  if (from.has_max_tokens()) to->max_tokens = from.max_tokens();
  to->min_tokens = from.min_tokens();
  if (from.has_temperature()) to->temperature = from.temperature();
  if (from.has_top_p()) to->top_p = from.top_p();
  if (from.has_top_k()) to->top_k = from.top_k();
  if (from.has_min_p()) to->min_p = from.min_p();
  if (from.has_repetition_penalty()) to->repetition_penalty = from.repetition_penalty();
  to->presence_penalty = from.presence_penalty();
  to->frequency_penalty = from.frequency_penalty();
  if (from.has_seed()) to->seed = from.seed();
  to->stop.assign(from.stop().begin(), from.stop().end());
  to->stop_token_ids.assign(from.stop_token_ids().begin(), from.stop_token_ids().end());
  to->ignore_eos = from.ignore_eos();
  to->speculation = !from.no_speculation();
  to->logit_bias.assign(from.logit_bias().begin(), from.logit_bias().end());
  to->n = from.has_n() ? from.n() : 1;
  // 1 says nothing, as in JSON.
  if (from.has_best_of() && from.best_of() != 1) to->best_of = from.best_of();
  to->num_beams = from.has_num_beams() ? from.num_beams() : 1;
  if (from.has_length_penalty()) to->length_penalty = from.length_penalty();
  to->early_stopping = EarlyStoppingOf(from.early_stopping());
  to->logprobs = from.logprobs();
  to->top_logprobs = from.top_logprobs();
  to->priority = from.priority();
  return absl::OkStatus();
}

json::object MessageToJson(const v1::Message& message) {
  json::object out;
  out["role"] = message.role();
  out["content"] = message.content();
  if (!message.name().empty()) out["name"] = message.name();
  if (!message.reasoning_content().empty()) out["reasoning_content"] = message.reasoning_content();
  if (!message.tool_call_id().empty()) out["tool_call_id"] = message.tool_call_id();
  if (message.tool_calls_size() == 0) return out;
  json::array& calls = out["tool_calls"].emplace_array();
  for (const v1::ToolCall& call : message.tool_calls()) {
    calls.push_back(call.input().empty()
                        ? FunctionCall(call.id(), call.name(), call.arguments_json())
                        : CustomCall(call.id(), call.name(), call.input()));
  }
  return out;
}

absl::StatusOr<json::object> ToolToJson(const v1::Tool& tool, int index) {
  if (tool.name().empty()) {
    return FieldError(Concat("tools[", index, "].name"), "expected a name");
  }
  json::object function{{"name", tool.name()}};
  if (!tool.description().empty()) function["description"] = tool.description();
  if (!tool.parameters_json_schema().empty()) {
    json::error_code error;
    json::value parameters = json::parse(tool.parameters_json_schema(), error);
    if (error) {
      return FieldError(Concat("tools[", index, "].parameters_json_schema"),
                        Concat("not JSON: ", error.message()));
    }
    function["parameters"] = std::move(parameters);
  }
  if (tool.strict()) function["strict"] = true;
  return FunctionTool(std::move(function));
}

// Whether the message itself, or its "params", has the field.
bool HasField(const google::protobuf::Message& message, std::string_view name) {
  const google::protobuf::Descriptor* type = message.GetDescriptor();
  const google::protobuf::FieldDescriptor* field = type->FindFieldByName(std::string(name));
  if (field == nullptr) return false;
  const google::protobuf::Reflection* reflection = message.GetReflection();
  return field->is_repeated() ? reflection->FieldSize(message, field) > 0
                              : reflection->HasField(message, field);
}

// The fields of "extra_body_json" that count. `own` are those that only the message itself has.
template <typename Request>
absl::StatusOr<json::object> ReadExtraBody(const Request& request, const FieldTable& table,
                                           std::span<const std::string_view> own,
                                           IgnoredFields* ignored) {
  const std::string path = "extra_body_json";
  if (request.extra_body_json().empty()) return json::object();
  PINGTI_ASSIGN_OR_RETURN(json::object body, ParseJsonObject(request.extra_body_json()));
  PINGTI_RETURN_IF_ERROR(CleanBody(table, &body, ignored));
  for (const auto& member : body) {
    const std::string_view name = View(member.key());
    if (IsIn(name, own)) {
      return FieldError(path,
                        Concat("'", name, "' is a field of the message or has no place here"));
    }
    if (HasField(request, name) || HasField(request.params(), name)) {
      return FieldError(path, Concat("'", name, "' is set in the message as well"));
    }
  }
  return body;
}

// Anything but the three words is a tool's name.
json::value ToolChoiceToJson(const std::string& choice) {
  if (choice == "none" || choice == "auto" || choice == "required") return json::value(choice);
  return NamedToolChoice(choice);
}

ChatSize SizeOf(const v1::ChatRequest& chat) {
  ChatSize size{.messages = static_cast<size_t>(chat.messages_size()),
                .tools = static_cast<size_t>(chat.tools_size())};
  for (const v1::Message& message : chat.messages()) {
    size.tool_calls += static_cast<size_t>(message.tool_calls_size());
  }
  return size;
}

template <typename Delta>
void AddLogprobs(const std::vector<TokenLogprob>& logprobs, Delta* out) {
  for (const TokenLogprob& entry : logprobs) {
    v1::TokenLogprob* token = out->add_logprobs();
    token->set_token_bytes(entry.bytes);
    token->set_token(text::ReplaceInvalidUtf8(entry.bytes));
    token->set_logprob(entry.logprob);
    for (const TopLogprob& top : entry.top) {
      v1::TokenLogprob* alternative = token->add_top();
      alternative->set_token_bytes(top.bytes);
      alternative->set_token(text::ReplaceInvalidUtf8(top.bytes));
      alternative->set_logprob(top.logprob);
    }
  }
}

}  // namespace

absl::StatusOr<GenerationRequest> FromProto(const v1::ChatRequest& chat, IgnoredFields* ignored) {
  static constexpr std::string_view kOwn[] = {"model", "stream", "stream_options"};
  PINGTI_RETURN_IF_ERROR(CheckLimits(SizeOf(chat)));
  GenerationRequest request;
  request.kind = GenerationRequest::Kind::kChat;
  request.stream = true;
  request.model = chat.model();
  request.OfferAffinityHint(chat.user());
  request.body_bytes = chat.ByteSizeLong();
  PINGTI_RETURN_IF_ERROR(ReadParams(chat.params(), &request));
  // The same form and checks as an HTTP body.
  PINGTI_ASSIGN_OR_RETURN(json::object body, ReadExtraBody(chat, ChatFields(), kOwn, ignored));
  PINGTI_RETURN_IF_ERROR(ReadChatParams(body, &request));
  if (!body.contains("messages")) body["messages"].emplace_array();
  for (const v1::Message& message : chat.messages()) {
    body["messages"].get_array().push_back(MessageToJson(message));
  }
  if (chat.tools_size() > 0) {
    json::array& tools = body["tools"].emplace_array();
    for (int i = 0; i < chat.tools_size(); ++i) {
      PINGTI_ASSIGN_OR_RETURN(json::object tool, ToolToJson(chat.tools(i), i));
      tools.push_back(std::move(tool));
    }
  }
  if (!chat.tool_choice().empty()) body["tool_choice"] = ToolChoiceToJson(chat.tool_choice());
  PINGTI_RETURN_IF_ERROR(CheckLimits(request));
  PINGTI_RETURN_IF_ERROR(ReadTemplateContext(&body, &request, ignored));
  return request;
}

absl::StatusOr<GenerationRequest> FromProto(const v1::CompleteRequest& complete,
                                            IgnoredFields* ignored) {
  static constexpr std::string_view kOwn[] = {"model", "prompt", "stream", "stream_options"};
  GenerationRequest request;
  request.kind = GenerationRequest::Kind::kCompletion;
  request.stream = true;
  request.model = complete.model();
  request.OfferAffinityHint(complete.user());
  request.echo = complete.echo();
  request.body_bytes = complete.ByteSizeLong();
  if (!complete.suffix().empty()) request.suffix = complete.suffix();
  PINGTI_RETURN_IF_ERROR(ReadParams(complete.params(), &request));
  PINGTI_ASSIGN_OR_RETURN(const json::object extra,
                          ReadExtraBody(complete, CompletionFields(), kOwn, ignored));
  PINGTI_RETURN_IF_ERROR(ReadCompletionParams(extra, &request));
  switch (complete.prompt_case()) {
    case v1::CompleteRequest::kText:
      request.prompts.emplace_back(complete.text());
      break;
    case v1::CompleteRequest::kTokenIds:
      request.prompts.emplace_back(std::vector<uint32_t>(complete.token_ids().ids().begin(),
                                                         complete.token_ids().ids().end()));
      break;
    case v1::CompleteRequest::PROMPT_NOT_SET:
      return FieldError("prompt", "expected 'text' or 'token_ids'");
  }
  PINGTI_RETURN_IF_ERROR(CheckLimits(request));
  return request;
}

absl::StatusOr<GenerationRequest> FromProto(const v1::TokenizeRequest& tokenize,
                                            IgnoredFields* ignored) {
  GenerationRequest request;
  if (tokenize.has_chat()) {
    PINGTI_ASSIGN_OR_RETURN(request, FromProto(tokenize.chat(), ignored));
  } else {
    request.kind = GenerationRequest::Kind::kCompletion;
    request.prompts.emplace_back(tokenize.text());
  }
  if (!tokenize.model().empty() || !tokenize.has_chat()) request.model = tokenize.model();
  return request;
}

void ToProto(const ChoiceDelta& delta, bool with_role, v1::ChatDelta* out) {
  out->set_index(delta.index);
  if (with_role) out->set_role("assistant");
  out->set_content(delta.content);
  out->set_reasoning_content(delta.reasoning);
  for (const ToolCallDelta& call : delta.tool_calls) {
    v1::ToolCall* piece = out->add_tool_calls();
    piece->set_index(call.index);
    piece->set_id(call.id);
    piece->set_name(call.name);
    if (call.is_custom) {
      piece->set_input(call.arguments);
    } else {
      piece->set_arguments_json(call.arguments);
    }
  }
  AddLogprobs(delta.logprobs, out);
  out->set_finish_reason(std::string(FinishReasonName(delta.finish)));
}

void ToProto(const ChoiceDelta& delta, bool, v1::CompleteDelta* out) {
  out->set_index(delta.index);
  out->set_text(delta.content);
  AddLogprobs(delta.logprobs, out);
  out->set_finish_reason(std::string(FinishReasonName(delta.finish)));
}

void ToProto(const UsageCounts& usage, v1::Usage* out) {
  out->set_prompt_tokens(usage.prompt_tokens);
  out->set_completion_tokens(usage.completion_tokens);
  out->set_total_tokens(usage.prompt_tokens + usage.completion_tokens);
  out->set_prompt_cache_hit_tokens(usage.cached_prompt_tokens);
  out->set_prompt_cache_miss_tokens(usage.prompt_tokens - usage.cached_prompt_tokens);
  out->set_reasoning_tokens(usage.reasoning_tokens);
}

std::string StatusText(const absl::Status& status) {
  const std::string param = ErrorParam(status);
  const std::string message(status.message());
  return param.empty() ? message : Concat(param, ": ", message);
}

}  // namespace pingti::router
