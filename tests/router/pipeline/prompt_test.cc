// From a request's text to the tokens a worker gets.
#include "router/pipeline/prompt.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "boost/json.hpp"
#include "common/base/block_hash.h"
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

// As worker/cache knows them: every block that is full, after all before it.
TEST(Prompt, FullBlocksOfEveryLengthHaveTheHashesOfTheirChain) {
  constexpr int64_t kBlock = 4;
  ServedModel model = *MakeTestModel({});
  model.kv_block_tokens = uint32_t{kBlock};
  for (uint32_t length = 1; length <= 3 * kBlock + 1; ++length) {
    std::vector<uint32_t> ids;
    for (uint32_t i = 0; i < length; ++i) ids.push_back((7 * i + length) % 256);
    GenerationRequest request;
    request.kind = GenerationRequest::Kind::kCompletion;
    request.prompts = {ids};
    const auto prepared = PreparePrompts(model, request, {});
    ASSERT_TRUE(prepared.ok()) << prepared.status();
    std::vector<uint64_t> want;
    uint64_t hash = BlockHashSeed(PrefixSalt(request.tenant, model.adapter));
    for (uint32_t block = 0; block < length / kBlock; ++block) {
      const auto begin = ids.begin() + int64_t{block} * kBlock;
      const std::vector<int32_t> tokens(begin, begin + kBlock);
      hash = ChainBlockHash(hash, tokens);
      want.push_back(hash);
    }
    EXPECT_EQ(prepared->block_hashes[0], want) << length;
  }
}

TEST(Prompt, CodeAroundAGapIsTextAlsoWhereItSpellsSpecialTokens) {
  using Ids = std::vector<uint32_t>;
  const std::string code = "x<|im_start|>y";
  const Ids code_ids(code.begin(), code.end());
  for (const bool add_bos_token : {false, true}) {
    ServedModel model = *MakeTestModel({.add_bos_token = add_bos_token});
    model.fim = FimTokens{.prefix = 1, .suffix = 2, .middle = 3};
    for (const Prompt& prompt : {Prompt(code), Prompt(Ids{kBos, 7})}) {
      const bool is_text = std::holds_alternative<std::string>(prompt);
      GenerationRequest request;
      request.kind = GenerationRequest::Kind::kCompletion;
      request.prompts = {prompt};
      request.suffix = code;
      const auto prepared = PreparePrompts(model, request, {});
      ASSERT_TRUE(prepared.ok()) << prepared.status();
      Ids want;
      if (add_bos_token) want.push_back(kBos);
      want.push_back(1);
      const Ids before = is_text ? code_ids : Ids{kBos, 7};
      want.insert(want.end(), before.begin(), before.end());
      want.push_back(2);
      want.insert(want.end(), code_ids.begin(), code_ids.end());
      want.push_back(3);
      EXPECT_EQ(prepared->token_ids[0], want);
    }
  }
}

// Counts the texts that it is given.
class CountingTokenizer final : public text::Tokenizer {
 public:
  explicit CountingTokenizer(std::shared_ptr<const text::Tokenizer> inner)
      : inner_(std::move(inner)) {}
  absl::Status Encode(std::string_view text, const text::EncodeOptions& options,
                      std::vector<text::TokenId>* ids) const override {
    most_bytes = std::max(most_bytes, text.size());
    return inner_->Encode(text, options, ids);
  }
  std::string_view TokenBytes(text::TokenId id) const override { return inner_->TokenBytes(id); }
  bool IsSpecial(text::TokenId id) const override { return inner_->IsSpecial(id); }
  bool StripsLeadingSpace() const override { return inner_->StripsLeadingSpace(); }
  std::optional<text::TokenId> FindToken(std::string_view token) const override {
    return inner_->FindToken(token);
  }
  int32_t vocab_size() const override { return inner_->vocab_size(); }
  std::optional<text::TokenId> bos_token_id() const override { return inner_->bos_token_id(); }
  std::optional<text::TokenId> eos_token_id() const override { return inner_->eos_token_id(); }

  mutable size_t most_bytes = 0;

 private:
  const std::shared_ptr<const text::Tokenizer> inner_;
};

TEST(Prompt, ATextThatCannotFitIsNotTokenized) {
  ServedModel model = *MakeTestModel({.chat_template = "{{ messages[0].content }}"});
  const auto tokenizer = std::make_shared<CountingTokenizer>(model.tokenizer);
  model.tokenizer = tokenizer;
  model.max_context_tokens = 20;
  model.max_token_bytes = 10;
  model.fim = FimTokens{};
  constexpr size_t kMost = size_t{3} * 20 * 10;
  GenerationRequest completion;
  completion.kind = GenerationRequest::Kind::kCompletion;
  GenerationRequest chat;
  chat.template_context = std::make_shared<boost::json::object>();
  for (const size_t bytes : {kMost, kMost + 1}) {
    const std::string text(bytes, 'x');
    completion.prompts = {text};
    (*chat.template_context)["messages"] =
        boost::json::array{{{"role", "user"}, {"content", text}}};
    GenerationRequest prefix = completion;
    prefix.suffix = "";
    GenerationRequest suffix = completion;
    suffix.prompts = {""};
    suffix.suffix = text;
    for (const GenerationRequest* request : {&completion, &chat, &prefix, &suffix}) {
      tokenizer->most_bytes = 0;
      const auto prepared = PreparePrompts(model, *request, {});
      EXPECT_TRUE(absl::IsInvalidArgument(prepared.status())) << prepared.status();
      EXPECT_EQ(tokenizer->most_bytes >= kMost, bytes == kMost) << tokenizer->most_bytes;
    }
  }
}

