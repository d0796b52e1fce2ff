// Every field of a Responses request is used, ignored and named, or refused by its name there.
#include "router/responses/parse.h"

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
  return R"({"model":"m","input":"hi")" + (more.empty() ? "" : "," + more) + "}";
}

class ResponsesRefuses : public ::testing::TestWithParam<Refused> {};

TEST_P(ResponsesRefuses, TheFieldByItsNameHere) {
  const auto parsed = ParseResponsesRequest(Body(GetParam().json));
  ASSERT_FALSE(parsed.ok()) << GetParam().json;
  EXPECT_TRUE(absl::IsInvalidArgument(parsed.status()));
  EXPECT_EQ(ErrorParam(parsed.status()), GetParam().param) << parsed.status();
  EXPECT_EQ(ErrorCode(parsed.status()), GetParam().code) << parsed.status();
}

INSTANTIATE_TEST_SUITE_P(
    NotServed, ResponsesRefuses,
    ::testing::Values(
        Refused{R"("previous_response_id":"r")", "previous_response_id", kUnsupported},
        Refused{R"("conversation":"c")", "conversation", kUnsupported},
        Refused{R"("background":true)", "background", kUnsupported},
        Refused{R"("background_options":{"a":1})", "background_options", kUnsupported},
        Refused{R"("moderation":{"model":"omni"})", "moderation", kUnsupported},
        Refused{R"("prompt":{"id":"p"})", "prompt", kUnsupported},
        Refused{R"("tool_choice":{"type":"web_search"})", "tool_choice.type", kUnsupported}));

INSTANTIATE_TEST_SUITE_P(
    Unknown, ResponsesRefuses,
    ::testing::Values(
        Refused{R"("tempreature":1)", "tempreature", kUnknown},
        Refused{R"("messages":[])", "messages", kUnknown},
        Refused{R"("max_tokens":1)", "max_tokens", kUnknown}, Refused{R"("n":2)", "n", kUnknown},
        Refused{R"("text":{"x":1})", "text.x", kUnknown},
        Refused{R"("tool_choice":{"type":"function","name":"f","x":1})", "tool_choice.x", kUnknown},
        Refused{R"("text":{"format":{"type":"text","x":1}})", "text.format.x", kUnknown},
        Refused{R"("text":{"format":{"type":"json_schema","name":"n","schema":{},"x":1}})",
                "text.format.x", kUnknown}));

INSTANTIATE_TEST_SUITE_P(
    BadValues, ResponsesRefuses,
    ::testing::Values(
        Refused{R"("instructions":3)", "instructions", kType},
        Refused{R"("include":"message.output_text.logprobs")", "include", kType},
        Refused{R"("include":[3])", "include[0]", kType},
        Refused{R"("top_logprobs":21)", "top_logprobs", kValue},
        Refused{R"("top_logprobs":"2")", "top_logprobs", kType},
        Refused{R"("max_output_tokens":0)", "max_output_tokens", kValue},
        Refused{R"("max_output_tokens":1.5)", "max_output_tokens", kType},
        Refused{R"("temperature":"hot")", "temperature", kType},
        Refused{R"("stop":[1])", "stop", kType}, Refused{R"("user":3)", "user", kType},
        Refused{R"("stream":"yes")", "stream", kType},
        Refused{R"("stream_options":3)", "stream_options", kType},
        Refused{R"("metadata":"a")", "metadata", kType},
        Refused{R"("metadata":{"a":1})", "metadata.a", kType},
        Refused{R"("reasoning":"low")", "reasoning", kType},
        Refused{R"("reasoning":{"effort":3})", "reasoning.effort", kType},
        Refused{R"("tools":[{"type":"function","function":{"name":"f"}}])", "tools[0].name",
                kMissing},
        Refused{R"("tool_choice":"required","tools":[{"type":"web_search"}])", "tool_choice",
                kValue},
        Refused{R"("tools":"f")", "tools", kType}, Refused{R"("tools":[1])", "tools[0]", kType},
        Refused{R"("tools":[{"name":"f"}])", "tools[0].type", kMissing},
        Refused{R"("tools":[{"type":"function"}])", "tools[0].name", kMissing},
        Refused{R"("tools":[{"type":"function","name":"f","parameters":[]}])",
                "tools[0].parameters", kType},
        Refused{R"("tool_choice":"any","tools":[{"type":"function","name":"f"}])", "tool_choice",
                kValue},
        Refused{R"("tool_choice":{"type":"function"})", "tool_choice.name", kMissing},
        Refused{R"("text":"json")", "text", kType},
        Refused{R"("text":{"format":"json"})", "text.format", kType},
        Refused{R"("text":{"format":{"type":"xml"}})", "text.format.type", kValue},
        Refused{R"("text":{"format":{"type":"json_schema","schema":{}}})", "text.format.name",
                kMissing},
        Refused{R"("text":{"format":{"type":"json_schema","name":"n"}})", "text.format.schema",
                kMissing},
        Refused{R"("text":{"format":{"type":"json_schema","name":"n","schema":3}})",
                "text.format.schema", kType},
        Refused{R"("text":{"format":{"type":"json_object"}},"tool_choice":"required",)"
                R"("tools":[{"type":"function","name":"f"}])",
                "text.format", kValue},
        Refused{R"("chat_template_kwargs":{"tools":[]})", "chat_template_kwargs.tools", kValue}));

