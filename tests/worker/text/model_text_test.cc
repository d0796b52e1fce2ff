// Texts of a checkpoint that no router could use are told of, with the reason.
#include "worker/text/model_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pingti::worker {
namespace {

using ::testing::HasSubstr;

TEST(ModelTextTest, AMissingOrBrokenTokenizerIsNamed) {
  EXPECT_EQ(MakeTokenizer({}).status().code(), absl::StatusCode::kNotFound);
  TextAssets assets;
  assets.tokenizer_json = "{}";
  EXPECT_THAT(std::string(MakeTokenizer(assets).status().message()),
              HasSubstr("'model': expected an object"));
  assets.tokenizer_json.clear();
  assets.gguf = GgufTokenizerKeys{};
  assets.gguf->model = "gpt2";
  assets.gguf->pre = "martian";
  assets.gguf->tokens = {"a"};
  assets.gguf->token_types = {1};
  EXPECT_THAT(std::string(MakeTokenizer(assets).status().message()), HasSubstr("'martian'"));
  assets.gguf->pre = "default";
  EXPECT_TRUE(MakeTokenizer(assets).ok());
}

TEST(ModelTextTest, ATemplateThatCannotBeParsedIsNamed) {
  TextAssets assets;
  EXPECT_TRUE(CheckTemplates(assets).ok());
  assets.chat_template = "{% if messages %}{{ messages|nosuch }}{% endif %}";
  EXPECT_TRUE(CheckTemplates(assets).ok());  // fails when it is reached
  assets.named_templates["tool_use"] = "\n{% include 'x' %}";
  EXPECT_THAT(std::string(CheckTemplates(assets).message()),
              HasSubstr("template 'tool_use': chat template, line 2"));
  assets.chat_template = "{% for x in %}";
  EXPECT_THAT(std::string(CheckTemplates(assets).message()), HasSubstr("chat template, line 1"));
}

}  // namespace
}  // namespace pingti::worker