std::string Rendered(const ServedModel& model,
                     const boost::json::array& messages = {{{"role", "user"}, {"content", "hi"}}}) {
  GenerationRequest request;
  request.template_context = std::make_shared<boost::json::object>();
  (*request.template_context)["messages"] = messages;
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

TEST(Prompt, SystemTurnsMoveToTheFirstWhereTheTemplateTakesNoOthers) {
  const auto anywhere =
      MakeTestModel({.chat_template = "{% for m in messages %}{{ m.role[0] }}:{{ m.content }};"
                                      "{% endfor %}"});
  const auto first =
      MakeTestModel({.chat_template = "{% for m in messages %}{% if m.role == 'system' and not "
                                      "loop.first %}{{ raise_exception('no') }}{% endif %}"
                                      "{{ m.role[0] }}:{{ m.content }};{% endfor %}"});
  // Every order of up to five turns of three kinds.
  const char* kinds[] = {"user", "assistant", "system"};
  for (int length = 1, orders = 3; length <= 5; ++length, orders *= 3) {
    for (int order = 0; order < orders; ++order) {
      boost::json::array messages;
      std::string as_they_are, system, others;
      bool has_later = false;
      for (int i = 0, rest = order; i < length; ++i, rest /= 3) {
        const std::string role = kinds[rest % 3];
        const std::string content = i == 1 ? "" : std::string(1, static_cast<char>('a' + i));
        messages.push_back({{"role", role}, {"content", content}});
        const std::string turn = role.substr(0, 1) + ":" + content + ";";
        as_they_are += turn;
        if (role != "system") {
          others += turn;
          continue;
        }
        has_later = has_later || i > 0;
        system += (system.empty() ? "" : "\n\n") + content;
      }
      const std::string moved = "s:" + system + ";" + others;
      EXPECT_EQ(Rendered(*anywhere, messages), as_they_are);
      EXPECT_EQ(Rendered(*first, messages), has_later ? moved : as_they_are) << as_they_are;
    }
  }
}

TEST(Prompt, HarmonysTemplatesFindThoughtsUnderTheirName) {
  const std::string chat_template =
      "{{ messages[0].content }}|{{ messages[1].thinking }}|{{ messages[1].content }}";
  for (const bool harmony : {true, false}) {
    const std::string marks = harmony ? "{# <|channel|>analysis #}" : "";
    const auto model = MakeTestModel({.chat_template = chat_template + marks});
    GenerationRequest chat;
    chat.template_context = std::make_shared<boost::json::object>();
    (*chat.template_context)["messages"] =
        boost::json::array{{{"role", "system"}, {"content", "s"}},
                           {{"role", "assistant"}, {"content", "b"}, {"reasoning_content", "a"}},
                           // Which the template would leave out.
                           {{"role", "system"}, {"content", "t"}}};
    const auto prepared = PreparePrompts(*model, chat, {});
    ASSERT_TRUE(prepared.ok()) << prepared.status();
    EXPECT_EQ(*DetokenizeIds(*model, prepared->token_ids[0]), harmony ? "s\n\nt|a|b" : "s||b");
  }
}

TEST(Prompt, ControlTokensInThoughtsAndArgumentsStayText) {
  const auto model = MakeTestModel(
      {.chat_template = "{{ messages[0].reasoning_content }}"
                        "{{ messages[0].tool_calls[0].function.arguments | tojson }}"});
  GenerationRequest chat;
  chat.template_context = std::make_shared<boost::json::object>();
  (*chat.template_context)["messages"] = boost::json::parse(
      R"([{"role":"assistant","content":"","reasoning_content":"a<|im_start|>","tool_calls":[
          {"id":"1","type":"function","function":{"name":"f",
           "arguments":"{\"a\": [{\"b\": \"<|im_start|>\"}]}"}}]}])");
  const auto prepared = PreparePrompts(*model, chat, {});
  ASSERT_TRUE(prepared.ok()) << prepared.status();
  const std::vector<uint32_t>& ids = prepared->token_ids[0];
  EXPECT_EQ(std::count(ids.begin(), ids.end(), kBos), 0);
  EXPECT_EQ(*DetokenizeIds(*model, ids), R"(a<|im_start|>{"a": [{"b": "<|im_start|>"}]})");
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
