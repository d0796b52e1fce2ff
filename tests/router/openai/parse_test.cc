// Every field is used, ignored and named, or refused by name.
#include "router/openai/parse.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <string_view>

#include "boost/json.hpp"
#include "common/base/strings.h"
#include "router/api/api_error.h"
#include "router/api/request_fields.h"
#include "tests/router/refused.h"

namespace pingti::router {
namespace {

std::string Chat(const std::string& more) {
  return R"({"model":"m","messages":[{"role":"user","content":"hi"}])" +
         (more.empty() ? "" : "," + more) + "}";
}

std::string Completion(const std::string& more) {
  return R"({"model":"m","prompt":"hi")" + (more.empty() ? "" : "," + more) + "}";
}

class ChatRefuses : public ::testing::TestWithParam<Refused> {};

TEST_P(ChatRefuses, TheFieldByName) {
  const absl::StatusOr<ParsedRequest> parsed = ParseChatRequest(Chat(GetParam().json));
  ASSERT_FALSE(parsed.ok()) << GetParam().json;
  EXPECT_TRUE(absl::IsInvalidArgument(parsed.status()));
  EXPECT_EQ(ErrorParam(parsed.status()), GetParam().param) << parsed.status();
  EXPECT_EQ(ErrorCode(parsed.status()), GetParam().code) << parsed.status();
}

INSTANTIATE_TEST_SUITE_P(
    Fields, ChatRefuses,
    ::testing::Values(
        Refused{R"("audio":{"voice":"a","format":"mp3"})", "audio", kUnsupported},
        Refused{R"("modalities":["text","audio"])", "modalities", kUnsupported},
        Refused{R"("echo":true)", "echo", kUnsupported},
        Refused{R"("best_of":0)", "best_of", kValue},
        Refused{R"("num_beams":129)", "num_beams", kValue},
        Refused{R"("use_beam_search":1)", "use_beam_search", kType},
        Refused{R"("early_stopping":"always")", "early_stopping", kType},
        Refused{R"("length_penalty":"long")", "length_penalty", kType},
        Refused{R"("functions":[{"name":"f"}])", "functions", kUnsupported},
        Refused{R"("function_call":{"name":"f"})", "function_call", kUnsupported},
        Refused{R"("moderation":{"model":"omni"})", "moderation", kUnsupported},
        Refused{R"("continue_final_message":true)", "continue_final_message", kUnsupported},
        Refused{R"("structured_outputs":{"structural_tag":"t"})",
                "structured_outputs.structural_tag", kUnsupported},
        Refused{R"("structured_outputs":{"regex":3})", "structured_outputs.regex", kType},
        Refused{R"("structured_outputs":{"json":{},"regex":"a"})", "structured_outputs.regex",
                kValue},
        Refused{R"("reasoning_effort":3)", "reasoning_effort", kType},
        Refused{R"("reasoning":"low")", "reasoning", kType},
        Refused{R"("thinking":{"type":"deep"})", "thinking.type", kValue},
        Refused{R"("thinking":{"type":"enabled","budget_tokens":-1})", "thinking.budget_tokens",
                kValue},
        Refused{R"("thinking_budget":"many")", "thinking_budget", kType},
        Refused{R"("enable_thinking":1)", "enable_thinking", kType},
        Refused{R"("add_generation_prompt":1)", "add_generation_prompt", kType},
        Refused{R"("parallel_tool_calls":1)", "parallel_tool_calls", kType},
        Refused{R"("response_format":3)", "response_format", kType},
        Refused{R"("response_format":{"type":"xml"})", "response_format.type", kValue},
        Refused{R"("response_format":{"type":"json_object","x":1})", "response_format.x", kUnknown},
        Refused{R"("response_format":{"type":"text","json_schema":{"name":"n"}})",
                "response_format.json_schema", kValue},
        Refused{R"("response_format":{"type":"json_schema"})", "response_format.json_schema",
                kMissing},
        Refused{R"("response_format":{"type":"json_schema","json_schema":{"schema":{}}})",
                "response_format.json_schema.name", kMissing},
        Refused{R"("response_format":{"type":"json_schema","json_schema":{"name":"n"}})",
                "response_format.json_schema.schema", kMissing},
        Refused{R"("response_format":{"type":"json_schema","json_schema":{"name":"n","schema":1}})",
                "response_format.json_schema.schema", kType},
        Refused{R"("guided_json":3)", "guided_json", kType},
        Refused{R"("guided_regex":3)", "guided_regex", kType},
        Refused{R"("guided_choice":[])", "guided_choice", kType},
        Refused{R"("guided_choice":[1])", "guided_choice", kType},
        Refused{R"("guided_regex":"a","guided_grammar":"root ::= \"a\"")", "guided_grammar",
                kValue},
        Refused{R"("tool_choice":"required","tools":[])", "tool_choice", kValue},
        Refused{R"("tool_choice":{"type":"function","function":{"name":"f"}},"tools":[])",
                "tool_choice", kValue},
        Refused{R"("tool_choice":{"type":"web_search"},"tools":[])", "tool_choice.type",
                kUnsupported},
        Refused{R"("tool_choice":{"type":"allowed_tools"},"tools":[])", "tool_choice.allowed_tools",
                kMissing},
        Refused{R"("tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"none",)"
                R"("tools":[]}},"tools":[])",
                "tool_choice.allowed_tools.mode", kValue},
        Refused{R"("tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"auto",)"
                R"("tools":[{"type":"function","function":{"name":"g"}}]}},)"
                R"("tools":[{"type":"function","function":{"name":"f"}}])",
                "tool_choice.allowed_tools.tools", kValue},
        Refused{R"("tools":[{"type":"custom"}])", "tools[0].custom", kMissing},
        Refused{R"("tools":[{"type":"custom","custom":{"name":"c","format":{"type":"x"}}}])",
                "tools[0].custom.format.type", kValue},
        Refused{R"("tools":[{"type":"custom","custom":{"name":"c","format":{"type":"grammar",)"
                R"("syntax":"x","definition":"y"}}}])",
                "tools[0].custom.format.syntax", kValue},
        Refused{R"("tool_choice":{"type":"function","function":3},"tools":[])",
                "tool_choice.function", kType},
        Refused{R"("tool_choice":{"type":"function","function":{"name":"f","x":1}},"tools":[])",
                "tool_choice.function.x", kUnknown},
        Refused{R"("tools":[{"type":"function","function":{"name":"f","strict":1}}])",
                "tools[0].function.strict", kType},
        Refused{R"("tools":[{"type":"function","function":{"name":"f","description":1}}])",
                "tools[0].function.description", kType},
        Refused{R"("tool_choice":"any","tools":[])", "tool_choice", kValue},
        Refused{R"("tempreature":1)", "tempreature", kUnknown},
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

struct Ignored {
  const char* json;
  const char* header;
};
void PrintTo(const Ignored& ignored, std::ostream* out) { *out << ignored.json; }

class ChatIgnores : public ::testing::TestWithParam<Ignored> {};

TEST_P(ChatIgnores, TheFieldAndNamesIt) {
  const absl::StatusOr<ParsedRequest> parsed = ParseChatRequest(Chat(GetParam().json));
  ASSERT_TRUE(parsed.ok()) << GetParam().json << ": " << parsed.status();
  EXPECT_EQ(parsed->ignored.Header(), GetParam().header);
}

INSTANTIATE_TEST_SUITE_P(
    HintsAndLabels, ChatIgnores,
    ::testing::Values(
        Ignored{R"("metadata":{"a":"b"},"store":true,"verbosity":"low")",
                "metadata, store, verbosity"},
        Ignored{R"("prediction":{"type":"content","content":"x"})", "prediction"},
        Ignored{R"("prompt_cache_retention":"24h","client_metadata":{"a":"b"})",
                "client_metadata, prompt_cache_retention"},
        Ignored{R"("service_tier":"flex")", "service_tier"},
        Ignored{R"("web_search_options":{"search_context_size":"low"})", "web_search_options"},
        Ignored{R"("stream":true,"stream_options":{"include_obfuscation":false,)"
                R"("continuous_usage_stats":true})",
                "stream_options.continuous_usage_stats, stream_options.include_obfuscation"},
        Ignored{R"("tools":[{"type":"custom","custom":{"name":"c","x":1}},{"type":"web_search"},)"
                R"({"type":"a\r\nb"}])",
                "tools[*], tools[].custom.x, tools[web_search]"},
        Ignored{R"("tools":[{"type":"custom","custom":{"name":"c","format":{"type":"grammar",)"
                R"("grammar":{"syntax":"lark","definition":"start: \"x\""}}}}])",
                "tools[custom].format"},
        Ignored{R"("tools":[{"type":"function","cache_control":{"type":"ephemeral"},)"
                R"("function":{"name":"f","x":1}}])",
                "tools[].cache_control, tools[].function.x"}));