struct Ignored {
  const char* json;
  const char* header;
};
void PrintTo(const Ignored& ignored, std::ostream* out) { *out << ignored.json; }

class ResponsesIgnore : public ::testing::TestWithParam<Ignored> {};

TEST_P(ResponsesIgnore, TheFieldAndNameIt) {
  const auto parsed = ParseResponsesRequest(Body(GetParam().json));
  ASSERT_TRUE(parsed.ok()) << GetParam().json << ": " << parsed.status();
  EXPECT_EQ(parsed->chat.ignored.Header(), GetParam().header);
}

INSTANTIATE_TEST_SUITE_P(
    Fields, ResponsesIgnore,
    ::testing::Values(
        Ignored{R"("store":true,"prompt_cache_key":"k","safety_identifier":"s")", "store"},
        Ignored{R"("client_metadata":{"a":"b"},"service_tier":"flex","truncation":"auto")",
                "client_metadata, service_tier, truncation"},
        Ignored{R"("context_management":[{"type":"compaction"}],"max_tool_calls":2)",
                "context_management, max_tool_calls"},
        Ignored{R"("context_management":[],"store":false,"truncation":"disabled")", ""},
        Ignored{R"("reasoning":{"effort":"low","summary":"auto"})", "reasoning.summary"},
        Ignored{R"("include":["reasoning.encrypted_content","message.output_text.logprobs",)"
                R"("web_search_call.action.sources"])",
                "include[reasoning.encrypted_content], include[web_search_call.action.sources]"},
        Ignored{R"("tools":[{"type":"web_search"},{"type":"custom","name":"c","format":{)"
                R"("type":"grammar","syntax":"lark","definition":"start: \"x\""}},)"
                R"({"type":"namespace","name":"n","tools":[1]},{"type":"function","name":"f"}])",
                "tools[].tools, tools[custom].format, tools[namespace], tools[web_search]"},
        Ignored{R"("text":{"verbosity":"low"},"tool_choice":"auto")", "text.verbosity"},
        Ignored{R"("text":{"format":{}},"reasoning":{"effort":null},"metadata":{})", ""},
        Ignored{R"("stream":true,"stream_options":{"include_obfuscation":true})",
                "stream_options.include_obfuscation"},
        Ignored{R"("tools":[{"type":"function","name":"f","strict":true}],)"
                R"("parallel_tool_calls":false)",
                ""}));

