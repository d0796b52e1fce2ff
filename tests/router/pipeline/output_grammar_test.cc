// What a worker is given for a constrained request, in each model's tool-call syntax; and that the
// parser of that syntax reads back every text of it.
#include "router/pipeline/output_grammar.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "boost/json.hpp"
#include "router/api/api_error.h"
#include "router/pipeline/call_syntax.h"
#include "router/pipeline/tool_call_parser.h"
#include "tests/common/grammar/test_vocabulary.h"

namespace pingti::router {
namespace {

GenerationRequest ForcedCall(const std::string& tools, std::string name = "") {
  GenerationRequest request;
  request.require_tool_call = true;
  request.named_tool = std::move(name);
  request.template_context = std::make_shared<boost::json::object>();
  (*request.template_context)["tools"] = boost::json::parse(tools);
  return request;
}

const char kTools[] = R"([
  {"type":"function","function":{"name":"f","parameters":
      {"type":"object","properties":{"a":{"$ref":"#/$defs/n"}},"required":["a"],
       "additionalProperties":false,"$defs":{"n":{"type":"integer"}}}}},
  {"type":"function","function":{"name":"g"}}])";

ServedModel ModelWith(const std::string& format) {
  ServedModel model;
  model.id = "m";
  model.tool_calls = *FindToolCallFormat(format);
  model.grammars = model.framed_grammars = true;
  return model;
}

bool Allows(const ServedModel& model, const GenerationRequest& request, std::string_view text,
            bool reasoning_open = false) {
  const auto source = OutputGrammar(model, request, reasoning_open);
  EXPECT_TRUE(source.ok()) << source.status();
  if (!source.ok() || !source->has_value()) return false;
  const auto compiled = grammar::CompileForTest((*source)->kind, (*source)->text);
  EXPECT_TRUE(compiled.ok()) << compiled.status();
  return grammar::Matches(*compiled, text);
}

struct Syntax {
  const char* format;
  const char* one;   // f with {"a": 5}
  const char* both;  // and g with {}
};

void ExpectReadBack(ToolCallParser* parser, std::string_view text) {
  std::string content;
  std::vector<ToolCallDelta> calls;
  for (const char c : text) parser->Push({&c, 1}, &content, &calls);
  parser->Finish(&content, &calls);
  std::string names;
  std::string arguments;
  for (const ToolCallDelta& call : calls) {
    names += call.name;
    arguments += call.arguments;
  }
  EXPECT_EQ(names, "fg");
  EXPECT_EQ(arguments, R"({"a": 5}{})");
  EXPECT_EQ(content, "");
  EXPECT_EQ(parser->num_calls(), 2u);
}

class ForcedCalls : public ::testing::TestWithParam<Syntax> {};

TEST_P(ForcedCalls, AreAllowedAndReadBack) {
  const Syntax& syntax = GetParam();
  const ServedModel model = ModelWith(syntax.format);
  GenerationRequest request = ForcedCall(kTools);
  EXPECT_TRUE(Allows(model, request, syntax.one));
  EXPECT_TRUE(Allows(model, request, syntax.both));
  EXPECT_FALSE(Allows(model, request, std::string(syntax.one) + "!"));
  EXPECT_FALSE(Allows(model, request, std::string("Sure: ") + syntax.one));
  EXPECT_FALSE(Allows(model, request, ""));
  request.parallel_tool_calls = false;
  EXPECT_TRUE(Allows(model, request, syntax.one));
  EXPECT_FALSE(Allows(model, request, syntax.both));
  EXPECT_TRUE(Allows(model, ForcedCall(kTools, "f"), syntax.one));
  EXPECT_FALSE(Allows(model, ForcedCall(kTools, "f"), syntax.both));
  EXPECT_FALSE(Allows(model, ForcedCall(kTools, "g"), syntax.one));

  request.parallel_tool_calls = true;
  HeldToolCalls held(ForcedCallFrames(model, request), [] { return std::string("id"); });
  ExpectReadBack(&held, syntax.both);
  const auto free =
      MakeToolCallParser(ForcedCallFormat(model), {.new_id = [] { return std::string("id"); }});
  ExpectReadBack(free.get(), syntax.both);
}

