// Every field is read, or refused by name.
#include "router/openai/parse.h"

#include <gtest/gtest.h>

#include <string>

#include "boost/json.hpp"
#include "router/api/api_error.h"

namespace pingti::router {
namespace {

std::string Chat(const std::string& more) {
  return R"({"model":"m","messages":[{"role":"user","content":"hi"}])" +
         (more.empty() ? "" : "," + more) + "}";
}

std::string Completion(const std::string& more) {
  return R"({"model":"m","prompt":"hi")" + (more.empty() ? "" : "," + more) + "}";
}

struct Refused {
  const char* json;
  const char* param;
  const char* code;
};

void PrintTo(const Refused& refused, std::ostream* out) { *out << refused.json; }

class ChatRefuses : public ::testing::TestWithParam<Refused> {};

TEST_P(ChatRefuses, TheFieldByName) {
  const absl::StatusOr<ParsedRequest> parsed = ParseChatRequest(Chat(GetParam().json));
  ASSERT_FALSE(parsed.ok()) << GetParam().json;
  EXPECT_TRUE(absl::IsInvalidArgument(parsed.status()));
  EXPECT_EQ(ErrorParam(parsed.status()), GetParam().param) << parsed.status();
  EXPECT_EQ(ErrorCode(parsed.status()), GetParam().code) << parsed.status();
}

constexpr char kUnsupported[] = "unsupported_parameter";
constexpr char kType[] = "invalid_type";
constexpr char kValue[] = "invalid_value";

INSTANTIATE_TEST_SUITE_P(
    Fields, ChatRefuses,
    ::testing::Values(
        Refused{R"("audio":{"voice":"a","format":"mp3"})", "audio", kUnsupported},
        Refused{R"("function_call":"auto")", "function_call", kUnsupported},
        Refused{R"("functions":[])", "functions", kUnsupported},
        Refused{R"("metadata":{"a":"b"})", "metadata", kUnsupported},
        Refused{R"("modalities":["text","audio"])", "modalities", kUnsupported},
        Refused{R"("moderation":{})", "moderation", kUnsupported},
        Refused{
            R"("parallel_tool_calls":false,"tools":[{"type":"function","function":{"name":"f"}}])",
            "parallel_tool_calls", kUnsupported},
        Refused{R"("parallel_tool_calls":1)", "parallel_tool_calls", kType},
        Refused{R"("prediction":{"type":"content","content":"x"})", "prediction", kUnsupported},
        Refused{R"("prompt_cache_key":"k")", "prompt_cache_key", kUnsupported},
        Refused{R"("prompt_cache_retention":"24h")", "prompt_cache_retention", kUnsupported},
        Refused{R"("reasoning_effort":"low")", "reasoning_effort", kUnsupported},
        Refused{R"("response_format":3)", "response_format", kType},
        Refused{R"("response_format":{"type":"xml"})", "response_format.type", kValue},
        Refused{R"("response_format":{"type":"json_object","x":1})", "response_format.x",
                "unknown_parameter"},
        Refused{R"("response_format":{"type":"text","json_schema":{}})",
                "response_format.json_schema", kValue},
        Refused{R"("response_format":{"type":"json_schema"})", "response_format.json_schema",
                "missing_required_parameter"},
        Refused{R"("response_format":{"type":"json_schema","json_schema":{}})",
                "response_format.json_schema.name", "missing_required_parameter"},
        Refused{R"("response_format":{"type":"json_schema","json_schema":{"name":"n"}})",
                "response_format.json_schema.schema", "missing_required_parameter"},
        Refused{R"("response_format":{"type":"json_schema","json_schema":{"name":"n","schema":1}})",
                "response_format.json_schema.schema", kType},
        Refused{R"("response_format":{})", "response_format.type", "missing_required_parameter"},
        Refused{R"("guided_json":3)", "guided_json", kType},
        Refused{R"("guided_regex":3)", "guided_regex", kType},
        Refused{R"("guided_choice":[])", "guided_choice", kType},
        Refused{R"("guided_choice":[1])", "guided_choice", kType},
        Refused{R"("guided_grammar":{})", "guided_grammar", kType},
        Refused{R"("guided_regex":"a","guided_grammar":"root ::= \"a\"")", "guided_grammar",
                kValue},
        Refused{R"("safety_identifier":"s")", "safety_identifier", kUnsupported},
        Refused{R"("service_tier":"flex")", "service_tier", kUnsupported},
        Refused{R"("store":true)", "store", kUnsupported},
        Refused{R"("thinking":{"type":"enabled"})", "thinking", kUnsupported},
        Refused{R"("tool_choice":"required","tools":[])", "tool_choice", kValue},
        Refused{R"("tool_choice":{"type":"function","function":{"name":"f"}},"tools":[])",
                "tool_choice", kValue},
        Refused{R"("tool_choice":{"type":"allowed_tools"},"tools":[])", "tool_choice.type",
                kUnsupported},
        Refused{R"("tool_choice":{"type":"function","function":{}},"tools":[])",
                "tool_choice.function.name", "missing_required_parameter"},
        Refused{R"("tool_choice":{"type":"function","function":{"name":"f","x":1}},"tools":[])",
                "tool_choice.function.x", "unknown_parameter"},
        Refused{R"("tools":[{"type":"function","function":{"name":"f","strict":1}}])",
                "tools[0].function.strict", kType},
        Refused{R"("tools":[{"type":"function","function":{"name":"f","description":1}}])",
                "tools[0].function.description", kType},
        Refused{R"("tool_choice":"any","tools":[])", "tool_choice", kValue},
        Refused{R"("tool_choice":"auto")", "tool_choice", kValue},
        Refused{R"("tools":[{"type":"custom","custom":{}}])", "tools[0].type", kUnsupported},
        Refused{R"("tools":[{"type":"function","function":{"name":"f","strict":true}}])",
                "tools[0].function.strict", kUnsupported},
        Refused{R"("verbosity":"low")", "verbosity", kUnsupported},
        Refused{R"("web_search_options":{})", "web_search_options", kUnsupported},
        Refused{R"("tempreature":1)", "tempreature", "unknown_parameter"},
        Refused{R"("echo":true)", "echo", "unknown_parameter"},
        Refused{R"("stream":true,"stream_options":{"x":1})", "stream_options.x",
                "unknown_parameter"},
        Refused{R"("stream_options":{"include_usage":true})", "stream_options", kValue},
        Refused{R"("max_tokens":0)", "max_tokens", kValue},
        Refused{R"("max_tokens":-1)", "max_tokens", kValue},
        Refused{R"("max_tokens":1.5)", "max_tokens", kType},
        Refused{R"("max_tokens":18446744073709551615)", "max_tokens", kValue},
        Refused{R"("max_tokens":5,"max_completion_tokens":6)", "max_completion_tokens", kValue},
        Refused{R"("n":0)", "n", kValue}, Refused{R"("n":"2")", "n", kType},
        Refused{R"("temperature":"hot")", "temperature", kType},
        Refused{R"("stop":[1])", "stop", kType}, Refused{R"("seed":1.5)", "seed", kType},
        Refused{R"("logprobs":1)", "logprobs", kType},
        Refused{R"("top_logprobs":21)", "top_logprobs", kValue},
        Refused{R"("logit_bias":{"x":1})", "logit_bias", kValue},
        Refused{R"("logit_bias":[1])", "logit_bias", kType},
        Refused{R"("chat_template_kwargs":{"messages":[]})", "chat_template_kwargs.messages",
                kValue},
        Refused{R"("user":3)", "user", kType}));

class ChatRefusesMessages : public ::testing::TestWithParam<Refused> {};

TEST_P(ChatRefusesMessages, TheFieldByName) {
  const std::string body = std::string(R"({"model":"m","messages":)") + GetParam().json + "}";
  const absl::StatusOr<ParsedRequest> parsed = ParseChatRequest(body);
  ASSERT_FALSE(parsed.ok()) << body;
  EXPECT_EQ(ErrorParam(parsed.status()), GetParam().param) << parsed.status();
  EXPECT_EQ(ErrorCode(parsed.status()), GetParam().code) << parsed.status();
}

INSTANTIATE_TEST_SUITE_P(
    Messages, ChatRefusesMessages,
    ::testing::Values(
        Refused{"[]", "messages", "empty_array"}, Refused{"{}", "messages", kType},
        Refused{"[1]", "messages[0]", kType},
        Refused{R"([{"content":"x"}])", "messages[0].role", "missing_required_parameter"},
        Refused{R"([{"role":"wizard","content":"x"}])", "messages[0].role", kValue},
        Refused{R"([{"role":"function","name":"f","content":"x"}])", "messages[0].role",
                kUnsupported},
        Refused{R"([{"role":"user"}])", "messages[0].content", "missing_required_parameter"},
        Refused{R"([{"role":"user","content":3}])", "messages[0].content", kType},
        Refused{R"([{"role":"user","content":[{"type":"image_url","image_url":{"url":"u"}}]}])",
                "messages[0].content[0].type", kUnsupported},
        Refused{R"([{"role":"user","content":[{"type":"text"}]}])", "messages[0].content[0].text",
                "missing_required_parameter"},
        Refused{R"([{"role":"user","content":"x","foo":1}])", "messages[0].foo",
                "unknown_parameter"},
        Refused{R"([{"role":"assistant","content":"x","audio":{"id":"a"}}])", "messages[0].audio",
                kUnsupported},
        Refused{R"([{"role":"user","content":"x","tool_calls":[]}])", "messages[0].tool_calls",
                kValue},
        Refused{R"([{"role":"assistant","tool_calls":[{"id":"1","type":"function"}]}])",
                "messages[0].tool_calls[0].function", "missing_required_parameter"},
        Refused{R"([{"role":"tool","content":"x"}])", "messages[0].tool_call_id",
                "missing_required_parameter"}));

TEST(ParseChat, RefusesWhatIsNoJsonObject) {
  for (const char* body : {"", "{", "[]", "null", "\xff\xfe", R"({"model":3})", "{}"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParseChatRequest(body).status())) << body;
  }
  const std::string deep = R"({"model":)" + std::string(100'000, '[');
  EXPECT_TRUE(absl::IsInvalidArgument(ParseChatRequest(deep).status()));
}

TEST(ParseChat, ReadsEverySupportedField) {
  const absl::StatusOr<ParsedRequest> parsed = ParseChatRequest(Chat(
      R"("stream":true,"stream_options":{"include_usage":true},"n":2,"stop":["a","b"],"seed":-1,
         "temperature":0.5,"top_p":0.9,"top_k":-1,"min_p":0.1,"presence_penalty":1,
         "frequency_penalty":-1,"repetition_penalty":1.1,"logit_bias":{"5":-100},"logprobs":true,
         "top_logprobs":3,"max_completion_tokens":7,"min_tokens":2,"stop_token_ids":[9],
         "ignore_eos":true,"user":"u","priority":-3,"response_format":{"type":"text"},
         "modalities":["text"],"service_tier":"auto","store":false,"parallel_tool_calls":true,
         "chat_template_kwargs":{"enable_thinking":false},"audio":null)"));
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  const GenerationParams& params = parsed->request.params;
  EXPECT_TRUE(parsed->stream);
  EXPECT_TRUE(parsed->include_usage);
  EXPECT_EQ(params.n, 2u);
  EXPECT_EQ(params.stop, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(params.seed, ~0ull);
  EXPECT_EQ(params.temperature, 0.5);
  EXPECT_EQ(params.top_p, 0.9);
  EXPECT_EQ(params.top_k, 0u);
  EXPECT_EQ(params.min_p, 0.1);
  EXPECT_EQ(params.presence_penalty, 1);
  EXPECT_EQ(params.frequency_penalty, -1);
  EXPECT_EQ(params.repetition_penalty, 1.1);
  ASSERT_EQ(params.logit_bias.size(), 1u);
  EXPECT_EQ(params.logit_bias[0], (std::pair<uint32_t, float>{5, -100.0f}));
  EXPECT_TRUE(params.logprobs);
  EXPECT_EQ(params.top_logprobs, 3u);
  EXPECT_EQ(params.max_tokens, 7u);
  EXPECT_EQ(params.min_tokens, 2u);
  EXPECT_EQ(params.stop_token_ids, std::vector<uint32_t>{9});
  EXPECT_TRUE(params.ignore_eos);
  EXPECT_EQ(params.priority, -3);
  EXPECT_EQ(parsed->request.user, "u");
  EXPECT_EQ(parsed->request.template_context->at("enable_thinking"), false);
}

TEST(ParseChat, BringsMessagesIntoTheTemplatesForm) {
  const absl::StatusOr<ParsedRequest> parsed = ParseChatRequest(
      R"({"model":"m","messages":[{"role":"developer","content":[{"type":"text","text":"a"},
          {"type":"text","text":"b"}]},{"role":"assistant","content":null,"tool_calls":[{"id":"1",
          "type":"function","function":{"name":"f","arguments":"{}"}}]},
          {"role":"tool","tool_call_id":"1","content":"ok"}]})");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  const auto& messages = parsed->request.template_context->at("messages").as_array();
  EXPECT_EQ(messages[0].at("role"), "system");
  EXPECT_EQ(messages[0].at("content"), "ab");
  EXPECT_EQ(messages[1].at("content"), "");
}

