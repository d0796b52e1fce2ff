// Model outputs as the families write them, cut at every place.
#include "router/pipeline/tool_call_parser.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

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

Parsed Parse(std::string_view format, std::string_view text, size_t size) {
  int ids = 0;
  const std::unique_ptr<ToolCallParser> parser = MakeToolCallParser(
      *FindToolCallFormat(format), [&ids] { return "call_" + std::to_string(ids++); });
  Parsed parsed;
  std::vector<ToolCallDelta> deltas;
  for (size_t i = 0; i < text.size(); i += size) {
    parser->Push(text.substr(i, size), &parsed.content, &deltas);
  }
  parser->Finish(&parsed.content, &deltas);
  for (const ToolCallDelta& delta : deltas) {
    if (delta.index == parsed.calls.size()) {
      parsed.calls.push_back({delta.id, delta.name, ""});
    } else {
      EXPECT_TRUE(delta.id.empty() && delta.name.empty());
    }
    parsed.calls[delta.index].arguments += delta.arguments;
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

TEST(HermesToolCalls, ArgumentsAreStreamed) {
  std::vector<ToolCallDelta> deltas;
  std::string content;
  const auto parser = MakeToolCallParser(ToolCallFormat::kHermes, [] { return "call"; });
  parser->Push(R"(<tool_call>{"name": "f", "arguments": {"te)", &content, &deltas);
  ASSERT_EQ(deltas.size(), 1u);
  EXPECT_EQ(deltas[0].name, "f");
  EXPECT_EQ(deltas[0].arguments, R"({"te)");
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

TEST(ToolCallParser, NoFormatHasNone) {
  EXPECT_EQ(MakeToolCallParser(ToolCallFormat::kNone, nullptr), nullptr);
}

}  // namespace
}  // namespace pingti::router