INSTANTIATE_TEST_SUITE_P(
    Syntaxes, ForcedCalls,
    ::testing::Values(
        Syntax{"hermes", "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 5}}\n</tool_call>",
               "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 5}}\n</tool_call>\n"
               "<tool_call>\n{\"name\": \"g\", \"arguments\": {}}\n</tool_call>"},
        // A model without a syntax of its own.
        Syntax{"", "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 5}}\n</tool_call>",
               "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 5}}\n</tool_call>\n"
               "<tool_call>\n{\"name\": \"g\", \"arguments\": {}}\n</tool_call>"},
        // Its own has no JSON.
        Syntax{"glm45", "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 5}}\n</tool_call>",
               "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 5}}\n</tool_call>\n"
               "<tool_call>\n{\"name\": \"g\", \"arguments\": {}}\n</tool_call>"},
        Syntax{"mistral", R"([TOOL_CALLS][{"name": "f", "arguments": {"a": 5}}])",
               R"([TOOL_CALLS][{"name": "f", "arguments": {"a": 5}}, )"
               R"({"name": "g", "arguments": {}}])"},
        Syntax{"llama3_json", R"({"name": "f", "parameters": {"a": 5}})",
               R"({"name": "f", "parameters": {"a": 5}}; {"name": "g", "parameters": {}})"},
        Syntax{"deepseek",
               "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n"
               "{\"a\": 5}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
               "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n"
               "{\"a\": 5}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>g\n"
               "```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>"}));

TEST(HeldToolCalls, PassArgumentsOnAsTheyCome) {
  HeldToolCalls parser(ForcedCallFrames(ModelWith("hermes"), ForcedCall(kTools)),
                       [] { return std::string("id"); });
  std::string content;
  std::vector<ToolCallDelta> calls;
  parser.Push("<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a", &content, &calls);
  ASSERT_EQ(calls.size(), 1u);
  EXPECT_EQ(calls[0].name, "f");
  EXPECT_EQ(calls[0].arguments, "{\"a");
  parser.Push("\": 5}}\n</too", &content, &calls);
  EXPECT_EQ(calls[0].arguments, "{\"a\": 5}");
}

TEST(HeldToolCalls, TheSameCallsComeHoweverTheTextIsCut) {
  const std::string text =
      "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 5}}\n</tool_call>\n"
      "<tool_call>\n{\"name\": \"g\", \"arguments\": {}}\n</tool_call>";
  for (size_t cut = 0; cut <= text.size(); ++cut) {
    HeldToolCalls parser(ForcedCallFrames(ModelWith("hermes"), ForcedCall(kTools)),
                         [] { return std::string("id"); });
    std::string content;
    std::vector<ToolCallDelta> calls;
    for (const std::string& part : {text.substr(0, cut), text.substr(cut)}) {
      parser.Push(part, &content, &calls);
    }
    // Without a word that it is over.
    std::string arguments[2];
    for (const ToolCallDelta& call : calls) arguments[call.index] += call.arguments;
    EXPECT_EQ(parser.num_calls(), 2u) << cut;
    EXPECT_EQ(arguments[0], R"({"a": 5})") << cut;
    EXPECT_EQ(arguments[1], "{}") << cut;
    parser.Finish(&content, &calls);
    EXPECT_EQ(content, "") << cut;
  }
}

constexpr char kCall[] = "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 5}}\n</tool_call>";
constexpr char kBadCall[] =
    "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": \"x\"}}\n</tool_call>";

GenerationRequest AutoTools(bool strict) {
  GenerationRequest request = ForcedCall(kTools);
  request.require_tool_call = false;
  request.parse_tool_calls = true;
  request.strict_tools = strict;
  boost::json::array& tools = request.template_context->at("tools").as_array();
  for (boost::json::value& tool : tools) tool.at("function").as_object()["strict"] = strict;
  return request;
}

ServedModel Thinker() {
  ServedModel model = ModelWith("hermes");
  model.reasoning = ReasoningFormat::kThink;
  return model;
}

