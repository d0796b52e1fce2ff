// Every field of a Messages request is used, ignored and named, or refused by its name in this API.
#include "router/anthropic/parse.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "boost/json.hpp"
#include "router/api/api_error.h"
#include "router/api/request_fields.h"
#include "tests/router/refused.h"

namespace pingti::router {
namespace {

namespace json = boost::json;

std::string Body(const std::string& more) {
  return R"({"model":"m","max_tokens":5,"messages":[{"role":"user","content":"hi"}])" +
         (more.empty() ? "" : "," + more) + "}";
}

class MessagesRefuse : public ::testing::TestWithParam<Refused> {};

TEST_P(MessagesRefuse, TheFieldByItsNameHere) {
  const auto parsed = ParseMessagesRequest(Body(GetParam().json), "");
  ASSERT_FALSE(parsed.ok()) << GetParam().json;
  EXPECT_TRUE(absl::IsInvalidArgument(parsed.status()));
  EXPECT_EQ(ErrorParam(parsed.status()), GetParam().param) << parsed.status();
  EXPECT_EQ(ErrorCode(parsed.status()), GetParam().code) << parsed.status();
}

INSTANTIATE_TEST_SUITE_P(
    NotServed, MessagesRefuse,
    ::testing::Values(Refused{R"("inference_geo":"eu")", "inference_geo", kUnsupported},
                      Refused{R"("prefill":"a")", "prefill", kUnsupported},
                      Refused{R"("output_config":{"format":{"type":"xml","schema":{}}})",
                              "output_config.format", kUnsupported},
                      Refused{R"("output_config":{"format":{"type":"json_schema"}})",
                              "output_config.format", kUnsupported}));

INSTANTIATE_TEST_SUITE_P(
    Unknown, MessagesRefuse,
    ::testing::Values(
        Refused{R"("tempreature":1)", "tempreature", kUnknown}, Refused{R"("n":2)", "n", kUnknown},
        Refused{R"("stop":"a")", "stop", kUnknown}, Refused{R"("seed":1)", "seed", kUnknown},
        Refused{R"("output_config":{"format":{"type":"json_schema","schema":{},"name":"n"}})",
                "output_config.format.name", kUnknown},
        Refused{R"("tool_choice":{"type":"any","x":1})", "tool_choice.x", kUnknown}));

INSTANTIATE_TEST_SUITE_P(
    BadValues, MessagesRefuse,
    ::testing::Values(
        Refused{R"("temperature":"hot")", "temperature", kType},
        Refused{R"("top_k":1.5)", "top_k", kType}, Refused{R"("stream":1)", "stream", kType},
        Refused{R"("stop_sequences":"a")", "stop_sequences", kType},
        Refused{R"("stop_sequences":[1])", "stop_sequences", kType},
        Refused{R"("system":3)", "system", kType}, Refused{R"("metadata":[])", "metadata", kType},
        Refused{R"("metadata":{"user_id":3})", "metadata.user_id", kType},
        Refused{R"("thinking":true)", "thinking", kType},
        Refused{R"("thinking":{"type":"deep"})", "thinking.type", kValue},
        Refused{R"("output_config":3)", "output_config", kType},
        Refused{R"("output_config":{"format":3})", "output_config.format", kType},
        Refused{R"("output_config":{"format":{"schema":{}}})", "output_config.format.type",
                kMissing},
        Refused{R"("output_config":{"format":{"type":"json_schema","schema":3}})",
                "output_config.format.schema", kType},
        Refused{R"("tools":"f")", "tools", kType}, Refused{R"("tools":[1])", "tools[0]", kType},
        Refused{R"("tools":[{"input_schema":{}}])", "tools[0].name", kMissing},
        Refused{R"("tools":[{"name":"f"}])", "tools[0].input_schema", kMissing},
        Refused{R"("tools":[{"name":"f","input_schema":[]}])", "tools[0].input_schema", kType},
        Refused{R"("tool_choice":"any")", "tool_choice", kType},
        Refused{R"("tool_choice":{"type":"required"})", "tool_choice.type", kValue},
        Refused{R"("tool_choice":{"type":"tool"})", "tool_choice.name", kMissing},
        Refused{R"("tool_choice":{"type":"any","disable_parallel_tool_use":1})",
                "tool_choice.disable_parallel_tool_use", kType},
        Refused{R"("tool_choice":{"type":"any"})", "tool_choice", kValue},
        Refused{R"("tools":[{"name":"f","input_schema":{}}],"tool_choice":{"type":"any"},)"
                R"("output_config":{"format":{"type":"json_schema","schema":{}}})",
                "output_config.format", kValue}));

TEST(ParseMessages, RefusesWhatIsNoRequest) {
  for (const char* body : {"", "{", "[]", "null", "\xff\xfe",
                           R"({"max_tokens":1,"messages":[{"role":"user","content":"a"}]})"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParseMessagesRequest(body, "").status())) << body;
  }
  const auto param = [](const std::string& body) {
    return ErrorParam(ParseMessagesRequest(body, "").status());
  };
  EXPECT_EQ(param(R"({"model":"m","messages":[{"role":"user","content":"a"}]})"), "max_tokens");
  EXPECT_EQ(param(R"({"model":"m","max_tokens":5})"), "messages");
  EXPECT_EQ(param(R"({"model":"m","max_tokens":0,"messages":[{"role":"user","content":"a"}]})"),
            "max_tokens");
}

TEST(ParseMessages, TakesTheVersionsThatClientsSend) {
  for (const char* version : {"", "2023-06-01", "2026-10-21"}) {
    EXPECT_TRUE(ParseMessagesRequest(Body(""), version).ok()) << version;
  }
  EXPECT_EQ(ErrorParam(ParseMessagesRequest(Body(""), "2020-01-01").status()), "anthropic-version");
}

TEST(ParseMessages, ReadsEverySupportedField) {
  const auto parsed = ParseMessagesRequest(
      Body(R"("system":"be brief","stream":true,"temperature":0.5,"top_p":0.9,"top_k":5,
              "stop_sequences":["a","b"],"metadata":{"user_id":"u"},"service_tier":"auto",
              "thinking":{"type":"disabled"},
              "output_config":{"effort":null,"format":{"type":"json_schema","schema":{"b":1,"a":2}}},
              "container":null)"),
      "2023-06-01");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  const GenerationRequest& request = parsed->request;
  EXPECT_EQ(request.kind, GenerationRequest::Kind::kChat);
  EXPECT_EQ(request.model, "m");
  EXPECT_TRUE(parsed->stream);
  EXPECT_EQ(request.params.max_tokens, 5u);
  EXPECT_EQ(request.params.temperature, 0.5);
  EXPECT_EQ(request.params.top_p, 0.9);
  EXPECT_EQ(request.params.top_k, 5u);
  EXPECT_EQ(request.params.stop, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(request.affinity_hint, "u");
  EXPECT_EQ(request.grammar->kind, grammar::GrammarSource::Kind::kJsonSchema);
  EXPECT_EQ(request.grammar->text, R"({"b":1,"a":2})");
  EXPECT_EQ(request.template_context->at("enable_thinking"), false);
  EXPECT_EQ(request.template_context->at("messages"),
            json::parse(R"([{"role":"system","content":"be brief"},
                            {"role":"user","content":"hi"}])"));
}

struct Ignored {
  const char* json;
  const char* header;
};
void PrintTo(const Ignored& ignored, std::ostream* out) { *out << ignored.json; }

class MessagesIgnore : public ::testing::TestWithParam<Ignored> {};

TEST_P(MessagesIgnore, TheFieldAndNameIt) {
  const auto parsed = ParseMessagesRequest(Body(GetParam().json), "");
  ASSERT_TRUE(parsed.ok()) << GetParam().json << ": " << parsed.status();
  EXPECT_EQ(parsed->ignored.Header(), GetParam().header);
}

INSTANTIATE_TEST_SUITE_P(
    Fields, MessagesIgnore,
    ::testing::Values(
        Ignored{R"("context_management":{"edits":[{"type":"clear_tool_uses_20250919"}]})",
                "context_management"},
        Ignored{R"("cache_control":{"type":"ephemeral"},"container":"c","diagnostics":{"a":1})",
                "cache_control, container, diagnostics"},
        Ignored{R"("mcp_servers":[{"name":"s"}],"service_tier":"flex","speed":"fast")",
                "mcp_servers, service_tier, speed"},
        Ignored{R"("mcp_servers":[],"service_tier":"auto","speed":"standard","thinking":{})", ""},
        Ignored{R"("thinking":{"type":"adaptive","display":"omitted"})", "thinking.display"},
        Ignored{R"("output_config":{"effort":"low","x":1})", "output_config.x"},
        Ignored{R"("metadata":{"user_id":"u","trace":"t"})", "metadata.trace"},
        Ignored{R"("system":[{"type":"text","text":"s","cache_control":{"type":"ephemeral"}}])",
                "system[].cache_control"},
        Ignored{R"("tools":[{"type":"bash_20250124","name":"bash"},{"name":"f","input_schema":{},)"
                R"("strict":true,"eager_input_streaming":true}],)"
                R"("tool_choice":{"type":"auto","disable_parallel_tool_use":true})",
                "tools[].eager_input_streaming, tools[bash_20250124]"}));

TEST(ParseMessages, ThinkingIsTheTemplatesSwitch) {
  const auto parsed =
      ParseMessagesRequest(Body(R"("thinking":{"type":"enabled","budget_tokens":2000})"), "");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->request.template_context->at("enable_thinking"), true);
  EXPECT_EQ(parsed->request.thinking_budget, 2000u);
  EXPECT_FALSE(
      ParseMessagesRequest(Body(""), "")->request.template_context->contains("enable_thinking"));
}

TEST(ParseMessages, ToolsBecomeThoseOfAChat) {
  const std::string tools =
      R"("tools":[{"type":"custom","name":"f","description":"d","input_schema":{"type":"object"},)"
      R"("cache_control":{"type":"ephemeral"},"strict":null}])";
  auto parsed = ParseMessagesRequest(Body(tools), "");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_TRUE(parsed->request.parse_tool_calls);
  EXPECT_EQ(parsed->request.template_context->at("tools"),
            json::parse(R"([{"type":"function","function":{"name":"f","description":"d",
                             "parameters":{"type":"object"}}}])"));
  const auto choose = [&](const std::string& choice) {
    auto chosen = ParseMessagesRequest(Body(tools + R"(,"tool_choice":)" + choice), "");
    EXPECT_TRUE(chosen.ok()) << choice << ": " << chosen.status();
    return std::move(chosen->request);
  };
  EXPECT_TRUE(choose(R"({"type":"any"})").require_tool_call);
  EXPECT_TRUE(choose(R"({"type":"any"})").parallel_tool_calls);
  EXPECT_FALSE(choose(R"({"type":"any","disable_parallel_tool_use":true})").parallel_tool_calls);
  EXPECT_EQ(choose(R"({"type":"tool","name":"f"})").named_tool, "f");
  EXPECT_FALSE(choose(R"({"type":"auto","disable_parallel_tool_use":false})").require_tool_call);
  EXPECT_FALSE(choose(R"({"type":"none"})").parse_tool_calls);
}