TEST(ParseResponses, CustomAndAllowedToolsAreThoseOfAChat) {
  const auto parsed = ParseResponsesRequest(Body(
      R"("tools":[{"type":"custom","name":"c","format":{"type":"grammar","syntax":"regex",
            "definition":"a"}},{"type":"function","name":"f"},{"type":"function","name":"g"}],
         "tool_choice":{"type":"allowed_tools","mode":"required","tools":[
            {"type":"custom","name":"c"},{"type":"function","name":"f"}]})"));
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  const GenerationRequest& request = parsed->chat.request;
  EXPECT_TRUE(request.require_tool_call);
  EXPECT_EQ(request.custom_tools, std::vector<std::string>{"c"});
  const json::value& tools = request.template_context->at("tools");
  ASSERT_EQ(tools.as_array().size(), 2u);
  EXPECT_EQ(tools.at(0).at("function").at("parameters").at("properties").at("input").at("pattern"),
            "^(?:a)$");
  EXPECT_EQ(tools.at(1).at("function").at("name"), "f");
}

TEST(ParseResponses, TakesItsItemsBackAsTheyCame) {
  const auto parsed = ParseResponsesRequest(
      R"({"model":"m","input":[{"type":"message","role":"user","content":"hi"},
          {"type":"reasoning","id":"rs_1","summary":[],"content":[{"type":"reasoning_text",
           "text":"hm"}],"encrypted_content":"e","status":"completed"},
          {"type":"web_search_call","id":"ws_1","status":"completed","action":{"type":"search"}},
          {"type":"message","id":"msg_1","role":"assistant","status":"completed","content":[
           {"type":"output_text","text":"so","annotations":[],"logprobs":[],"parsed":null},
           {"type":"refusal","refusal":" no"}]},
          {"type":"function_call","id":"fc_1","call_id":"c","name":"f","arguments":"",
           "status":"completed","parsed_arguments":null,"namespace":null},
          {"type":"custom_tool_call","call_id":"d","name":"g","input":"x"},
          {"type":"function_call_output","call_id":"c","output":[{"type":"output_text",
           "text":"1"}]},
          {"type":"custom_tool_call_output","call_id":"d","output":"2"}]})");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->chat.ignored.Header(),
            "input[].action, input[].encrypted_content, input[].id, input[].status, "
            "input[web_search_call]");
  EXPECT_EQ(parsed->chat.request.template_context->at("messages"), json::parse(R"([
      {"role":"user","content":"hi"},
      {"role":"assistant","reasoning_content":"hm","content":"so no","tool_calls":[
        {"id":"c","type":"function","function":{"name":"f","arguments":"{}"}},
        {"id":"d","type":"function","function":{"name":"g","arguments":"{\"input\":\"x\"}"}}]},
      {"role":"tool","content":"1","tool_call_id":"c"},
      {"role":"tool","content":"2","tool_call_id":"d"}])"));
}

TEST(ParseResponses, EffortIsTheTemplatesSwitch) {
  const auto parsed = ParseResponsesRequest(Body(R"("reasoning":{"effort":"high"})"));
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->chat.request.template_context->at("reasoning_effort"), "high");
  EXPECT_EQ(parsed->chat.request.template_context->at("enable_thinking"), true);
}

TEST(ParseResponses, AMessageQuotesTheNameThatThisApiHas) {
  const auto message = [](const std::string& more) {
    return std::string(ParseResponsesRequest(Body(more)).status().message());
  };
  EXPECT_NE(message(R"("max_output_tokens":0)").find("'max_output_tokens'"), std::string::npos);
  EXPECT_NE(
      message(R"("tools":[{"type":"function","name":"f","strict":3}])").find("'tools[0].strict'"),
      std::string::npos);
  EXPECT_NE(message(R"("text":{"format":{"type":"json_schema","name":"n"}})")
                .find("'text.format.schema'"),
            std::string::npos);
}

