// Model outputs as the families write them, cut at every place.
#include "router/pipeline/tool_call_parser.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "boost/json.hpp"
#include "common/base/strings.h"

namespace pingti::router {
namespace {

struct Call {
  std::string id;
  std::string name;
  std::string arguments;
  bool operator==(const Call&) const = default;
};
std::ostream& operator<<(std::ostream& out, const Call& call) {
  return out << call.id << ":" << call.name << "(" << call.arguments << ")";
}

struct Parsed {
  std::string content;
  std::vector<Call> calls;
};

const boost::json::array& Tools() {
  static const boost::json::array* const tools = new boost::json::array(
      boost::json::parse(R"([{"type":"function","function":{"name":"f","parameters":{
          "type":"object","properties":{"text":{"type":"string"},"n":{"type":"integer"}}}}}])")
          .as_array());
  return *tools;
}

Parsed Parse(std::string_view format, std::string_view text, size_t size,
             size_t most_calls = SIZE_MAX) {
  int ids = 0;
  const std::unique_ptr<ToolCallParser> parser = MakeToolCallParser(
      *FindToolCallFormat(format), {.tools = &Tools(), .most_calls = most_calls, .new_id = [&ids] {
                                      return "call_" + std::to_string(ids++);
                                    }});
  Parsed parsed;
  std::vector<ToolCallDelta> deltas;
  for (size_t i = 0; i < text.size(); i += size) {
    parser->Push(text.substr(i, size), &parsed.content, &deltas);
  }
  parser->Finish(&parsed.content, &deltas);
  for (const ToolCallDelta& delta : deltas) {
    EXPECT_EQ(delta.index, parsed.calls.size());
    parsed.calls.push_back({delta.id, delta.name, delta.arguments});
  }
  EXPECT_EQ(parser->num_calls(), parsed.calls.size());
  return parsed;
}

void Expect(std::string_view format, std::string_view text, const std::string& content,
            const std::vector<Call>& calls) {
  for (size_t size = 1; size <= text.size(); size = size < 24 ? size + 1 : size * 2) {
    const Parsed parsed = Parse(format, text, size);
    EXPECT_EQ(parsed.content, content) << "in pieces of " << size;
    EXPECT_EQ(parsed.calls, calls) << "in pieces of " << size;
  }
}

TEST(HermesToolCalls, AreFound) {
  Expect(
      "hermes",
      "Let me look.\n<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Paris {}\\\" "
      "}\", \"n\": [1, {\"a\": null}]}}\n</tool_call>\n<tool_call>\n{\"name\": \"now\", "
      "\"arguments\": {}}\n</tool_call>",
      "Let me look.",
      {{"call_0", "weather", R"({"city": "Paris {}\" }", "n": [1, {"a": null}]})"},
       {"call_1", "now", "{}"}});
}

TEST(HermesToolCalls, ACustomToolsArgumentIsItsText) {
  const std::vector<std::string> custom = {"c"};
  const auto parser =
      MakeToolCallParser(ToolCallFormat::kHermes,
                         {.custom_tools = &custom, .new_id = [] { return std::string("call"); }});
  std::string content;
  std::vector<ToolCallDelta> calls;
  for (const char* arguments : {R"({"input": "a\n\"b\""})", R"({"in": 1})"}) {
    parser->Push(Concat(R"(<tool_call>{"name": "c", "arguments": )", arguments, "}</tool_call>"),
                 &content, &calls);
  }
  parser->Push(R"(<tool_call>{"name": "f", "arguments": {"input": "x"}}</tool_call>)", &content,
               &calls);
  ASSERT_EQ(calls.size(), 3u);
  EXPECT_EQ(calls[0].arguments, "a\n\"b\"");
  EXPECT_EQ(calls[1].arguments, R"({"in": 1})");  // nothing held it
  EXPECT_TRUE(calls[0].is_custom && calls[1].is_custom);
  EXPECT_EQ(calls[2].arguments, R"({"input": "x"})");
  EXPECT_FALSE(calls[2].is_custom);
}

TEST(HermesToolCalls, ArgumentsBeforeTheNameAreKept) {
  Expect("hermes", R"(<tool_call>{"arguments": {"a": 1}, "name": "f"}</tool_call>)", "",
         {{"call_0", "f", R"({"a": 1})"}});
}