INSTANTIATE_TEST_SUITE_P(
    NothingThatIsLeftOut, ChatIgnores,
    ::testing::Values(
        Ignored{R"("metadata":null,"store":false,"service_tier":"auto","verbosity":null)", ""},
        Ignored{R"("response_format":{},"stream_options":{"include_usage":null})", ""},
        Ignored{R"("response_format":{"type":"text","json_schema":null})", ""},
        Ignored{R"("function_call":"auto","functions":[],"modalities":["text"],"best_of":1)", ""},
        Ignored{R"("function_call":null,"functions":null,"audio":null,"tools":null)", ""},
        Ignored{R"("moderation":{},"web_search_options":{},"logit_bias":{},"tool_choice":{})", ""},
        Ignored{R"("tool_choice":"auto","unheard_of":null)", ""}));

TEST(ParseChat, TakesAnAnswerBackAsItCame) {
  const absl::StatusOr<ParsedRequest> parsed = ParseChatRequest(
      R"({"model":"m","messages":[{"role":"user","content":"hi","name":null},
          {"role":"assistant","content":null,"refusal":null,"annotations":[],"audio":null,
           "function_call":null,"parsed":{"a":1},"reasoning_content":"hm","tool_calls":[
            {"id":"1","type":"function","index":0,"function":{"name":"f","arguments":"",
             "parsed_arguments":null}}]},
          {"role":"tool","tool_call_id":"1","content":"ok"},
          {"role":"assistant","content":[{"type":"refusal","refusal":"no"}],"tool_calls":null},
          {"role":"assistant","content":null,"reasoning":"so"}]})");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->ignored.Header(),
            "messages[].annotations, messages[].parsed, messages[].tool_calls[].index");
  EXPECT_EQ(parsed->request.template_context->at("messages"), boost::json::parse(R"([
      {"role":"user","content":"hi"},
      {"role":"assistant","content":"","reasoning_content":"hm","tool_calls":[
        {"id":"1","type":"function","function":{"name":"f","arguments":"{}"}}]},
      {"role":"tool","tool_call_id":"1","content":"ok"},
      {"role":"assistant","content":"no"},
      {"role":"assistant","content":"","reasoning_content":"so"}])"));
}