TEST(ParseResponses, MetadataHasTheReferencesLimits) {
  const auto param = [](const std::string& metadata) {
    return ErrorParam(ParseResponsesRequest(Body(R"("metadata":)" + metadata)).status());
  };
  json::object pairs;
  for (int i = 0; i < 16; ++i) pairs["k" + std::to_string(i)] = "v";
  EXPECT_EQ(param(json::serialize(pairs)), "");
  pairs["one more"] = "v";
  EXPECT_EQ(param(json::serialize(pairs)), "metadata");
  const std::string key(64, 'k');
  EXPECT_EQ(param(json::serialize(json::object{{key, std::string(512, 'v')}})), "");
  EXPECT_EQ(param(json::serialize(json::object{{"a", std::string(513, 'v')}})), "metadata.a");
  EXPECT_EQ(param(json::serialize(json::object{{key + "k", "v"}})), "metadata." + key + "k");
}

TEST(ParseResponses, RefusesWhatIsNoRequest) {
  for (const char* body :
       {"", "{", "[]", "null", "\xff\xfe", R"({"input":"a"})", R"({"model":3,"input":"a"})",
        R"({"model":"m"})", R"({"model":"m","input":null})", R"({"model":"m","input":3})"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParseResponsesRequest(body).status())) << body;
  }
  EXPECT_EQ(ErrorParam(ParseResponsesRequest(R"({"model":"m"})").status()), "input");
}

TEST(ParseResponses, ReadsEverySupportedField) {
  const auto parsed = ParseResponsesRequest(Body(
      R"("instructions":"be brief","stream":true,"stream_options":{"include_obfuscation":false},
         "max_output_tokens":7,"temperature":0.5,"top_p":0.9,"top_k":5,"min_p":0.1,"seed":-1,
         "stop":["a"],"stop_token_ids":[9],"presence_penalty":1,"frequency_penalty":-1,
         "repetition_penalty":1.1,"logit_bias":{"5":-100},"min_tokens":2,"ignore_eos":true,"speculation":false,
         "priority":-3,"user":"u","include":["message.output_text.logprobs"],"top_logprobs":3,
         "store":false,"background":false,"truncation":"disabled","service_tier":"auto",
         "metadata":{"a":"b"},"reasoning":{"effort":null},"parallel_tool_calls":true,
         "text":{"format":{"type":"json_schema","name":"n","schema":{"b":1,"a":2},"strict":true}},
         "chat_template_kwargs":{"enable_thinking":false},"previous_response_id":null)"));
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  const GenerationRequest& request = parsed->chat.request;
  const GenerationParams& params = request.params;
  EXPECT_EQ(request.kind, GenerationRequest::Kind::kChat);
  EXPECT_EQ(request.model, "m");
  EXPECT_TRUE(parsed->chat.stream);
  EXPECT_EQ(params.max_tokens, 7u);
  EXPECT_EQ(params.temperature, 0.5);
  EXPECT_EQ(params.top_p, 0.9);
  EXPECT_EQ(params.top_k, 5u);
  EXPECT_EQ(params.min_p, 0.1);
  EXPECT_EQ(params.seed, ~0ull);
  EXPECT_EQ(params.stop, std::vector<std::string>{"a"});
  EXPECT_EQ(params.stop_token_ids, std::vector<uint32_t>{9});
  EXPECT_EQ(params.presence_penalty, 1);
  EXPECT_EQ(params.frequency_penalty, -1);
  EXPECT_EQ(params.repetition_penalty, 1.1);
  ASSERT_EQ(params.logit_bias.size(), 1u);
  EXPECT_EQ(params.min_tokens, 2u);
  EXPECT_TRUE(params.ignore_eos);
  EXPECT_FALSE(params.speculation);
  EXPECT_EQ(params.priority, -3);
  EXPECT_EQ(request.affinity_hint, "u");
  EXPECT_TRUE(params.logprobs);
  EXPECT_EQ(params.top_logprobs, 3u);
  EXPECT_EQ(request.grammar->kind, grammar::GrammarSource::Kind::kJsonSchema);
  EXPECT_EQ(request.grammar->text, R"({"b":1,"a":2})");
  EXPECT_EQ(request.template_context->at("enable_thinking"), false);
  const json::value want =
      json::parse(R"([{"role":"system","content":"be brief"},{"role":"user","content":"hi"}])");
  EXPECT_EQ(request.template_context->at("messages"), want);
}

TEST(ParseResponses, ToolsBecomeThoseOfAChat) {
  const std::string tools =
      R"("tools":[{"type":"function","name":"f","description":"d","parameters":{"type":"object"},)"
      R"("strict":null}])";
  auto parsed = ParseResponsesRequest(Body(tools));
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_TRUE(parsed->chat.request.parse_tool_calls);
  EXPECT_EQ(parsed->chat.request.template_context->at("tools"),
            json::parse(R"([{"type":"function","function":{"name":"f","description":"d",
                             "parameters":{"type":"object"}}}])"));
  parsed = ParseResponsesRequest(Body(tools + R"(,"tool_choice":{"type":"function","name":"f"})"));
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_TRUE(parsed->chat.request.require_tool_call);
  EXPECT_EQ(parsed->chat.request.named_tool, "f");
  parsed = ParseResponsesRequest(
      Body(tools + R"(,"tool_choice":"required","parallel_tool_calls":false)"));
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_FALSE(parsed->chat.request.parallel_tool_calls);
}