TEST(OutputGrammar, ACallStaysPossibleBesideADocument) {
  GenerationRequest request = AutoTools(false);
  request.grammar = {grammar::GrammarSource::Kind::kJsonSchema, R"({"enum":["yes"]})"};
  request.grammar_field = "response_format";
  for (const char* format : {"hermes", "llama3_json", "deepseek", "mistral", ""}) {
    EXPECT_TRUE(Allows(ModelWith(format), request, "\"yes\"")) << format;
    EXPECT_FALSE(Allows(ModelWith(format), request, "\"no\"")) << format;
  }
  EXPECT_TRUE(Allows(ModelWith("hermes"), request, kCall));
  EXPECT_FALSE(Allows(ModelWith("hermes"), request, kBadCall));
  EXPECT_FALSE(Allows(ModelWith("hermes"), request, std::string(kCall) + "\"yes\""));
}

TEST(OutputGrammar, AStrictToolHoldsArgumentsOnceACallBegins) {
  EXPECT_FALSE(OutputGrammar(Thinker(), AutoTools(false), false)->has_value());
  const GenerationRequest request = AutoTools(true);
  const std::string call = kCall;
  for (const std::string& text :
       {std::string(), std::string("Well, <tool> is < one"), call, "Well.\n" + call,
        "<think>hm </thin</think>\n\n" + call, std::string("<think><tool_call></think>So."),
        call + "\n" + call}) {
    EXPECT_TRUE(Allows(Thinker(), request, text)) << text;
  }
  for (const std::string& text : {std::string(kBadCall), "Well. " + std::string(kBadCall),
                                  std::string("<tool_call>hm"), call + " and"}) {
    EXPECT_FALSE(Allows(Thinker(), request, text)) << text;
  }
}

// Texts of a strict tool f(n: integer, text: string) and of g() in a model's own syntax.
struct StrictSyntax {
  const char* format;
  std::vector<std::string> good;  // each calls f, {"n": 5} or with a text as well, and perhaps g
  std::vector<std::string> bad;
};
void PrintTo(const StrictSyntax& syntax, std::ostream* out) { *out << syntax.format; }

const char kStrictTools[] = R"([
  {"type":"function","function":{"name":"f","strict":true,"parameters":
      {"type":"object","properties":{"n":{"type":"integer"},"text":{"type":"string"},
       "unit":{"type":"string","enum":["c","f"]}},"required":["n"],"additionalProperties":false}}},
  {"type":"function","function":{"name":"g","strict":true}}])";

class StrictCalls : public ::testing::TestWithParam<StrictSyntax> {};

TEST_P(StrictCalls, HoldArgumentsInTheModelsOwnSyntaxAndAreReadBack) {
  const StrictSyntax& syntax = GetParam();
  const ServedModel model = ModelWith(syntax.format);
  GenerationRequest request = AutoTools(true);
  (*request.template_context)["tools"] = boost::json::parse(kStrictTools);
  EXPECT_TRUE(Allows(model, request, ""));
  EXPECT_TRUE(Allows(model, request, "Just <words>, [1] and {2}."));
  for (const std::string& text : syntax.good) {
    EXPECT_TRUE(Allows(model, request, text)) << text;
    const auto parser = MakeToolCallParser(
        model.tool_calls, {.tools = &request.template_context->at("tools").as_array(),
                           .new_id = [] { return std::string("id"); }});
    std::string content;
    std::vector<ToolCallDelta> calls;
    for (const char c : text) parser->Push({&c, 1}, &content, &calls);
    parser->Finish(&content, &calls);
    ASSERT_FALSE(calls.empty()) << text;
    EXPECT_EQ(calls[0].name, "f");
    const boost::json::value arguments = boost::json::parse(calls[0].arguments);
    EXPECT_EQ(arguments.at("n"), 5) << text;
    if (arguments.as_object().contains("text")) {
      EXPECT_EQ(arguments.at("text"), "5 <b>\n\"é\"") << text;
    }
    if (calls.size() > 1) {
      EXPECT_EQ(calls[1].name + calls[1].arguments, "g{}") << text;
    }
    EXPECT_EQ(content, "") << text;
  }
  for (const std::string& text : syntax.bad) EXPECT_FALSE(Allows(model, request, text)) << text;
}