TEST(HermesToolCalls, ArgumentsGivenAsAStringAreUnquoted) {
  Expect("hermes", R"(<tool_call>{"name": "f", "arguments": "{\"a\": 1}"}</tool_call>)", "",
         {{"call_0", "f", R"({"a": 1})"}});
}

TEST(HermesToolCalls, MissingArgumentsAreAnEmptyObject) {
  Expect("hermes", R"(<tool_call>{"name": "f"}</tool_call>)", "", {{"call_0", "f", "{}"}});
}

TEST(HermesToolCalls, WhatIsNoCallIsContent) {
  Expect("hermes", "a <tool b < c", "a <tool b < c", {});
  Expect("hermes", "<tool_call>not json", "<tool_call>not json", {});
  Expect("hermes", "text \n", "text \n", {});
}

TEST(HermesToolCalls, AreGivenWhenTheyAreWhole) {
  std::vector<ToolCallDelta> deltas;
  std::string content;
  const auto parser =
      MakeToolCallParser(ToolCallFormat::kHermes, {.new_id = [] { return std::string("call"); }});
  parser->Push(R"(So: <tool_call>{"name": "f", "arguments": {"te)", &content, &deltas);
  EXPECT_EQ(content, "So:");
  EXPECT_TRUE(deltas.empty());
  parser->Push(R"(xt": 1}}</tool_call>)", &content, &deltas);
  ASSERT_EQ(deltas.size(), 1u);
  EXPECT_EQ(deltas[0].name, "f");
  EXPECT_EQ(deltas[0].arguments, R"({"text": 1})");
}

TEST(HermesToolCalls, HalfOfACallIsContent) {
  Expect("hermes", R"(a <tool_call>{"name": "f", "arguments": {"b": 1)",
         R"(a<tool_call>{"name": "f", "arguments": {"b": 1)", {});
  Expect("hermes", R"(<tool_call>{"name": "f", "arguments": {}}</tool_call><tool_call>{"na)",
         R"(<tool_call>{"na)", {{"call_0", "f", "{}"}});
}

TEST(HermesToolCalls, ArgumentsAreAnObjectOrThereIsNoCall) {
  Expect("hermes", R"(<tool_call>{"name": "f", "arguments": null}</tool_call>)", "",
         {{"call_0", "f", "{}"}});
  Expect("hermes", R"(<tool_call>{"name": "f", "arguments": ""}</tool_call>)", "",
         {{"call_0", "f", "{}"}});
  for (const char* arguments : {"[1]", "3", "true", "\"x\"", "{\"a\": b}", "{\"a\" 1}"}) {
    const std::string text =
        std::string(R"(<tool_call>{"name": "f", "arguments": )") + arguments + "}</tool_call>";
    Expect("hermes", text, text, {});
  }
}

TEST(HermesToolCalls, LineBreaksWithinStringsAreEscaped) {
  Expect("hermes", "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": \"b\nc\"}}</tool_call>", "",
         {{"call_0", "f", R"({"a": "b\nc"})"}});
}

TEST(HermesToolCalls, AForgottenEndLosesNothing) {
  Expect("hermes", R"(<tool_call>{"name": "f", "arguments": {"a": 1}})", "",
         {{"call_0", "f", R"({"a": 1})"}});
  Expect("hermes",
         R"(<tool_call>{"name": "f"}
<tool_call>{"name": "g"}</tool_call>)",
         "", {{"call_0", "f", "{}"}, {"call_1", "g", "{}"}});
  Expect("hermes", R"(<tool_call>well, <tool_call>{"name": "g"}</tool_call>)", "<tool_call>well, ",
         {{"call_0", "g", "{}"}});
  Expect("hermes", R"(<tool_call>{"name": "f"} and words)", "and words", {{"call_0", "f", "{}"}});
  Expect("hermes", R"(<tool_call>{"name": "f, </tool_call> <tool_call>{"name": "g"}</tool_call>)",
         R"(<tool_call>{"name": "f, </tool_call>)", {{"call_0", "g", "{}"}});
}

