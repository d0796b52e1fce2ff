// What holds gpt-oss's answers, and that what it allows is read back.
#include "router/pipeline/harmony_calls.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "boost/json.hpp"
#include "common/grammar/control_token.h"
#include "router/pipeline/call_syntax.h"
#include "router/pipeline/output_grammar.h"
#include "tests/common/grammar/test_vocabulary.h"
#include "tests/router/testing_model.h"

namespace pingti::router {
namespace {

std::shared_ptr<const ServedModel> GptOss(std::vector<std::string> features = {
                                              "grammar", "grammar_frames", "grammar_messages"}) {
  TestModelOptions options{
      .chat_template = "<|channel|>analysis<|channel|>commentary{{ messages[0].content }}",
      .features = std::move(features)};
  for (const std::string_view mark : HarmonyMarks()) options.control_tokens.emplace_back(mark);
  return MakeTestModel(options);
}

GenerationRequest HarmonyTools() {
  GenerationRequest request;
  request.kind = GenerationRequest::Kind::kChat;
  request.parse_tool_calls = request.strict_tools = true;
  request.template_context = std::make_shared<boost::json::object>();
  (*request.template_context)["tools"] = boost::json::parse(R"([
      {"type":"function","function":{"name":"f","strict":true,"parameters":
          {"type":"object","properties":{"a":{"type":"integer"}},"required":["a"],
           "additionalProperties":false}}},
      {"type":"function","function":{"name":"g"}}])");
  return request;
}

// Reads `text`, in which marks are tokens unless a '~' stands before them.
bool Holds(const ServedModel& model, const GenerationRequest& request, std::string_view text,
           bool reasoning_open = false) {
  const auto source = OutputGrammar(model, request, reasoning_open);
  EXPECT_TRUE(source.ok() && source->has_value()) << source.status();
  if (!source.ok() || !source->has_value()) return false;
  const std::vector<std::string_view> marks = HarmonyMarks();
  std::vector<std::string> tokens;
  for (const std::string_view mark : marks) tokens.push_back(grammar::ControlToken(mark));
  const auto compiled = grammar::CompileForTest((*source)->kind, (*source)->text, {},
                                                grammar::ByteVocabulary(tokens));
  EXPECT_TRUE(compiled.ok()) << compiled.status();
  grammar::Matcher matcher(*compiled);
  while (!text.empty()) {
    int32_t token = 0;
    size_t size = 1;
    for (size_t i = 0; i < marks.size(); ++i) {
      if (!text.starts_with(marks[i])) continue;
      token = 257 + static_cast<int32_t>(i);
      size = marks[i].size();
    }
    if (text.starts_with('~')) text.remove_prefix(1);
    if (token == 0) token = 1 + static_cast<uint8_t>(text[0]);
    if (!matcher.Accept(token).ok()) return false;
    text.remove_prefix(size);
  }
  return matcher.can_end();
}

const char kThought[] = "<|channel|>analysis<|message|>a < b<|end|><|start|>assistant";
const char kPreamble[] = "<|channel|>commentary<|message|>Now.<|end|><|start|>assistant";
const char kCallF[] = "<|channel|>commentary to=functions.f <|constrain|>json<|message|>{\"a\": 5}";

TEST(HarmonyCalls, AForcedCallIsAMessageAfterAThought) {
  const auto model = GptOss();
  ASSERT_TRUE(HoldsMessages(*model));
  GenerationRequest request = HarmonyTools();
  request.require_tool_call = true;
  const std::string thought = kThought;
  for (const std::string& text :
       {std::string(kCallF), thought + kCallF,
        thought + "<|channel|>commentary to=functions.g<|message|>{}",
        thought + "<|channel|>commentary to=functions.f json<|message|>{\"a\":5}"}) {
    EXPECT_TRUE(Holds(*model, request, text)) << text;
  }
  for (const std::string& text :
       {std::string(), thought, std::string("words"), thought + "<|channel|>final<|message|>a",
        std::string(kPreamble) + kCallF, std::string(kCallF) + "<|call|>" + kCallF,
        std::string("~<|channel|>commentary to=functions.g<|message|>{}"),
        std::string("<|channel|>commentary to=functions.f<|message|>{}"),
        std::string("<|channel|>commentary to=functions.h<|message|>{}")}) {
    EXPECT_FALSE(Holds(*model, request, text)) << text;
  }
  EXPECT_EQ(ThoughtEnd(*model, request), kHarmonyNext);
  EXPECT_TRUE(Holds(*model, request, "so<|end|><|start|>assistant" + std::string(kCallF), true));
  EXPECT_FALSE(Holds(*model, request, kCallF, true));
  request.named_tool = "g";
  EXPECT_FALSE(Holds(*model, request, kCallF));
  EXPECT_TRUE(Holds(*model, request, "<|channel|>commentary to=functions.g<|message|>{}"));
}

TEST(HarmonyCalls, AStrictToolHoldsArgumentsInEveryHeader) {
  const auto model = GptOss();
  const GenerationRequest request = HarmonyTools();
  const std::vector<std::string> headers = {
      "<|channel|>commentary to=functions.f <|constrain|>json<|message|>",
      "<|channel|>commentary to=functions.f<|message|>",
      "<|channel|>analysis to=functions.f json<|message|>",
      " to=functions.f<|channel|>commentary json<|message|>",
      " to=functions.f<|channel|>analysis<|constrain|>json<|message|>"};
  for (const std::string& header : headers) {
    for (const std::string& before :
         {std::string(), std::string(kThought), std::string(kThought) + kPreamble}) {
      EXPECT_TRUE(Holds(*model, request, before + header + "{\"a\":5}")) << before << header;
      EXPECT_FALSE(Holds(*model, request, before + header + "{\"a\":\"x\"}")) << before << header;
      EXPECT_FALSE(Holds(*model, request, before + header + "{}")) << before << header;
    }
  }
  for (const std::string& text :
       {std::string("<|channel|>final<|message|>words ~<|start|>"),
        std::string(kThought) + "<|channel|>final<|message|>words", std::string(kPreamble) + kCallF,
        std::string("<|channel|>commentary to=functions.g<|message|>{\"any\": [1]}")}) {
    EXPECT_TRUE(Holds(*model, request, text)) << text;
  }
  EXPECT_FALSE(Holds(*model, request, "words"));
  EXPECT_TRUE(Holds(*model, request, "so<|end|><|start|>assistant" + std::string(kCallF), true));
}

TEST(HarmonyCalls, ADocumentIsTheLastMessage) {
  const auto model = GptOss();
  GenerationRequest request = HarmonyTools();
  request.grammar = {grammar::GrammarSource::Kind::kJsonSchema, R"({"enum":["yes"]})"};
  request.grammar_field = "response_format";
  for (const bool with_tools : {false, true}) {
    request.parse_tool_calls = with_tools;
    const std::string thought = kThought;
    EXPECT_TRUE(Holds(*model, request, "<|channel|>final<|message|>\"yes\""));
    EXPECT_TRUE(
        Holds(*model, request, thought + "<|channel|>final <|constrain|>json<|message|>\"yes\""));
    EXPECT_FALSE(Holds(*model, request, "<|channel|>final<|message|>\"no\""));
    EXPECT_FALSE(Holds(*model, request, "\"yes\""));
    EXPECT_FALSE(Holds(*model, request, thought));
    EXPECT_EQ(Holds(*model, request, thought + kCallF), with_tools);
    EXPECT_TRUE(
        Holds(*model, request, "x" + std::string(ThoughtEnd(*model, request)) + "\"yes\"", true));
  }
}

TEST(HarmonyCalls, WorkersOfBeforeHoldWhatTheyKnow) {
  const auto model = GptOss({"grammar", "grammar_frames"});
  EXPECT_FALSE(HoldsMessages(*model));
  GenerationRequest request = HarmonyTools();
  EXPECT_FALSE(ThinksBeforeGrammar(*model, request));
  EXPECT_FALSE(OutputGrammar(*model, request, false)->has_value());
  request.require_tool_call = true;
  EXPECT_EQ(ForcedCallFormat(*model), ToolCallFormat::kHermes);
  EXPECT_TRUE(Holds(*model, request,
                    "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 5}}\n</tool_call>"));
}

}  // namespace
}  // namespace pingti::router