INSTANTIATE_TEST_SUITE_P(
    Syntaxes, StrictCalls,
    ::testing::Values(
        StrictSyntax{
            "hermes",
            {"<tool_call>\n{\"name\": \"f\", \"arguments\": {\"n\": 5, \"text\": "
             "\"5 <b>\\n\\\"é\\\"\"}}\n</tool_call>"},
            {"<tool_call>\n{\"name\": \"f\", \"arguments\": {\"n\": \"5\"}}\n</tool_call>"}},
        StrictSyntax{"llama3_json",
                     {"{\"name\": \"f\", \"parameters\": {\"n\": 5}}; "
                      "{\"name\": \"g\", \"parameters\": {}}"},
                     {"{\"name\": \"f\", \"parameters\": {}}", "{\"n\": 5}",
                      "\n{\"name\": \"h\", \"parameters\": {}}"}},
        StrictSyntax{"pythonic",
                     {"[f(n=5, text=\"5 <b>\\n\\\"é\\\"\"), g()]",
                      "[f(n=5, text=\"5 <b>\\u000a\\u0022\\u00e9\\u0022\", unit=\"c\")]"},
                     {"[f(n=5.5)]", "[f(text=\"a\")]", "[f(5)]", "[f(n=5, unit=\"k\")]", "[h()]"}},
        StrictSyntax{
            "qwen3_coder",
            {"<tool_call>\n<function=f>\n<parameter=n>\n5\n</parameter>\n<parameter=text>\n"
             "5 <b>\n\"é\"\n</parameter>\n</function>\n</tool_call>\n<tool_call>\n"
             "<function=g>\n</function>\n</tool_call>",
             "<tool_call>\n<function=f>\n<parameter=n>\n5\n</parameter>\n<parameter=unit>\n"
             "c\n</parameter>\n</function>\n</tool_call>"},
            {"<tool_call>\n<function=f>\n</function>\n</tool_call>",
             "<tool_call>\n<function=f>\n<parameter=n>\nfive\n</parameter>\n</function>\n"
             "</tool_call>",
             "<tool_call>\n<function=f>\n<parameter=n>\n5\n</parameter>\n<parameter=unit>\n"
             "k\n</parameter>\n</function>\n</tool_call>",
             "<tool_call>\n<function=h>\n</function>\n</tool_call>"}},
        StrictSyntax{
            "glm45",
            {"<tool_call>f\n<arg_key>n</arg_key>\n<arg_value>5</arg_value>\n"
             "<arg_key>text</arg_key>\n<arg_value>5 <b>\n\"é\"</arg_value>\n</tool_call>\n"
             "<tool_call>g\n</tool_call>",
             "<tool_call>f\n<arg_key>n</arg_key>\n<arg_value>5</arg_value>\n"
             "<arg_key>unit</arg_key>\n<arg_value>c</arg_value>\n</tool_call>"},
            {"<tool_call>f\n</tool_call>",
             "<tool_call>f\n<arg_key>n</arg_key>\n<arg_value>x</arg_value>\n</tool_call>",
             "<tool_call>f\n<arg_key>m</arg_key>\n<arg_value>5</arg_value>\n</tool_call>"}},
        StrictSyntax{"mistral",
                     {"[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {\"n\": 5}}, "
                      "{\"name\": \"g\", \"arguments\": {}}]",
                      "[TOOL_CALLS]f[ARGS]{\"n\": 5, \"text\": \"5 <b>\\n\\\"é\\\"\"}"
                      "[TOOL_CALLS]g[ARGS]{}"},
                     {"[TOOL_CALLS]f[ARGS]{}", "[TOOL_CALLS]", "So [TOOL_CALLS]h[ARGS]{}"}},
        StrictSyntax{
            "deepseek",
            {"<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n"
             "{\"n\": 5}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>g"
             "\n```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
             "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{\"n\": 5}"
             "<｜tool▁call▁end｜><｜tool▁call▁begin｜>g<｜tool▁sep｜>{}<｜tool▁call▁end｜>"
             "<｜tool▁calls▁end｜>"},
            {"<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{}<｜tool▁call▁end｜>"
             "<｜tool▁calls▁end｜>",
             "<｜tool▁call▁begin｜>f<｜tool▁sep｜>{\"n\": 5}<｜tool▁call▁end｜>"}},
        StrictSyntax{"kimi_k2",
                     {"<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0"
                      "<|tool_call_argument_begin|>{\"n\": 5}<|tool_call_end|><|tool_call_begin|>"
                      "functions.g:1<|tool_call_argument_begin|>{}<|tool_call_end|>"
                      "<|tool_calls_section_end|>"},
                     {"<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0"
                      "<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>",
                      "<|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{\"n\": 5}"
                      "<|tool_call_end|>"}}));