TEST(HermesToolCalls, SeveralInOneTagAreSeveralCalls) {
  Expect("hermes", "<tool_call>{\"name\": \"f\"}\n{\"name\": \"g\"}</tool_call>", "",
         {{"call_0", "f", "{}"}, {"call_1", "g", "{}"}});
  Expect("hermes", R"(<tool_call>[{"name": "f"}, {"name": "g"}]</tool_call>)", "",
         {{"call_0", "f", "{}"}, {"call_1", "g", "{}"}});
}

TEST(HermesToolCalls, TextAroundThemAndBehindStays) {
  Expect("hermes", "a <tool_call>{\"name\": \"f\"} b </tool_call> c", "ab  c",
         {{"call_0", "f", "{}"}});
}

TEST(HermesToolCalls, AMarkInAStringIsPartOfIt) {
  Expect("hermes",
         R"(<tool_call>{"name": "f", "arguments": {"a": "</tool_call><tool_call>"}}</tool_call>)",
         "", {{"call_0", "f", R"({"a": "</tool_call><tool_call>"})"}});
}

TEST(HermesToolCalls, NoMoreThanAreAskedForAreGiven) {
  const std::string text =
      R"(a<tool_call>{"name": "f"}</tool_call> b <tool_call>{"name": "g"}</tool_call> c)";
  for (size_t size = 1; size <= text.size(); ++size) {
    const Parsed parsed = Parse("hermes", text, size, 1);
    EXPECT_EQ(parsed.content, "a");
    EXPECT_EQ(parsed.calls, (std::vector<Call>{{"call_0", "f", "{}"}}));
  }
}