TEST(ParseChat, ToolsAreShownUnlessToolChoiceIsNone) {
  const std::string tools =
      R"("tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}])";
  absl::StatusOr<ParsedRequest> parsed = ParseChatRequest(Chat(tools));
  ASSERT_TRUE(parsed.ok());
  EXPECT_TRUE(parsed->request.parse_tool_calls);
  EXPECT_TRUE(parsed->request.template_context->contains("tools"));
  parsed = ParseChatRequest(Chat(tools + R"(,"tool_choice":"none")"));
  ASSERT_TRUE(parsed.ok());
  EXPECT_FALSE(parsed->request.parse_tool_calls);
  EXPECT_FALSE(parsed->request.template_context->contains("tools"));
}

TEST(ParseChat, AForcedCallIsNamedAndMayBeStrict) {
  const std::string tools =
      R"("tools":[{"type":"function","function":{"name":"f","strict":true}}],)";
  absl::StatusOr<ParsedRequest> parsed =
      ParseChatRequest(Chat(tools + R"("tool_choice":"required","parallel_tool_calls":false)"));
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_TRUE(parsed->request.require_tool_call);
  EXPECT_FALSE(parsed->request.parallel_tool_calls);
  parsed = ParseChatRequest(
      Chat(tools + R"("tool_choice":{"type":"function","function":{"name":"f"}})"));
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->request.named_tool, "f");
  parsed = ParseChatRequest(
      Chat(tools + R"("tool_choice":"required","response_format":{"type":"json_object"})"));
  EXPECT_EQ(ErrorParam(parsed.status()), "response_format");
}