TEST(OutputGrammar, AToolWithoutPlainFieldsIsCalledWithJson) {
  GenerationRequest request = AutoTools(true);
  (*request.template_context)["tools"] = boost::json::parse(
      R"([{"type":"function","function":{"name":"f","strict":true,"parameters":
          {"type":"object","properties":{"a b":{"const":1}},"required":["a b"]}}}])");
  const std::string call =
      "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a b\": 1}}\n</tool_call>";
  for (const char* format : {"hermes", "qwen3_coder", "glm45"}) {
    EXPECT_TRUE(Allows(ModelWith(format), request, call)) << format;
  }
  // Words cannot be told from it, so that nothing is held.
  EXPECT_FALSE(OutputGrammar(ModelWith("pythonic"), request, false)->has_value());
}

TEST(OutputGrammar, AToolThatIsNotStrictTakesAnyObjectBesideOneThatIs) {
  GenerationRequest request = AutoTools(true);
  (*request.template_context)["tools"] = boost::json::parse(
      R"([{"type":"function","function":{"name":"f","strict":true}},
          {"type":"function","function":{"name":"g","parameters":
              {"type":"object","properties":{"n":{"type":"integer","not":{}}}}}}])");
  EXPECT_TRUE(Allows(ModelWith("hermes"), request,
                     "<tool_call>\n{\"name\": \"g\", \"arguments\": {\"x\": [1]}}\n</tool_call>"));
  EXPECT_FALSE(Allows(ModelWith("hermes"), request,
                      "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": [1]}}\n</tool_call>"));
  EXPECT_TRUE(Allows(ModelWith("qwen3_coder"), request,
                     "<tool_call>\n<function=g>\n<parameter=n>\n\"x\"\n</parameter>\n</function>\n"
                     "</tool_call>"));
}

TEST(OutputGrammar, FieldsOfAToolThatIsNotStrictAreBareWhereTheyAreTexts) {
  GenerationRequest request = AutoTools(true);
  (*request.template_context)["tools"] = boost::json::parse(
      R"([{"type":"function","function":{"name":"f","strict":true}},
          {"type":"function","function":{"name":"g","parameters":
              {"type":"object","required":["s"],"properties":
                  {"s":{"type":"string","enum":["x"]},"n":{"type":"integer"},"any":true}}}}])");
  const auto allows = [&](std::string_view name, std::string_view value) {
    return Allows(ModelWith("qwen3_coder"), request,
                  "<tool_call>\n<function=g>\n<parameter=" + std::string(name) + ">\n" +
                      std::string(value) + "\n</parameter>\n</function>\n</tool_call>");
  };
  EXPECT_TRUE(allows("s", "any words"));
  for (const char* name : {"n", "any"}) {
    EXPECT_TRUE(allows(name, "[1]")) << name;
    EXPECT_FALSE(allows(name, "any words")) << name;
  }
  EXPECT_FALSE(allows("other", "1"));
}

TEST(OutputGrammar, AThoughtAndACallGoTogetherWithEveryForm) {
  struct Form {
    grammar::GrammarSource::Kind kind;
    const char* source;
  };
  using Kind = grammar::GrammarSource::Kind;
  for (const Form& form : {Form{Kind::kRegex, "yes"}, Form{Kind::kEbnf, "root ::= \"yes\""},
                           Form{Kind::kJsonSchema, R"({"enum":["yes"]})"}}) {
    GenerationRequest request = AutoTools(false);
    request.grammar = {form.kind, form.source};
    request.grammar_field = "guided";
    const std::string yes = form.kind == Kind::kJsonSchema ? "\"yes\"" : "yes";
    for (const std::string& text : {yes, "<think>no</think>\n" + yes, std::string(kCall),
                                    "<think>no</think>" + std::string(kCall)}) {
      EXPECT_TRUE(Allows(Thinker(), request, text)) << form.source << ": " << text;
    }
    for (const std::string& text : {std::string("no"), yes + yes, yes + kCall,
                                    std::string(kBadCall), std::string("<think>no</think>")}) {
      EXPECT_FALSE(Allows(Thinker(), request, text)) << form.source << ": " << text;
    }
    ServedModel plain = Thinker();
    plain.framed_grammars = false;
    EXPECT_TRUE(Allows(plain, request, yes));
    EXPECT_FALSE(Allows(plain, request, "<think>no</think>" + yes));
  }
}