TEST(ParseChat, ACallsArgumentsAreJsonTextHoweverTheyCame) {
  const auto arguments = [](const std::string& sent) {
    const absl::StatusOr<ParsedRequest> parsed = ParseChatRequest(
        R"({"model":"m","messages":[{"role":"assistant","tool_calls":[{"id":"1","function":)"
        R"({"name":"f")" +
        sent + "}}]}]}");
    EXPECT_TRUE(parsed.ok()) << parsed.status();
    return std::string(parsed->request.template_context->at("messages")
                           .at(0)
                           .at("tool_calls")
                           .at(0)
                           .at("function")
                           .at("arguments")
                           .as_string());
  };
  EXPECT_EQ(arguments(""), "{}");
  EXPECT_EQ(arguments(R"(,"arguments":null)"), "{}");
  EXPECT_EQ(arguments(R"(,"arguments":"")"), "{}");
  EXPECT_EQ(arguments(R"(,"arguments":{"a":1})"), R"({"a":1})");
}

TEST(ParseChat, NullsInASchemaAreLeftOutButForValues) {
  const absl::StatusOr<ParsedRequest> parsed = ParseChatRequest(Chat(
      R"("tools":[{"type":"function","function":{"name":"f","strict":null,"description":null,
          "parameters":{"type":"object","required":null,"properties":{"b":{"type":"string",
          "title":null,"default":null},"a":{"enum":[null,1]}}}}}],
         "response_format":{"type":"json_schema","json_schema":{"name":"n","description":null,
          "strict":null,"schema":{"title":null,"const":null}}})"));
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(boost::json::serialize(parsed->request.template_context->at("tools")),
            R"([{"type":"function","function":{"name":"f","parameters":{"type":"object",)"
            R"("properties":{"b":{"type":"string","default":null},"a":{"enum":[null,1]}}}}}])");
  EXPECT_EQ(parsed->request.grammar->text, R"({"const":null})");
}