TEST(ParseChat, AFormatBecomesAGrammar) {
  using Kind = grammar::GrammarSource::Kind;
  const auto grammar_of = [](const std::string& fields) {
    const absl::StatusOr<ParsedRequest> parsed = ParseChatRequest(Chat(fields));
    EXPECT_TRUE(parsed.ok()) << parsed.status();
    return parsed->request.grammar;
  };
  EXPECT_FALSE(grammar_of(R"("response_format":{"type":"text"})").has_value());
  EXPECT_EQ(grammar_of(R"("response_format":{"type":"json_object"})")->kind, Kind::kJsonObject);
  EXPECT_EQ(grammar_of(R"("response_format":{"type":"json_schema","json_schema":
                {"name":"n","strict":false,"schema":{"b":1,"a":2}}})")
                ->text,
            R"({"b":1,"a":2})");
  EXPECT_EQ(grammar_of(R"("guided_json":"{}")")->kind, Kind::kJsonSchema);
  EXPECT_EQ(grammar_of(R"("guided_regex":"a+")")->text, "a+");
  EXPECT_EQ(grammar_of(R"("guided_choice":["a","b"])")->kind, Kind::kEbnf);
}

class CompletionRefuses : public ::testing::TestWithParam<Refused> {};

TEST_P(CompletionRefuses, TheFieldByName) {
  const absl::StatusOr<ParsedRequest> parsed = ParseCompletionRequest(Completion(GetParam().json));
  ASSERT_FALSE(parsed.ok()) << GetParam().json;
  EXPECT_EQ(ErrorParam(parsed.status()), GetParam().param) << parsed.status();
  EXPECT_EQ(ErrorCode(parsed.status()), GetParam().code) << parsed.status();
}