TEST(OutputGrammar, AThoughtMayComeBeforeWhatIsHeld) {
  GenerationRequest request;
  request.grammar = {grammar::GrammarSource::Kind::kJsonSchema, R"({"enum":["yes"]})"};
  request.grammar_field = "response_format";
  const ServedModel model = Thinker();
  EXPECT_TRUE(ThinksBeforeGrammar(model, request));
  EXPECT_TRUE(Allows(model, request, "\"yes\""));
  EXPECT_TRUE(Allows(model, request, "<think>\nis it </no>?\n</think>\n\n\"yes\""));
  EXPECT_FALSE(Allows(model, request, "<think>so</think>yes"));
  EXPECT_TRUE(Allows(model, request, "so <<</think>\"yes\"", /*reasoning_open=*/true));
  EXPECT_FALSE(Allows(model, request, "\"yes\"", /*reasoning_open=*/true));
  request = ForcedCall(kTools);
  EXPECT_TRUE(Allows(model, request, "<think>so</think>" + std::string(kCall)));
  EXPECT_FALSE(Allows(model, request, "<think>so</think>So. " + std::string(kCall)));
}

TEST(OutputGrammar, FreeTextHasNone) {
  const auto source = OutputGrammar(ModelWith("hermes"), GenerationRequest(), false);
  ASSERT_TRUE(source.ok());
  EXPECT_FALSE(source->has_value());
}

TEST(OutputGrammar, ABadSchemaIsNamedWithItsFieldAndPointer) {
  GenerationRequest request;
  request.grammar = {grammar::GrammarSource::Kind::kJsonSchema,
                     R"({"type":"object","properties":{"a":{"not":{}}}})"};
  request.grammar_field = "response_format";
  const absl::Status status = OutputGrammar(ModelWith(""), request, false).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_EQ(ErrorParam(status), "response_format");
  EXPECT_EQ(ErrorCode(status), "invalid_json_schema");
  EXPECT_NE(status.message().find("#/properties/a"), std::string::npos) << status;
  EXPECT_NE(status.message().find("not"), std::string::npos) << status;
}

TEST(OutputGrammar, ABadGrammarIsCalledSo) {
  using Kind = grammar::GrammarSource::Kind;
  for (const auto& [kind, text] : {std::pair(Kind::kRegex, "("), std::pair(Kind::kEbnf, "x")}) {
    GenerationRequest request;
    request.grammar = {kind, text};
    request.grammar_field = "guided";
    const absl::Status status = OutputGrammar(ModelWith(""), request, false).status();
    EXPECT_EQ(ErrorCode(status), "invalid_grammar");
    EXPECT_NE(status.message().find("Invalid grammar for 'guided'"), std::string::npos) << status;
  }
}

TEST(OutputGrammar, ABadToolIsNamed) {
  const absl::Status status =
      OutputGrammar(ModelWith("hermes"), ForcedCall(R"([{"type":"function","function":
          {"name":"f","parameters":{"type":"object","patternProperties":{}}}}])"),
                    false)
          .status();
  EXPECT_EQ(ErrorParam(status), "tools");
  EXPECT_EQ(ErrorCode(status), "invalid_json_schema");
  EXPECT_NE(status.message().find("patternProperties"), std::string::npos) << status;
  EXPECT_EQ(ErrorParam(OutputGrammar(ModelWith("hermes"), ForcedCall(kTools, "h"), false).status()),
            "tool_choice");
}

}  // namespace
}  // namespace pingti::router