TEST(ParseChat, WholeNumbersMayBeWrittenWithAPoint) {
  const absl::StatusOr<ParsedRequest> parsed =
      ParseChatRequest(Chat(R"("max_tokens":16.0,"n":2.0,"seed":7.0,"top_k":1e1)"));
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->request.params.max_tokens, 16u);
  EXPECT_EQ(parsed->request.params.n, 2u);
  EXPECT_EQ(parsed->request.params.seed, 7u);
  EXPECT_EQ(parsed->request.params.top_k, 10u);
}

struct Switched {
  const char* json;
  const char* context;  // what the template sees beside the messages
  std::optional<uint32_t> budget;
};
void PrintTo(const Switched& switched, std::ostream* out) { *out << switched.json; }

class ChatThinking : public ::testing::TestWithParam<Switched> {};

TEST_P(ChatThinking, IsTheTemplatesSwitch) {
  const absl::StatusOr<ParsedRequest> parsed = ParseChatRequest(Chat(GetParam().json));
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  boost::json::object context = *parsed->request.template_context;
  context.erase("messages");
  EXPECT_EQ(context, boost::json::parse(GetParam().context).as_object())
      << boost::json::serialize(context);
  EXPECT_EQ(parsed->request.thinking_budget, GetParam().budget);
  EXPECT_EQ(parsed->ignored.Header(), "");
}

