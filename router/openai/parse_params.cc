// See parse_params.h. One row per field and endpoint.
#include "router/openai/parse_params.h"

#include <charconv>
#include <span>
#include <string>
#include <string_view>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "router/api/api_error.h"
#include "router/api/json_fields.h"
#include "router/api/limits.h"
#include "router/openai/structured_output.h"

namespace pingti::router {
namespace json = boost::json;
namespace {

using Reader = absl::Status (*)(std::string_view field, const json::value& value,
                                GenerationRequest* request);

struct ReaderRow {
  std::string_view name;
  Reader read;
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
  int64_t number = 0;
  PINGTI_RETURN_IF_ERROR(ReadInteger(field, value, INT64_MIN, INT64_MAX, &number));
  request->params.seed = static_cast<uint64_t>(number);
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

absl::Status ReadEarlyStopping(std::string_view field, const json::value& value,
                               GenerationRequest* request) {
  if (value.is_bool()) {
    request->params.early_stopping =
        value.get_bool() ? EarlyStopping::kTrue : EarlyStopping::kFalse;
    return absl::OkStatus();
  }
  if (!value.is_string() || View(value.get_string()) != "never") {
    return WrongType(field, value, "true, false or \"never\"");
  }
  request->params.early_stopping = EarlyStopping::kNever;
  return absl::OkStatus();
}

absl::Status Priority(std::string_view field, const json::value& value,
                      GenerationRequest* request) {
  int64_t number = 0;
  PINGTI_RETURN_IF_ERROR(ReadInteger(field, value, -kMaxPriority, kMaxPriority, &number));
  request->params.priority = static_cast<int32_t>(number);
  return absl::OkStatus();
}

absl::Status ParallelToolCalls(std::string_view field, const json::value& value,
                               GenerationRequest* request) {
  return ReadBool(field, value, &request->parallel_tool_calls);
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

using P = GenerationParams;

// Both endpoints.
constexpr ReaderRow kCommonReaders[] = {
    {"temperature", Number<&P::temperature>},
    {"top_p", Number<&P::top_p>},
    {"top_k", TopK},
    {"min_p", Number<&P::min_p>},
    {"presence_penalty", Number<&P::presence_penalty>},
    {"frequency_penalty", Number<&P::frequency_penalty>},
    {"repetition_penalty", Number<&P::repetition_penalty>},
    {"n", Integer<&P::n, 1, 128>},
    {"best_of", Integer<&P::best_of, 1, 128>},
    {"use_beam_search", Bool<&P::use_beam_search>},
    {"num_beams", Integer<&P::num_beams, 1, 128>},
    {"length_penalty", Number<&P::length_penalty>},
    {"early_stopping", ReadEarlyStopping},
    {"seed", Seed},
    {"stop", Stop},
    {"stop_token_ids", StopTokenIds},
    {"include_stop_str_in_output", Bool<&P::include_stop>},
    {"ignore_eos", Bool<&P::ignore_eos>},
    {"speculation", Bool<&P::speculation>},
    {"min_tokens", Integer<&P::min_tokens, 0, INT32_MAX>},
    {"max_tokens", MaxTokens},
    {"logit_bias", LogitBias},
    {"priority", Priority},
    {"response_format", ReadResponseFormat},
    {"structured_outputs", ReadStructuredOutputs},
    {"guided_json", ReadGuidedJson},
    {"guided_regex", ReadGuidedRegex},
    {"guided_choice", ReadGuidedChoice},
    {"guided_grammar", ReadGuidedGrammar},
};

constexpr ReaderRow kChatReaders[] = {
    {"max_completion_tokens", MaxTokens},
    {"logprobs", Bool<&P::logprobs>},
    {"top_logprobs", Integer<&P::top_logprobs, 0, 20>},
    {"parallel_tool_calls", ParallelToolCalls},
};

constexpr ReaderRow kCompletionReaders[] = {
    {"logprobs", CompletionLogprobs},
    {"echo", Echo},
    {"suffix", Suffix},
    {"max_tokens", CompletionMaxTokens},
};

// What says of which requests belong together, the most exact first.
absl::Status ReadAffinityHint(const json::object& body, GenerationRequest* request) {
  for (const char* field : {"prompt_cache_key", "user", "safety_identifier"}) {
    const json::value* value = body.if_contains(field);
    std::string hint;
    if (value == nullptr) continue;
    PINGTI_RETURN_IF_ERROR(ReadString(field, *value, &hint));
    request->OfferAffinityHint(hint);
  }
  return absl::OkStatus();
}

absl::Status ReadParams(const json::object& body, std::span<const ReaderRow> endpoint,
                        GenerationRequest* request) {
  PINGTI_RETURN_IF_ERROR(ReadAffinityHint(body, request));
  const auto read_from = [&](std::span<const ReaderRow> rows, std::string_view name,
                             const json::value& value) -> absl::StatusOr<bool> {
    for (const ReaderRow& row : rows) {
      if (row.name != name) continue;
      PINGTI_RETURN_IF_ERROR(row.read(name, value, request));
      return true;
    }
    return false;
  };
  for (const auto& member : body) {
    const std::string_view name = View(member.key());
    PINGTI_ASSIGN_OR_RETURN(const bool is_read, read_from(endpoint, name, member.value()));
    if (!is_read) {
      PINGTI_RETURN_IF_ERROR(read_from(kCommonReaders, name, member.value()).status());
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ReadChatParams(const json::object& body, GenerationRequest* request) {
  return ReadParams(body, kChatReaders, request);
}

absl::Status ReadCompletionParams(const json::object& body, GenerationRequest* request) {
  return ReadParams(body, kCompletionReaders, request);
}

}  // namespace pingti::router