TEST(ParseResponses, TheOtherFormatsAreThoseOfAChat) {
  const auto grammar_of = [](const std::string& format) {
    return ParseResponsesRequest(Body(R"("text":{"format":)" + format + "}"))->chat.request.grammar;
  };
  EXPECT_FALSE(grammar_of(R"({"type":"text"})").has_value());
  EXPECT_FALSE(grammar_of("null").has_value());
  EXPECT_EQ(grammar_of(R"({"type":"json_object"})")->kind,
            grammar::GrammarSource::Kind::kJsonObject);
}

TEST(ParseResponses, TheEchoHasWhatWasSetAndTheDefaultsOfTheRest) {
  const auto echo_of = [](const std::string& more) {
    return json::parse("{" + ParseResponsesRequest(Body(more))->echo + "}");
  };
  EXPECT_EQ(echo_of(""), json::parse(R"({"background":false,"max_tool_calls":null,
      "previous_response_id":null,"reasoning":{"effort":null,"summary":null},
      "service_tier":"default","store":false,"truncation":"disabled","instructions":null,
      "max_output_tokens":null,"metadata":{},"parallel_tool_calls":true,"temperature":null,
      "text":{"format":{"type":"text"}},"tool_choice":"auto","tools":[],"top_logprobs":0,
      "top_p":null,"user":null})"));
  const json::value set = echo_of(
      R"("instructions":"a\"b","max_output_tokens":5,"metadata":{"k":"v"},"temperature":0,
         "tools":[{"type":"function","name":"f"}],"tool_choice":"none","top_p":0.5,"user":"u")");
  EXPECT_EQ(set.at("instructions"), "a\"b");
  EXPECT_EQ(set.at("max_output_tokens"), 5);
  EXPECT_EQ(set.at("metadata").at("k"), "v");
  EXPECT_EQ(set.at("tools").at(0).at("name"), "f");
  EXPECT_EQ(set.at("tool_choice"), "none");
  EXPECT_EQ(set.at("user"), "u");
}

TEST(ParseResponses, ReadsEveryFieldThatTheTableCallsUsed) {
  for (const std::string_view name : ResponsesFields().UsedMembers()) {
    boost::json::object body = boost::json::parse(Body("")).as_object();
    body[boost::json::string_view(name.data(), name.size())] = boost::json::parse(kNoFieldsValue);
    const auto parsed = ParseResponsesRequest(boost::json::serialize(body));
    ASSERT_FALSE(parsed.ok()) << name;
    EXPECT_EQ(ErrorParam(parsed.status()).substr(0, name.size()), name) << parsed.status();
  }
}

}  // namespace
}  // namespace pingti::router