INSTANTIATE_TEST_SUITE_P(
    Words, ChatThinking,
    ::testing::Values(
        Switched{R"("user":"u")", "{}", {}},
        Switched{R"("enable_thinking":false)", R"({"enable_thinking":false,"thinking":false})", {}},
        Switched{R"("thinking":{"type":"enabled","budget_tokens":9})",
                 R"({"enable_thinking":true,"thinking":true})", 9},
        Switched{R"("thinking":{"type":"disabled"})",
                 R"({"enable_thinking":false,"thinking":false})",
                 {}},
        Switched{R"("reasoning_effort":"high")",
                 R"({"enable_thinking":true,"thinking":true,"reasoning_effort":"high"})",
                 {}},
        Switched{R"("reasoning_effort":"none")",
                 R"({"enable_thinking":false,"thinking":false,"reasoning_effort":"none"})",
                 {}},
        Switched{R"("reasoning":{"effort":"low","max_tokens":5})",
                 R"({"enable_thinking":true,"thinking":true,"reasoning_effort":"low"})", 5},
        Switched{R"("reasoning_effort":"high","enable_thinking":false,"thinking_budget":3)",
                 R"({"enable_thinking":false,"thinking":false,"reasoning_effort":"high"})", 3},
        Switched{R"("reasoning_effort":"low","chat_template_kwargs":{"enable_thinking":false})",
                 R"({"enable_thinking":false,"thinking":true,"reasoning_effort":"low"})",
                 {}}));

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
        Refused{"[]", "messages", "empty_array"}, Refused{"{}", "messages", kMissing},
        Refused{R"("hi")", "messages", kType}, Refused{"[1]", "messages[0]", kType},
        Refused{R"([{"content":"x"}])", "messages[0].role", kMissing},
        Refused{R"([{"role":"wizard","content":"x"}])", "messages[0].role", kValue},
        Refused{R"([{"role":"function","name":"f","content":"x"}])", "messages[0].role",
                kUnsupported},
        Refused{R"([{"role":"user"}])", "messages[0].content", kMissing},
        Refused{R"([{"role":"user","content":3}])", "messages[0].content", kType},
        Refused{R"([{"role":"user","content":[{"type":"image_url","image_url":{"url":"u"}}]}])",
                "messages[0].content[0].type", kUnsupported},
        Refused{R"([{"role":"user","content":[{"type":"text"}]}])", "messages[0].content[0].text",
                kMissing},
        Refused{R"([{"role":"user","content":"x","tool_calls":[{"id":"1"}]}])",
                "messages[0].tool_calls", kValue},
        Refused{R"([{"role":"assistant","content":"x","function_call":{"name":"f"}}])",
                "messages[0].function_call", kUnsupported},
        Refused{R"([{"role":"assistant","tool_calls":[{"id":"1","type":"function",)"
                R"("function":{"name":"f","arguments":[]}}]}])",
                "messages[0].tool_calls[0].function.arguments", kType},
        Refused{R"([{"role":"assistant","tool_calls":[{"id":"1","type":"function"}]}])",
                "messages[0].tool_calls[0].function", kMissing},
        Refused{R"([{"role":"tool","content":"x"}])", "messages[0].tool_call_id", kMissing}));

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
         "ignore_eos":true,"speculation":false,"user":"u","priority":-3,"response_format":{"type":"text"},
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
  EXPECT_FALSE(params.speculation);
  EXPECT_EQ(params.priority, -3);
  EXPECT_EQ(parsed->request.affinity_hint, "u");
  EXPECT_EQ(parsed->request.template_context->at("enable_thinking"), false);
}

TEST(ParseChat, ReadsBeams) {
  const auto params = [](const std::string& fields) {
    absl::StatusOr<ParsedRequest> parsed = ParseChatRequest(Chat(fields));
    EXPECT_TRUE(parsed.ok()) << parsed.status();
    return parsed->request.params;
  };
  GenerationParams read = params(R"("num_beams":4,"length_penalty":0.5,"early_stopping":"never")");
  EXPECT_EQ(read.beams(), 4u);
  EXPECT_EQ(read.length_penalty, 0.5);
  EXPECT_EQ(read.early_stopping, EarlyStopping::kNever);
  EXPECT_EQ(params(R"("num_beams":4,"early_stopping":true)").early_stopping, EarlyStopping::kTrue);
  EXPECT_EQ(params(R"("num_beams":4,"early_stopping":false)").early_stopping,
            EarlyStopping::kFalse);
  read = params(R"("use_beam_search":true,"best_of":5,"n":2)");
  EXPECT_EQ(read.beams(), 5u);
  EXPECT_EQ(read.n, 2u);
  read = params(R"("use_beam_search":false,"best_of":5,"n":2,"num_beams":1)");
  EXPECT_EQ(read.beams(), 1u);
  EXPECT_EQ(read.width(), 5u);
}