INSTANTIATE_TEST_SUITE_P(Fields, CompletionRefuses,
                         ::testing::Values(Refused{R"("suffix":1)", "suffix", kType},
                                           Refused{R"("max_tokens":-1)", "max_tokens", kValue},
                                           Refused{R"("best_of":2)", "best_of", kUnsupported},
                                           Refused{R"("logprobs":true)", "logprobs", kType},
                                           Refused{R"("messages":[])", "messages",
                                                   "unknown_parameter"}));

TEST(ParseCompletion, TakesAllFourFormsOfPrompt) {
  const auto prompts = [](const std::string& prompt) {
    return ParseCompletionRequest(R"({"model":"m","prompt":)" + prompt + "}")->request.prompts;
  };
  EXPECT_EQ(prompts(R"("a")"), std::vector<Prompt>{std::string("a")});
  EXPECT_EQ(prompts(R"(["a","b"])"), (std::vector<Prompt>{std::string("a"), std::string("b")}));
  EXPECT_EQ(prompts("[1,2]"), (std::vector<Prompt>{std::vector<uint32_t>{1, 2}}));
  EXPECT_EQ(prompts("[[1],[2]]"),
            (std::vector<Prompt>{std::vector<uint32_t>{1}, std::vector<uint32_t>{2}}));
  EXPECT_FALSE(ParseCompletionRequest(R"({"model":"m","prompt":[1,"a"]})").ok());
  EXPECT_FALSE(ParseCompletionRequest(R"({"model":"m","prompt":{}})").ok());
}

}  // namespace
}  // namespace pingti::router
