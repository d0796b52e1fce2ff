// The tables of request_fields.h. Sources: the API references of OpenAI, Anthropic and DeepSeek,
// and vLLM's names for what it adds to OpenAI's. docs/api.md says the same in words.
#include "common/base/strings.h"
#include "router/api/api_error.h"
#include "router/api/json_fields.h"
#include "router/api/request_fields.h"

namespace pingti::router {
namespace {

using enum FieldUse;

constexpr std::string_view kTextOnly = "this router serves text only";
constexpr std::string_view kNothingStored =
    "this router keeps nothing; send the whole conversation";
constexpr std::string_view kNotContinued = "an assistant's words are not continued";

// Chat completions and completions.
constexpr FieldRow kCommonFields[] = {
    {"model"},
    {"stream"},
    {"stream_options"},
    {"stream_options.include_usage"},
    {"stream_options.*", kIgnored},
    {"temperature"},
    {"top_p"},
    {"top_k"},
    {"min_p"},
    {"presence_penalty"},
    {"frequency_penalty"},
    {"repetition_penalty"},
    {"n"},
    {"seed"},
    {"stop"},
    {"stop_token_ids"},
    {"include_stop_str_in_output"},
    {"ignore_eos"},
    {"speculation"},
    {"min_tokens"},
    {"max_tokens"},
    {"logit_bias"},
    {"priority"},
    {"user"},
    {"prompt_cache_key"},
    {"safety_identifier"},
    {"response_format"},
    {"response_format.type"},
    {"response_format.json_schema"},
    {"response_format.json_schema.name"},
    {"response_format.json_schema.schema", kAsItIs},
    {"response_format.json_schema.strict"},
    {"response_format.json_schema.description", kIgnored},
    {"structured_outputs"},
    {"structured_outputs.json", kAsItIs},
    {"structured_outputs.json_object", kUsed, "", "[false]"},
    {"structured_outputs.regex"},
    {"structured_outputs.choice"},
    {"structured_outputs.grammar"},
    {"structured_outputs.structural_tag", kRefused, "use a grammar"},
    {"structured_outputs.*", kIgnored},
    {"guided_json", kAsItIs},
    {"guided_regex"},
    {"guided_choice"},
    {"guided_grammar"},
    {"guided_decoding_backend", kIgnored},
    {"guided_whitespace_pattern", kIgnored},
    {"client_metadata", kIgnored},
    {"metadata", kIgnored},
    {"prompt_cache_options", kIgnored},
    {"prompt_cache_retention", kIgnored},
    {"request_id", kIgnored},
    {"service_tier", kIgnored, "", R"(["auto","default"])"},
    {"skip_special_tokens", kIgnored, "", "[true]"},
    {"spaces_between_special_tokens", kIgnored, "", "[true]"},
    {"store", kIgnored, "", "[false]"},
    {"best_of", kUsed, "", "[1]"},
    {"num_beams", kUsed, "", "[1]"},
    {"use_beam_search", kUsed, "", "[false]"},
    {"length_penalty"},
    {"early_stopping"},
};

// What makes the prompt of a chat, for /v1/chat/completions and /tokenize.
constexpr FieldRow kChatPromptFields[] = {
    {"messages"},
    {"messages[].role"},
    {"messages[].content"},
    {"messages[].content[].type"},
    {"messages[].content[].text"},
    {"messages[].content[].refusal"},
    {"messages[].content[].*", kIgnored},
    {"messages[].name"},
    {"messages[].reasoning_content"},
    {"messages[].reasoning"},
    {"messages[].tool_call_id"},
    {"messages[].tool_calls", kUsed, "", "[[]]"},
    {"messages[].tool_calls[].id"},
    {"messages[].tool_calls[].type"},
    {"messages[].tool_calls[].function"},
    {"messages[].tool_calls[].function.name"},
    {"messages[].tool_calls[].function.arguments", kAsItIs},
    {"messages[].tool_calls[].function.*", kIgnored},
    {"messages[].tool_calls[].custom"},
    {"messages[].tool_calls[].custom.name"},
    {"messages[].tool_calls[].custom.input"},
    {"messages[].tool_calls[].custom.*", kIgnored},
    {"messages[].tool_calls[].index", kIgnored},
    {"messages[].tool_calls[].*", kIgnored},
    {"messages[].function_call", kRefused, "deprecated; use 'tool_calls'"},
    {"messages[].*", kIgnored},
    {"tools"},
    {"tools[].type"},
    {"tools[].function"},
    {"tools[].function.name"},
    {"tools[].function.description"},
    {"tools[].function.parameters", kAsItIs},
    {"tools[].function.strict"},
    {"tools[].function.*", kIgnored},
    {"tools[].custom"},
    {"tools[].custom.name"},
    {"tools[].custom.description"},
    {"tools[].custom.format", kAsItIs},
    {"tools[].custom.*", kIgnored},
    {"tools[].*", kIgnored},
    {"tool_choice"},
    {"tool_choice.type"},
    {"tool_choice.function"},
    {"tool_choice.function.name"},
    {"tool_choice.custom"},
    {"tool_choice.custom.name"},
    {"tool_choice.allowed_tools", kAsItIs},
    {"chat_template_kwargs", kAsItIs},
    {"add_generation_prompt"},
    {"enable_thinking"},
    {"reasoning_effort"},
    {"reasoning"},
    {"reasoning.effort"},
    {"reasoning.enabled"},
    {"reasoning.max_tokens"},
    {"reasoning.*", kIgnored},
    {"thinking"},
    {"thinking.type"},
    {"thinking.budget_tokens"},
    {"thinking.*", kIgnored},
    {"thinking_budget"},
};

constexpr FieldRow kChatFields[] = {
    {"parallel_tool_calls"},
    {"max_completion_tokens"},
    {"logprobs"},
    {"top_logprobs"},
    {"cache_control", kIgnored},
    {"mm_processor_kwargs", kIgnored},
    {"prediction", kIgnored},
    {"verbosity", kIgnored},
    {"web_search_options", kIgnored},
    {"audio", kRefused, kTextOnly},
    {"moderation", kRefused, "answers are not moderated"},
    {"chat_template", kRefused, "the model's own template is used"},
    {"continue_final_message", kRefused, kNotContinued, "[false]"},
    {"echo", kRefused, "only /v1/completions has it", "[false]"},
    {"function_call", kRefused, "deprecated; use 'tool_choice'", R"(["auto","none"])"},
    {"functions", kRefused, "deprecated; use 'tools'", "[[]]"},
    {"modalities", kRefused, kTextOnly, R"([["text"]])"},
};

constexpr FieldRow kCompletionFields[] = {
    {"prompt"},
    {"logprobs"},
    {"echo"},
    {"suffix", kUsed, "", R"([""])"},
};

constexpr FieldRow kResponsesFields[] = {
    {"model"},
    {"stream"},
    {"temperature"},
    {"top_p"},
    {"user"},
    {"prompt_cache_key"},
    {"safety_identifier"},
    {"parallel_tool_calls"},
    {"seed"},
    {"stop"},
    {"stop_token_ids"},
    {"top_k"},
    {"min_p"},
    {"presence_penalty"},
    {"frequency_penalty"},
    {"repetition_penalty"},
    {"logit_bias"},
    {"min_tokens"},
    {"ignore_eos"},
    {"speculation"},
    {"priority"},
    {"chat_template_kwargs", kAsItIs},
    {"input"},
    {"input[].type"},
    {"input[].role"},
    {"input[].content"},
    {"input[].content[].type"},
    {"input[].content[].text"},
    {"input[].content[].refusal"},
    {"input[].content[].annotations", kIgnored, "", "[[]]"},
    {"input[].content[].logprobs", kIgnored, "", "[[]]"},
    {"input[].content[].*", kIgnored},
    {"input[].call_id"},
    {"input[].name"},
    {"input[].arguments"},
    {"input[].input"},
    {"input[].output"},
    {"input[].output[].type"},
    {"input[].output[].text"},
    {"input[].output[].*", kIgnored},
    {"input[].summary"},
    {"input[].summary[].type"},
    {"input[].summary[].text"},
    {"input[].summary[].*", kIgnored},
    {"input[].id", kIgnored},
    {"input[].status", kIgnored},
    {"input[].*", kIgnored},
    {"instructions"},
    {"include"},
    {"max_output_tokens"},
    {"metadata", kAsItIs},
    {"reasoning"},
    {"reasoning.effort"},
    {"reasoning.*", kIgnored},
    {"stream_options"},
    {"stream_options.*", kIgnored},
    {"text"},
    {"text.format"},
    {"text.format.type"},
    {"text.format.name"},
    {"text.format.schema", kAsItIs},
    {"text.format.strict"},
    {"text.format.description", kIgnored},
    {"text.verbosity", kIgnored},
    {"tools"},
    {"tools[].type"},
    {"tools[].name"},
    {"tools[].description"},
    {"tools[].parameters", kAsItIs},
    {"tools[].strict"},
    {"tools[].format", kAsItIs},
    {"tools[].*", kIgnored},
    {"tool_choice"},
    {"tool_choice.type"},
    {"tool_choice.name"},
    {"tool_choice.mode"},
    {"tool_choice.tools", kAsItIs},
    {"top_logprobs"},
    {"client_metadata", kIgnored},
    {"context_management", kIgnored, "", "[[]]"},
    {"max_tool_calls", kIgnored},
    {"prompt_cache_options", kIgnored},
    {"prompt_cache_retention", kIgnored},
    {"service_tier", kIgnored, "", R"(["auto","default"])"},
    {"store", kIgnored, "", "[false]"},
    {"truncation", kIgnored, "", R"(["disabled"])"},
    {"background", kRefused, "answers are given while the client waits", "[false]"},
    {"background_options", kRefused, "answers are given while the client waits"},
    {"conversation", kRefused, kNothingStored},
    {"moderation", kRefused, "answers are not moderated"},
    {"previous_response_id", kRefused, kNothingStored},
    {"prompt", kRefused, "there are no stored prompts"},
};

// What makes the prompt of a Messages request, for /v1/messages and its count_tokens.
constexpr FieldRow kMessagesPromptFields[] = {
    {"model"},
    {"messages"},
    {"messages[].role"},
    {"messages[].content"},
    {"messages[].content[].type"},
    {"messages[].content[].text"},
    {"messages[].content[].tool_use_id"},
    {"messages[].content[].content"},
    {"messages[].content[].content[].type"},
    {"messages[].content[].content[].text"},
    {"messages[].content[].content[].*", kIgnored},
    {"messages[].content[].is_error"},
    {"messages[].content[].id"},
    {"messages[].content[].name"},
    {"messages[].content[].input", kAsItIs},
    {"messages[].content[].thinking"},
    {"messages[].content[].citations", kIgnored, "", "[[]]"},
    {"messages[].content[].signature", kIgnored, "", R"([""])"},
    {"messages[].content[].*", kIgnored},
    {"messages[].*", kIgnored},
    {"system"},
    {"system[].type"},
    {"system[].text"},
    {"system[].*", kIgnored},
    {"tools"},
    {"tools[].type"},
    {"tools[].name"},
    {"tools[].description"},
    {"tools[].input_schema", kAsItIs},
    {"tools[].strict"},
    {"tools[].*", kIgnored},
    {"tool_choice"},
    {"tool_choice.type"},
    {"tool_choice.name"},
    {"tool_choice.disable_parallel_tool_use"},
    {"thinking"},
    {"thinking.type"},
    {"thinking.budget_tokens"},
    {"thinking.*", kIgnored},
    {"output_config"},
    {"output_config.effort"},
    {"output_config.format"},
    {"output_config.format.type"},
    {"output_config.format.schema", kAsItIs},
    {"output_config.*", kIgnored},
    {"cache_control", kIgnored},
    {"context_management", kIgnored},
};

constexpr FieldRow kMessagesFields[] = {
    {"stream"},
    {"temperature"},
    {"top_p"},
    {"top_k"},
    {"max_tokens"},
    {"stop_sequences"},
    {"metadata"},
    {"metadata.user_id"},
    {"metadata.*", kIgnored},
    {"betas", kIgnored},
    {"container", kIgnored},
    {"diagnostics", kIgnored},
    {"mcp_servers", kIgnored, "", "[[]]"},
    {"service_tier", kIgnored, "", R"(["auto","standard_only"])"},
    {"speed", kIgnored, "", R"(["standard"])"},
    {"inference_geo", kRefused, "the model runs where this router runs"},
    {"prefill", kRefused, kNotContinued},
    {"thread", kRefused, kNothingStored},
};

constexpr FieldRow kTokenizeFields[] = {{"model"}, {"prompt"}, {"add_special_tokens"}};

constexpr FieldRow kDetokenizeFields[] = {{"model"}, {"tokens"}};

constexpr FieldRow kLoadAdapterFields[] = {{"lora_name"}, {"lora_path"}, {"base_model_name"}};

constexpr FieldRow kUnloadAdapterFields[] = {{"lora_name"}, {"base_model_name"}};

absl::Status NotPermitted(std::string_view name) {
  return ApiError(absl::StatusCode::kInvalidArgument,
                  Concat(name, ": Extra inputs are not permitted"), name, "unknown_parameter");
}

}  // namespace

const FieldTable& ChatFields() {
  static const FieldTable* const table =
      new FieldTable({kCommonFields, kChatPromptFields, kChatFields}, &UnknownField);
  return *table;
}

const FieldTable& CompletionFields() {
  static const FieldTable* const table =
      new FieldTable({kCommonFields, kCompletionFields}, &UnknownField);
  return *table;
}

const FieldTable& ResponsesFields() {
  static const FieldTable* const table = new FieldTable({kResponsesFields}, &UnknownField);
  return *table;
}

const FieldTable& MessagesFields() {
  static const FieldTable* const table =
      new FieldTable({kMessagesPromptFields, kMessagesFields}, &NotPermitted);
  return *table;
}

const FieldTable& CountTokensFields() {
  static const FieldTable* const table = new FieldTable({kMessagesPromptFields}, &NotPermitted);
  return *table;
}

const FieldTable& TokenizeFields() {
  static const FieldTable* const table =
      new FieldTable({kChatPromptFields, kTokenizeFields}, &UnknownField);
  return *table;
}

const FieldTable& DetokenizeFields() {
  static const FieldTable* const table = new FieldTable({kDetokenizeFields}, &UnknownField);
  return *table;
}

const FieldTable& LoadAdapterFields() {
  static const FieldTable* const table = new FieldTable({kLoadAdapterFields}, &UnknownField);
  return *table;
}

const FieldTable& UnloadAdapterFields() {
  static const FieldTable* const table = new FieldTable({kUnloadAdapterFields}, &UnknownField);
  return *table;
}

}  // namespace pingti::router