TEST(QwenXmlToolCalls, TakeTypesFromTheSchema) {
  Expect("qwen3_coder",
         "Now.\n<tool_call>\n<function=f>\n<parameter=text>\n12\n</parameter>\n<parameter=n>\n3\n"
         "</parameter>\n<parameter=more>\n[1, null]\n</parameter>\n<parameter=code>\nif a:\n"
         "  b()  # </tool_call>\n</parameter>\n</function>\n</tool_call>",
         "Now.",
         {{"call_0", "f",
           R"({"text":"12","n":3,"more":[1,null],"code":"if a:\n  b()  # </tool_call>"})"}});
  Expect("qwen3_coder", "<tool_call>\n<function=g>\n</function>\n</tool_call>", "",
         {{"call_0", "g", "{}"}});
}

TEST(QwenXmlToolCalls, HalfOfACallIsContentAndJsonIsTaken) {
  Expect("qwen3_coder", "<tool_call>\n<function=f>\n<parameter=a>\n1",
         "<tool_call>\n<function=f>\n<parameter=a>\n1", {});
  Expect("qwen3_coder", R"(<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>)", "",
         {{"call_0", "f", R"({"a": 1})"}});
}

TEST(GlmToolCalls, AreFound) {
  Expect("glm45",
         "Hm.<tool_call>f\n<arg_key>text</arg_key>\n<arg_value>12</arg_value>\n<arg_key>n</arg_key>"
         "\n<arg_value>3</arg_value>\n</tool_call><tool_call>g\n</tool_call>",
         "Hm.", {{"call_0", "f", R"({"text":"12","n":3})"}, {"call_1", "g", "{}"}});
  Expect("glm45", "<tool_call>no call at all</tool_call>", "<tool_call>no call at all</tool_call>",
         {});
  // An end mark within an argument, its name or between them ends nothing.
  Expect("glm45",
         "<tool_call>f<arg_key>text</arg_key><arg_value>a</tool_call>b</arg_value></tool_call>c",
         "c", {{"call_0", "f", R"({"text":"a</tool_call>b"})"}});
  Expect("glm45",
         "<tool_call>f<arg_key>a</tool_call>b</arg_key><arg_value>c</arg_value></tool_call>", "",
         {{"call_0", "f", R"({"a</tool_call>b":"c"})"}});
}

TEST(PythonicToolCalls, AreFound) {
  Expect("pythonic", R"([f(text='it\'s', n=-3, x=[1, None, {"k": True}], y=1.5), g()])", "",
         {{"call_0", "f", R"({"text":"it's","n":-3,"x":[1,null,{"k":true}],"y":1.5E0})"},
          {"call_1", "g", "{}"}});
  Expect("pythonic", R"([f(text="\ud83d\ude00\u00e9")])", "",
         {{"call_0", "f", "{\"text\":\"\xF0\x9F\x98\x80\xC3\xA9\"}"}});
  Expect("pythonic", R"([f(text="\ud83d")])", R"([f(text="\ud83d")])", {});
  Expect("pythonic", "[1, 2, 3] are numbers", "[1, 2, 3] are numbers", {});
  Expect("pythonic", "[f(a=1", "[f(a=1", {});
  Expect("pythonic", "[f(1)]", "[f(1)]", {});
  Expect("pythonic", "Well, [f()]", "Well, [f()]", {});
}

TEST(MistralToolCalls, AreFound) {
  Expect("mistral", R"(Hm.[TOOL_CALLS] [{"name": "f", "arguments": {"a": 1}}, {"name": "g"}])",
         "Hm.", {{"call_0", "f", R"({"a": 1})"}, {"call_1", "g", "{}"}});
  Expect("mistral", R"([TOOL_CALLS]f[CALL_ID]abc123456[ARGS]{"a": 1}[TOOL_CALLS]g[ARGS]{})", "",
         {{"abc123456", "f", R"({"a": 1})"}, {"call_0", "g", "{}"}});
  Expect("mistral", R"([TOOL_CALLS]f{"a": 1)", R"([TOOL_CALLS]f{"a": 1)", {});
}

TEST(KimiToolCalls, AreFoundWithTheirIds) {
  Expect(
      "kimi_k2",
      "Ok.<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>"
      "{\"a\": 1}<|tool_call_end|><|tool_call_begin|>functions.g:1<|tool_call_argument_begin|>{}"
      "<|tool_call_end|><|tool_calls_section_end|>",
      "Ok.", {{"functions.f:0", "f", R"({"a": 1})"}, {"functions.g:1", "g", "{}"}});
}

TEST(Llama3ToolCalls, AreFound) {
  Expect("llama3_json", R"({"name": "f", "parameters": {"a": "b"}})", "",
         {{"call_0", "f", R"({"a": "b"})"}});
  Expect("llama3_json",
         "{\"name\": \"f\", \"parameters\": {}}; {\"name\": \"g\", \"parameters\": "
         "{\"x\": 1}}",
         "", {{"call_0", "f", "{}"}, {"call_1", "g", R"({"x": 1})"}});
}

TEST(Llama3ToolCalls, WhatIsNoCallIsContent) {
  Expect("llama3_json", " The answer is {\"name\": \"f\"}", " The answer is {\"name\": \"f\"}", {});
  Expect("llama3_json", R"({"answer": 42})", R"({"answer": 42})", {});
  Expect("llama3_json", R"({"name": "Ann", "age": 3})", R"({"name": "Ann", "age": 3})", {});
  Expect("llama3_json", R"({"name": "f", "parameters": {"a")",
         R"({"name": "f", "parameters": {"a")", {});
  Expect("llama3_json", R"({"name": "f", "parameters": {}}; then)", "; then",
         {{"call_0", "f", "{}"}});
}

TEST(DeepSeekToolCalls, OfR1AreFound) {
  Expect("deepseek",
         "Sure.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n"
         "{\"a\": \"`x`\"}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>g\n"
         "```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
         "Sure.", {{"call_0", "f", R"({"a": "`x`"})"}, {"call_1", "g", "{}"}});
}

TEST(DeepSeekToolCalls, OfV31AreFound) {
  Expect("deepseek",
         "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{\"a\": 1}"
         "<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
         "", {{"call_0", "f", R"({"a": 1})"}});
}

TEST(DeepSeekToolCalls, OfV31AreFoundWithoutAFrameAndHalfOfOneIsContent) {
  Expect("deepseek",
         "<｜tool▁call▁begin｜>f<｜tool▁sep｜>{\"a\": 1}<｜tool▁call▁end｜> and "
         "<｜tool▁call▁begin｜>g<｜tool▁sep｜>{\"b\"",
         " and<｜tool▁call▁begin｜>g<｜tool▁sep｜>{\"b\"", {{"call_0", "f", R"({"a": 1})"}});
}

TEST(ToolCallParser, NoFormatHasNone) {
  EXPECT_EQ(MakeToolCallParser(ToolCallFormat::kNone, {}), nullptr);
}

}  // namespace
}  // namespace pingti::router
