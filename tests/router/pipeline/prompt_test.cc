// From a request's text to the tokens a worker gets.
#include "router/pipeline/prompt.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "boost/json.hpp"
#include "router/pipeline/output_grammar.h"
#include "tests/router/testing_model.h"

namespace pingti::router {
namespace {

constexpr uint32_t kBos = 256;  // <|im_start|>

std::vector<uint32_t> CompletionIds(const ServedModel& model, Prompt prompt) {
  GenerationRequest request;
  request.kind = GenerationRequest::Kind::kCompletion;
  request.prompts = {std::move(prompt)};
  const auto prepared = PreparePrompts(model, request, {});
  EXPECT_TRUE(prepared.ok()) << prepared.status();
  return prepared.ok() ? prepared->token_ids[0] : std::vector<uint32_t>();
}

TEST(Prompt, ACompletionBeginsWithOneBosWhoeverWritesIt) {
  using Ids = std::vector<uint32_t>;
  const auto adds = MakeTestModel({.add_bos_token = true});
  EXPECT_EQ(CompletionIds(*adds, "a"), (Ids{kBos, 'a'}));
  EXPECT_EQ(CompletionIds(*adds, "<|im_start|>a"), (Ids{kBos, 'a'}));
  EXPECT_EQ(CompletionIds(*adds, "<|im_start|><|im_start|>a"), (Ids{kBos, 'a'}));
  EXPECT_EQ(CompletionIds(*adds, "a<|im_start|>"), (Ids{kBos, 'a', kBos}));
  EXPECT_EQ(CompletionIds(*adds, Ids{'a'}), (Ids{'a'}));  // ids are taken as they are
  const auto adds_none = MakeTestModel({});
  EXPECT_EQ(CompletionIds(*adds_none, "a"), (Ids{'a'}));
  EXPECT_EQ(CompletionIds(*adds_none, "<|im_start|>a"), (Ids{kBos, 'a'}));
}

std::string Rendered(const ServedModel& model) {
  GenerationRequest request;
  request.template_context = std::make_shared<boost::json::object>();
  (*request.template_context)["messages"] =
      boost::json::parse(R"([{"role":"user","content":"hi"}])");
  const auto prepared = PreparePrompts(model, request, {});
  EXPECT_TRUE(prepared.ok()) << prepared.status();
  if (!prepared.ok()) return "";
  return *DetokenizeIds(model, prepared->token_ids[0]);
}

TEST(Prompt, ATokenThatTheConfigurationCallsNullIsUndefinedInTemplates) {
  const std::string shows =
      "{% for t in [bos_token, eos_token, pad_token, image_token] %}"
      "{{ t if t is defined else 'undefined' }};{% endfor %}";
  EXPECT_EQ(
      Rendered(*MakeTestModel({.chat_template = shows, .tokenizer_config = R"({"bos_token":null,
                                         "eos_token":{"content":"<e>"},"image_token":"<i>"})"})),
      "undefined;<e>;undefined;<i>;");
  EXPECT_EQ(Rendered(*MakeTestModel({.chat_template = "{% if bos_token %}b{% endif %}"
                                                      "{{ eos_token }}",
                                     .tokenizer_config = R"({"bos_token":null,"eos_token":"e"})"})),
            "e");
  // Without a configuration they are those of the tokenizer.
  EXPECT_EQ(Rendered(*MakeTestModel({.chat_template = "{{ bos_token }}|{{ eos_token }}"})),
            "<|im_start|>|<|im_end|>");
}

TEST(Prompt, AMarkThatIsAControlTokenIsHeldAsOne) {
  TestModelOptions options{.chat_template = "[TOOL_CALLS]{{ messages[0].content }}",
                           .control_tokens = {"[TOOL_CALLS]", "[ARGS]"},
                           .features = {"grammar", "grammar_frames"}};
  const auto model = MakeTestModel(options);
  ASSERT_EQ(model->tool_calls, ToolCallFormat::kMistral);
  EXPECT_EQ(SpecialMarks(*model, model->tool_calls),
            (std::vector<std::string_view>{"[TOOL_CALLS]", "[ARGS]"}));
  EXPECT_TRUE(SpecialMarks(*model, ToolCallFormat::kNone).empty());
  GenerationRequest request;
  request.parse_tool_calls = request.strict_tools = true;
  request.template_context = std::make_shared<boost::json::object>();
  (*request.template_context)["tools"] =
      boost::json::parse(R"([{"type":"function","function":{"name":"f","strict":true}}])");
  const auto grammar = OutputGrammar(*model, request, false);
  ASSERT_TRUE(grammar.ok() && grammar->has_value()) << grammar.status();
  const boost::json::value source = boost::json::parse((*grammar)->text);
  EXPECT_EQ(source.at("special"), boost::json::parse(R"(["[TOOL_CALLS]","[ARGS]"])"));
  EXPECT_EQ(source.at("free"), "[TOOL_CALLS]");
  options.features = {"grammar"};  // of a worker of before
  const auto unheld = OutputGrammar(*MakeTestModel(options), request, false);
  ASSERT_TRUE(unheld.ok()) << unheld.status();
  EXPECT_FALSE(unheld->has_value());
}

}  // namespace
}  // namespace pingti::router
