// See parse.h: bodies as wholes. Sampling fields are in parse_params.cc.
#include "router/openai/parse.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "router/api/api_error.h"
#include "router/api/json_fields.h"
#include "router/api/limits.h"
#include "router/api/request_fields.h"
#include "router/openai/parse_params.h"
#include "router/openai/template_context.h"

namespace pingti::router {
namespace json = boost::json;
namespace {

absl::Status ReadModel(const json::object& body, std::string* model) {
  const json::value* value = body.if_contains("model");
  if (value == nullptr) {
    return ApiError(absl::StatusCode::kInvalidArgument, "you must provide a model parameter",
                    "model", "missing_required_parameter");
  }
  return ReadString("model", *value, model);
}

absl::Status ReadStreamOptions(const json::object& body, ParsedRequest* parsed) {
  const json::value* value = body.if_contains("stream_options");
  if (value == nullptr) return absl::OkStatus();
  PINGTI_ASSIGN_OR_RETURN(const json::object* options, RequireObject("stream_options", *value));
  const json::value* usage = options->if_contains("include_usage");
  if (usage == nullptr) return absl::OkStatus();
  PINGTI_RETURN_IF_ERROR(ReadBool("stream_options.include_usage", *usage, &parsed->include_usage));
  if (parsed->stream || !parsed->include_usage) return absl::OkStatus();
  return FieldError("stream_options",
                    "The 'stream_options' parameter is only allowed when 'stream' is enabled.");
}

absl::Status ReadCommon(const json::object& body, ParsedRequest* parsed) {
  PINGTI_RETURN_IF_ERROR(ReadModel(body, &parsed->request.model));
  if (const json::value* stream = body.if_contains("stream")) {
    PINGTI_RETURN_IF_ERROR(ReadBool("stream", *stream, &parsed->stream));
  }
  return ReadStreamOptions(body, parsed);
}

absl::Status AddPrompt(const json::value& value, std::vector<Prompt>* prompts) {
  if (value.is_string()) {
    prompts->emplace_back(std::string(View(value.get_string())));
    return absl::OkStatus();
  }
  if (!value.is_array()) {
    return WrongType("prompt", value, "a string, an array of strings or of token ids");
  }
  std::vector<uint32_t> ids;
  ids.reserve(value.get_array().size());
  for (const json::value& item : value.get_array()) {
    int64_t id = 0;
    PINGTI_RETURN_IF_ERROR(ReadInteger("prompt", item, 0, UINT32_MAX, &id));
    ids.push_back(static_cast<uint32_t>(id));
  }
  prompts->emplace_back(std::move(ids));
  return absl::OkStatus();
}

absl::Status ReadPrompts(const json::object& body, std::vector<Prompt>* prompts) {
  constexpr size_t kMaxPrompts = 2048;
  const json::value* value = body.if_contains("prompt");
  if (value == nullptr) {
    return MissingField("prompt");
  }
  const bool several =
      value->is_array() && !value->get_array().empty() && !value->get_array().front().is_number();
  if (!several) return AddPrompt(*value, prompts);
  if (value->get_array().size() > kMaxPrompts) {
    return FieldError("prompt", Concat("'prompt' has ", value->get_array().size(),
                                       " prompts, expected at most ", kMaxPrompts));
  }
  for (const json::value& item : value->get_array()) {
    PINGTI_RETURN_IF_ERROR(AddPrompt(item, prompts));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ParsedRequest> ParseChatRequest(std::string_view body) {
  PINGTI_ASSIGN_OR_RETURN(json::object object, ParseJsonObject(body));
  IgnoredFields ignored;
  PINGTI_RETURN_IF_ERROR(CleanBody(ChatFields(), &object, &ignored));
  return ParseChatObject(std::move(object), body.size(), std::move(ignored));
}

absl::StatusOr<ParsedRequest> ParseChatObject(json::object object, size_t body_bytes,
                                              IgnoredFields ignored) {
  ParsedRequest parsed;
  parsed.ignored = std::move(ignored);
  parsed.request.kind = GenerationRequest::Kind::kChat;
  parsed.request.body_bytes = body_bytes;
  PINGTI_RETURN_IF_ERROR(ReadCommon(object, &parsed));
  PINGTI_RETURN_IF_ERROR(ReadChatParams(object, &parsed.request));
  PINGTI_RETURN_IF_ERROR(CheckLimits(parsed.request));
  PINGTI_RETURN_IF_ERROR(ReadTemplateContext(&object, &parsed.request, &parsed.ignored));
  return parsed;
}

absl::StatusOr<ParsedRequest> ParseCompletionRequest(std::string_view body) {
  PINGTI_ASSIGN_OR_RETURN(json::object object, ParseJsonObject(body));
  ParsedRequest parsed;
  PINGTI_RETURN_IF_ERROR(CleanBody(CompletionFields(), &object, &parsed.ignored));
  parsed.request.kind = GenerationRequest::Kind::kCompletion;
  parsed.request.body_bytes = body.size();
  PINGTI_RETURN_IF_ERROR(ReadCommon(object, &parsed));
  PINGTI_RETURN_IF_ERROR(ReadCompletionParams(object, &parsed.request));
  constexpr uint32_t kDefaultMaxTokens = 16;  // the reference's, of this endpoint
  if (!parsed.request.params.max_tokens.has_value()) {
    parsed.request.params.max_tokens = kDefaultMaxTokens;
  }
  PINGTI_RETURN_IF_ERROR(ReadPrompts(object, &parsed.request.prompts));
  PINGTI_RETURN_IF_ERROR(CheckLimits(parsed.request));
  return parsed;
}

absl::StatusOr<ParsedTokenize> ParseTokenizeRequest(std::string_view body) {
  PINGTI_ASSIGN_OR_RETURN(json::object object, ParseJsonObject(body));
  ParsedTokenize parsed;
  IgnoredFields ignored;
  PINGTI_RETURN_IF_ERROR(CleanBody(TokenizeFields(), &object, &ignored));
  parsed.request.body_bytes = body.size();
  PINGTI_RETURN_IF_ERROR(ReadModel(object, &parsed.request.model));
  if (object.contains("messages") == object.contains("prompt")) {
    return FieldError("prompt", "expected exactly one of 'prompt' and 'messages'");
  }
  if (const json::value* add = object.if_contains("add_special_tokens")) {
    PINGTI_RETURN_IF_ERROR(ReadBool("add_special_tokens", *add, &parsed.add_special_tokens));
  }
  if (object.contains("messages")) {
    parsed.request.kind = GenerationRequest::Kind::kChat;
    PINGTI_RETURN_IF_ERROR(ReadTemplateContext(&object, &parsed.request, &ignored));
    return parsed;
  }
  parsed.request.kind = GenerationRequest::Kind::kCompletion;
  std::string text;
  PINGTI_RETURN_IF_ERROR(ReadString("prompt", object.at("prompt"), &text));
  parsed.request.prompts.emplace_back(std::move(text));
  return parsed;
}

absl::StatusOr<ParsedDetokenize> ParseDetokenizeRequest(std::string_view body) {
  PINGTI_ASSIGN_OR_RETURN(json::object object, ParseJsonObject(body));
  ParsedDetokenize parsed;
  IgnoredFields ignored;
  PINGTI_RETURN_IF_ERROR(CleanBody(DetokenizeFields(), &object, &ignored));
  PINGTI_RETURN_IF_ERROR(ReadModel(object, &parsed.model));
  const json::value* tokens = object.if_contains("tokens");
  if (tokens == nullptr || !tokens->is_array()) {
    return FieldError("tokens", "'tokens' must be an array of token ids");
  }
  for (const json::value& item : tokens->get_array()) {
    int64_t id = 0;
    PINGTI_RETURN_IF_ERROR(ReadInteger("tokens", item, 0, INT32_MAX, &id));
    parsed.tokens.push_back(static_cast<uint32_t>(id));
  }
  return parsed;
}

// The name goes into lists, logs and answers of everybody.
absl::Status CheckAdapterName(std::string_view name) {
  constexpr size_t kLongest = 256;
  const bool is_printable = std::none_of(
      name.begin(), name.end(), [](unsigned char byte) { return byte < 0x20 || byte == 0x7f; });
  if (is_printable && name.size() <= kLongest) return absl::OkStatus();
  return ApiError(
      absl::StatusCode::kInvalidArgument,
      Concat("'lora_name' has ", is_printable ? "" : "control characters in its ", name.size(),
             " bytes: expected at most ", kLongest, " without control characters"),
      "lora_name", "invalid_value");
}

absl::StatusOr<ParsedAdapterChange> ParseAdapterChange(std::string_view body, bool load) {
  PINGTI_ASSIGN_OR_RETURN(json::object object, ParseJsonObject(body));
  IgnoredFields ignored;
  PINGTI_RETURN_IF_ERROR(
      CleanBody(load ? LoadAdapterFields() : UnloadAdapterFields(), &object, &ignored));
  ParsedAdapterChange parsed;
  const auto read = [&object](const char* field, bool required, std::string* out) -> absl::Status {
    const json::value* value = object.if_contains(field);
    if (value != nullptr) {
      PINGTI_RETURN_IF_ERROR(ReadString(field, *value, out));
    }
    if (!out->empty() || !required) return absl::OkStatus();
    return ApiError(absl::StatusCode::kInvalidArgument,
                    Concat("you must provide a '", field, "' parameter"), field,
                    "missing_required_parameter");
  };
  PINGTI_RETURN_IF_ERROR(read("lora_name", /*required=*/true, &parsed.name));
  if (load) PINGTI_RETURN_IF_ERROR(CheckAdapterName(parsed.name));
  PINGTI_RETURN_IF_ERROR(read("lora_path", /*required=*/load, &parsed.path));
  PINGTI_RETURN_IF_ERROR(read("base_model_name", /*required=*/false, &parsed.model));
  return parsed;
}

}  // namespace pingti::router