TEST(ParseChat, TakesTheMostExactHintOfWhatBelongsTogether) {
  const auto hint = [](std::string_view fields) {
    const absl::StatusOr<ParsedRequest> parsed = ParseChatRequest(Chat(std::string(fields)));
    EXPECT_TRUE(parsed.ok()) << fields << ": " << parsed.status();
    EXPECT_EQ(parsed->ignored.Header(), "") << fields;
    return parsed->request.affinity_hint;
  };
  EXPECT_EQ(hint(R"("safety_identifier":"s","user":"u","prompt_cache_key":"k")"), "k");
  EXPECT_EQ(hint(R"("safety_identifier":"s","user":"u","prompt_cache_key":"")"), "u");
  EXPECT_EQ(hint(R"("safety_identifier":"s","user":null)"), "s");
  EXPECT_EQ(hint(R"("n":1)"), "");
  EXPECT_EQ(hint(Concat(R"("user":")", std::string(1000, 'x'), R"(")")),
            std::string(kMaxAffinityHintBytes, 'x'));
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

TEST(ParseChat, AToolMayBeStrictAndCallsOneAtATimeWhateverIsChosen) {
  const absl::StatusOr<ParsedRequest> parsed = ParseChatRequest(
      Chat(R"("tools":[{"type":"function","function":{"name":"f","strict":true}}],)"
           R"("parallel_tool_calls":false,"response_format":{"type":"json_object"})"));
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_TRUE(parsed->request.parse_tool_calls);
  EXPECT_FALSE(parsed->request.require_tool_call);
  EXPECT_FALSE(parsed->request.parallel_tool_calls);
  EXPECT_TRUE(parsed->request.grammar.has_value());
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

TEST(ParseChat, ACustomToolIsAFunctionThatTakesAText) {
  const absl::StatusOr<ParsedRequest> parsed = ParseChatRequest(Chat(
      R"("tools":[{"type":"function","function":{"name":"f"}},{"type":"web_search"},
           {"type":"custom","custom":{"name":"c","description":"d","format":{"type":"grammar",
            "grammar":{"syntax":"regex","definition":"a|b"}}}}],
         "tool_choice":{"type":"custom","custom":{"name":"c"}})"));
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->request.custom_tools, std::vector<std::string>{"c"});
  EXPECT_EQ(parsed->request.named_tool, "c");
  EXPECT_TRUE(parsed->request.strict_tools);
  EXPECT_EQ(parsed->request.template_context->at("tools"), boost::json::parse(R"([
      {"type":"function","function":{"name":"f"}},
      {"type":"function","function":{"name":"c","description":
          "d\n\nThe input matches this regular expression: a|b",
       "parameters":{"type":"object","properties":{"input":{"type":"string",
          "pattern":"^(?:a|b)$"}},"required":["input"],"additionalProperties":false},
       "strict":true}}])"));
}

TEST(ParseChat, AllowedToolsAreThoseThatTheModelSees) {
  const auto parse = [](std::string_view mode) {
    return ParseChatRequest(Chat(Concat(
        R"("tools":[{"type":"function","function":{"name":"f"}},
             {"type":"function","function":{"name":"g"}},{"type":"custom","custom":{"name":"c"}}],
           "tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":")",
        mode,
        R"(","tools":[{"type":"custom","custom":{"name":"c"}},
             {"type":"function","function":{"name":"g"}}]}})")));
  };
  for (const std::string_view mode : {"auto", "required"}) {
    const absl::StatusOr<ParsedRequest> parsed = parse(mode);
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    const boost::json::value& tools = parsed->request.template_context->at("tools");
    ASSERT_EQ(tools.as_array().size(), 2u);
    EXPECT_EQ(tools.at(0).at("function").at("name"), "g");
    EXPECT_EQ(tools.at(1).at("function").at("name"), "c");
    EXPECT_EQ(parsed->request.require_tool_call, mode == "required");
    EXPECT_EQ(parsed->request.named_tool, "");
  }
}