TEST(ParseCountTokens, TakesWhatMakesThePromptAndNoMore) {
  const std::string prompt = R"({"model":"m","system":"s","messages":[{"role":"user",)"
                             R"("content":"hi"}],"thinking":{"type":"disabled"},"tools":[],)"
                             R"("cache_control":{"type":"ephemeral"},)"
                             R"("output_config":{"format":{"type":"json_schema","schema":{}}})";
  const auto parsed = ParseCountTokensRequest(prompt + "}");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->request.template_context->at("messages").as_array().size(), 2u);
  for (const char* name : {"max_tokens", "stream", "temperature", "stop_sequences", "metadata"}) {
    const auto refused = ParseCountTokensRequest(prompt + ",\"" + name + "\":1}");
    EXPECT_EQ(ErrorParam(refused.status()), name);
    EXPECT_EQ(ErrorCode(refused.status()), kUnknown);
  }
}

TEST(ParseMessages, ReadsEveryFieldThatTheTableCallsUsed) {
  for (const std::string_view name : MessagesFields().UsedMembers()) {
    boost::json::object body = boost::json::parse(Body("")).as_object();
    body[boost::json::string_view(name.data(), name.size())] = boost::json::parse(kNoFieldsValue);
    const auto parsed = ParseMessagesRequest(boost::json::serialize(body), "");
    ASSERT_FALSE(parsed.ok()) << name;
    EXPECT_EQ(ErrorParam(parsed.status()).substr(0, name.size()), name) << parsed.status();
  }
}

}  // namespace
}  // namespace pingti::router
