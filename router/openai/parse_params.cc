// See parse_params.h. One row per field and endpoint: a field that is in no table is unknown.
#include "router/openai/parse_params.h"

#include <charconv>
#include <span>
#include <string>
#include <string_view>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "router/api/api_error.h"
#include "router/api/json_fields.h"
#include "router/openai/structured_output.h"

namespace pingti::router {
namespace json = boost::json;
namespace {

using Reader = absl::Status (*)(std::string_view field, const json::value& value,
                                GenerationRequest* request);

struct FieldRow {
  std::string_view name;
  Reader read;               // null: refused, or read elsewhere
  std::string_view refusal;  // why; empty: read elsewhere
};

template <auto Member>
absl::Status Number(std::string_view field, const json::value& value, GenerationRequest* request) {
  double number = 0;
  PINGTI_RETURN_IF_ERROR(ReadNumber(field, value, &number));
  request->params.*Member = number;
  return absl::OkStatus();
}

template <auto Member, int64_t kLeast, int64_t kMost>
absl::Status Integer(std::string_view field, const json::value& value, GenerationRequest* request) {
  int64_t number = 0;
  PINGTI_RETURN_IF_ERROR(ReadInteger(field, value, kLeast, kMost, &number));
  request->params.*Member = static_cast<uint32_t>(number);
  return absl::OkStatus();
}

template <auto Member>
absl::Status Bool(std::string_view field, const json::value& value, GenerationRequest* request) {
  return ReadBool(field, value, &(request->params.*Member));
}

// A field of which one value only changes nothing here.
template <bool kOnly>
absl::Status OnlyBool(std::string_view field, const json::value& value, GenerationRequest*) {
  if (value.is_bool() && value.get_bool() == kOnly) return absl::OkStatus();
  return UnsupportedField(field, kOnly ? "expected true" : "expected false");
}

// vLLM's clients write -1 for "off".
absl::Status TopK(std::string_view field, const json::value& value, GenerationRequest* request) {
  int64_t number = 0;
  PINGTI_RETURN_IF_ERROR(ReadInteger(field, value, -1, INT32_MAX, &number));
  request->params.top_k = number < 0 ? 0 : static_cast<uint32_t>(number);
  return absl::OkStatus();
}

absl::Status MaxTokens(std::string_view field, const json::value& value,
                       GenerationRequest* request) {
  int64_t number = 0;
  PINGTI_RETURN_IF_ERROR(ReadInteger(field, value, 1, INT32_MAX, &number));
  if (request->params.max_tokens.has_value() && *request->params.max_tokens != number) {
    return FieldError(field, "'max_tokens' and 'max_completion_tokens' differ; set one of them");
  }
  request->params.max_tokens = static_cast<uint32_t>(number);
  return absl::OkStatus();
}

// OpenAI's seeds are signed 64-bit numbers; the bits are taken as they are.
absl::Status Seed(std::string_view field, const json::value& value, GenerationRequest* request) {
  if (value.is_uint64()) {
    request->params.seed = value.get_uint64();
    return absl::OkStatus();
  }
  if (!value.is_int64()) return WrongType(field, value, "an integer");
  request->params.seed = static_cast<uint64_t>(value.get_int64());
  return absl::OkStatus();
}

absl::Status Stop(std::string_view field, const json::value& value, GenerationRequest* request) {
  if (value.is_string()) {
    request->params.stop.emplace_back(View(value.get_string()));
    return absl::OkStatus();
  }
  if (!value.is_array()) return WrongType(field, value, "a string or an array of strings");
  for (const json::value& item : value.get_array()) {
    PINGTI_RETURN_IF_ERROR(ReadString(field, item, &request->params.stop.emplace_back()));
  }
  return absl::OkStatus();
}

absl::Status StopTokenIds(std::string_view field, const json::value& value,
                          GenerationRequest* request) {
  if (!value.is_array()) return WrongType(field, value, "an array of token ids");
  for (const json::value& item : value.get_array()) {
    int64_t id = 0;
    PINGTI_RETURN_IF_ERROR(ReadInteger(field, item, 0, INT32_MAX, &id));
    request->params.stop_token_ids.push_back(static_cast<uint32_t>(id));
  }
  return absl::OkStatus();
}

absl::Status LogitBias(std::string_view field, const json::value& value,
                       GenerationRequest* request) {
  if (!value.is_object()) return WrongType(field, value, "an object of token id to bias");
  for (const auto& member : value.get_object()) {
    const std::string_view key = View(member.key());
    uint32_t id = 0;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (error != std::errc() || end != key.data() + key.size()) {
      return FieldError(field, Concat("'", field, "' has key '", key, "', expected a token id"));
    }
    double bias = 0;
    PINGTI_RETURN_IF_ERROR(ReadNumber(Concat(field, ".", key), member.value(), &bias));
    request->params.logit_bias.emplace_back(id, static_cast<float>(bias));
  }
  return absl::OkStatus();
}

absl::Status Priority(std::string_view field, const json::value& value,
                      GenerationRequest* request) {
  int64_t number = 0;
  PINGTI_RETURN_IF_ERROR(ReadInteger(field, value, -1'000'000, 1'000'000, &number));
  request->params.priority = static_cast<int32_t>(number);
  return absl::OkStatus();
}

absl::Status User(std::string_view field, const json::value& value, GenerationRequest* request) {
  return ReadString(field, value, &request->user);
}

absl::Status ParallelToolCalls(std::string_view field, const json::value& value,
                               GenerationRequest* request) {
  return ReadBool(field, value, &request->parallel_tool_calls);
}

absl::Status Modalities(std::string_view field, const json::value& value, GenerationRequest*) {
  if (value.is_array() && value.get_array().size() == 1 && value.get_array()[0] == "text") {
    return absl::OkStatus();
  }
  return UnsupportedField(field, "this router serves text only; expected [\"text\"]");
}

absl::Status ServiceTier(std::string_view field, const json::value& value, GenerationRequest*) {
  if (value == "auto" || value == "default") return absl::OkStatus();
  return UnsupportedField(field, "expected 'auto' or 'default'");
}

// /v1/completions: the number of alternatives, not a flag.
absl::Status CompletionLogprobs(std::string_view field, const json::value& value,
                                GenerationRequest* request) {
  int64_t number = 0;
  PINGTI_RETURN_IF_ERROR(ReadInteger(field, value, 0, 20, &number));
  request->params.logprobs = true;
  request->params.top_logprobs = static_cast<uint32_t>(number);
  return absl::OkStatus();
}

absl::Status Echo(std::string_view field, const json::value& value, GenerationRequest* request) {
  return ReadBool(field, value, &request->echo);
}

absl::Status Suffix(std::string_view field, const json::value& value, GenerationRequest* request) {
  return ReadString(field, value, &request->suffix.emplace());
}

// 0 only scores an echoed prompt, which other fields decide: see ReadCompletionParams.
absl::Status CompletionMaxTokens(std::string_view field, const json::value& value,
                                 GenerationRequest* request) {
  return Integer<&GenerationParams::max_tokens, 0, INT32_MAX>(field, value, request);
}

absl::Status BestOf(std::string_view field, const json::value& value, GenerationRequest*) {
  if (value == 1) return absl::OkStatus();
  return UnsupportedField(field, "expected 1");
}

using P = GenerationParams;

// Both endpoints.
constexpr FieldRow kCommonFields[] = {
    {"model", nullptr, ""},
    {"stream", nullptr, ""},
    {"stream_options", nullptr, ""},
    {"temperature", Number<&P::temperature>, ""},
    {"top_p", Number<&P::top_p>, ""},
    {"top_k", TopK, ""},
    {"min_p", Number<&P::min_p>, ""},
    {"presence_penalty", Number<&P::presence_penalty>, ""},
    {"frequency_penalty", Number<&P::frequency_penalty>, ""},
    {"repetition_penalty", Number<&P::repetition_penalty>, ""},
    {"n", Integer<&P::n, 1, 128>, ""},
    {"seed", Seed, ""},
    {"stop", Stop, ""},
    {"stop_token_ids", StopTokenIds, ""},
    {"ignore_eos", Bool<&P::ignore_eos>, ""},
    {"min_tokens", Integer<&P::min_tokens, 0, INT32_MAX>, ""},
    {"max_tokens", MaxTokens, ""},
    {"logit_bias", LogitBias, ""},
    {"priority", Priority, ""},
    {"user", User, ""},
    {"response_format", ReadResponseFormat, ""},
    {"guided_json", ReadGuidedJson, ""},
    {"guided_regex", ReadGuidedRegex, ""},
    {"guided_choice", ReadGuidedChoice, ""},
    {"guided_grammar", ReadGuidedGrammar, ""},
};

constexpr std::string_view kTextOnly = "this router serves text only";
constexpr std::string_view kNoStore = "nothing is stored here";

constexpr FieldRow kChatFields[] = {
    {"messages", nullptr, ""},
    {"tools", nullptr, ""},
    {"tool_choice", nullptr, ""},
    {"chat_template_kwargs", nullptr, ""},
    {"max_completion_tokens", MaxTokens, ""},
    {"logprobs", Bool<&P::logprobs>, ""},
    {"top_logprobs", Integer<&P::top_logprobs, 0, 20>, ""},
    {"modalities", Modalities, ""},
    {"service_tier", ServiceTier, ""},
    {"parallel_tool_calls", ParallelToolCalls, ""},
    {"store", OnlyBool<false>, ""},
    {"audio", nullptr, kTextOnly},
    {"function_call", nullptr, "deprecated; use 'tool_choice'"},
    {"functions", nullptr, "deprecated; use 'tools'"},
    {"metadata", nullptr, kNoStore},
    {"moderation", nullptr, "answers are not moderated"},
    {"prediction", nullptr, "predicted outputs are not available"},
    {"prompt_cache_key", nullptr, "prefixes are cached without a key"},
    {"prompt_cache_retention", nullptr, "prefixes are cached as long as there is room"},
    {"reasoning_effort", nullptr,
     "use 'chat_template_kwargs' if the model's template has a switch"},
    {"safety_identifier", nullptr, "use 'user'"},
    {"thinking", nullptr, "use 'chat_template_kwargs' if the model's template has a switch"},
    {"verbosity", nullptr, "the model has no such switch"},
    {"web_search_options", nullptr, "there is no web search"},
};

constexpr FieldRow kCompletionFields[] = {
    {"prompt", nullptr, ""}, {"logprobs", CompletionLogprobs, ""},
    {"echo", Echo, ""},      {"best_of", BestOf, ""},
    {"suffix", Suffix, ""},  {"max_tokens", CompletionMaxTokens, ""},
};

const FieldRow* FindRow(std::string_view name, std::span<const FieldRow> endpoint) {
  for (const FieldRow& row : endpoint) {
    if (row.name == name) return &row;
  }
  for (const FieldRow& row : kCommonFields) {
    if (row.name == name) return &row;
  }
  return nullptr;
}

absl::Status ReadParams(const json::object& body, std::span<const FieldRow> endpoint,
                        GenerationRequest* request) {
  for (const auto& member : body) {
    const std::string_view name = View(member.key());
    const FieldRow* row = FindRow(name, endpoint);
    if (row == nullptr) {
      return UnknownField(name);
    }
    if (!row->refusal.empty()) return UnsupportedField(name, row->refusal);
    if (row->read != nullptr) {
      PINGTI_RETURN_IF_ERROR(row->read(name, member.value(), request));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ReadChatParams(const json::object& body, GenerationRequest* request) {
  return ReadParams(body, kChatFields, request);
}

absl::Status ReadCompletionParams(const json::object& body, GenerationRequest* request) {
  PINGTI_RETURN_IF_ERROR(ReadParams(body, kCompletionFields, request));
  // The reference's default of this endpoint.
  if (!request->params.max_tokens.has_value()) request->params.max_tokens = 16;
  return absl::OkStatus();
}

}  // namespace pingti::router