TEST(ParseChat, ACustomCallComesBackAsOneWithItsTextAsAnArgument) {
  const absl::StatusOr<ParsedRequest> parsed = ParseChatRequest(
      R"({"model":"m","messages":[{"role":"assistant","tool_calls":[{"id":"1","type":"custom",
          "custom":{"name":"c","input":"a \"b\""}}]},
          {"role":"tool","tool_call_id":"1","content":"ok"}]})");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->request.template_context->at("messages").at(0).at("tool_calls"),
            boost::json::parse(R"([{"id":"1","type":"function","function":
                {"name":"c","arguments":"{\"input\":\"a \\\"b\\\"\"}"}}])"));
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
  EXPECT_EQ(grammar_of(R"("structured_outputs":{"json":{"b":1}})")->text, R"({"b":1})");
  EXPECT_EQ(grammar_of(R"("structured_outputs":{"regex":"a+","json_object":false})")->text, "a+");
  EXPECT_EQ(grammar_of(R"("structured_outputs":{"choice":["a"]})")->kind, Kind::kEbnf);
  EXPECT_EQ(grammar_of(R"("structured_outputs":{"json_object":true})")->kind, Kind::kJsonObject);
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
                                           Refused{R"("best_of":129)", "best_of", kValue},
                                           Refused{R"("logprobs":true)", "logprobs", kType},
                                           Refused{R"("messages":[])", "messages", kUnknown}));

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

TEST(ParseChat, ReadsEveryFieldThatTheTableCallsUsed) {
  for (const std::string_view name : ChatFields().UsedMembers()) {
    boost::json::object body = boost::json::parse(Chat("")).as_object();
    body[boost::json::string_view(name.data(), name.size())] = boost::json::parse(kNoFieldsValue);
    const auto parsed = ParseChatRequest(boost::json::serialize(body));
    ASSERT_FALSE(parsed.ok()) << name;
    EXPECT_EQ(ErrorParam(parsed.status()).substr(0, name.size()), name) << parsed.status();
  }
}

TEST(ParseCompletion, ReadsEveryFieldThatTheTableCallsUsed) {
  for (const std::string_view name : CompletionFields().UsedMembers()) {
    boost::json::object body = boost::json::parse(Completion("")).as_object();
    body[boost::json::string_view(name.data(), name.size())] = boost::json::parse(kNoFieldsValue);
    const auto parsed = ParseCompletionRequest(boost::json::serialize(body));
    ASSERT_FALSE(parsed.ok()) << name;
    EXPECT_EQ(ErrorParam(parsed.status()).substr(0, name.size()), name) << parsed.status();
  }
}

TEST(ParseAdapterChangeTest, ANewNameIsShortAndHasNoControlCharacters) {
  const auto parse = [](const std::string& name, bool load) {
    const boost::json::object body{{"lora_name", name}, {"lora_path", "/adapters/a"}};
    boost::json::object unload{{"lora_name", name}};
    return ParseAdapterChange(boost::json::serialize(load ? body : unload), load);
  };
  for (const std::string& name :
       {std::string("a\nb"), std::string(1, '\0'), std::string("\x7f"), std::string(257, 'a')}) {
    const absl::StatusOr<ParsedAdapterChange> parsed = parse(name, /*load=*/true);
    ASSERT_FALSE(parsed.ok());
    EXPECT_EQ(ErrorParam(parsed.status()), "lora_name") << parsed.status();
    EXPECT_TRUE(parse(name, /*load=*/false).ok());  // whatever is there can be taken away
  }
  for (const std::string& name : {std::string(256, 'a'), std::string("team/sql v2 \u00e9")}) {
    ASSERT_TRUE(parse(name, /*load=*/true).ok());
    EXPECT_EQ(parse(name, /*load=*/true)->name, name);
  }
}

}  // namespace
}  // namespace pingti::router
