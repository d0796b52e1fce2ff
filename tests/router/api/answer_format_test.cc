#include "router/api/answer_format.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <string>

#include "tests/testing/source_dir.h"

namespace pingti::router {
namespace {

std::string Template(std::string_view name) {
  std::ifstream file(SourcePath("tests/golden/text/templates/" + std::string(name) + ".jinja"));
  EXPECT_TRUE(file) << name;
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

TEST(AnswerFormat, IsRecognisedByTheTemplateOfEveryFamily) {
  struct Family {
    const char* name;
    ToolCallFormat calls;
    ReasoningFormat reasoning;
  };
  const Family kFamilies[] = {
      {"chatml_generation", ToolCallFormat::kNone, ReasoningFormat::kNone},
      {"deepseek_r1_style", ToolCallFormat::kDeepSeek, ReasoningFormat::kThink},
      {"gemma_style", ToolCallFormat::kNone, ReasoningFormat::kNone},
      {"hermes_style", ToolCallFormat::kHermes, ReasoningFormat::kNone},
      {"llama3_style", ToolCallFormat::kLlama3Json, ReasoningFormat::kNone},
      {"mistral_style", ToolCallFormat::kMistral, ReasoningFormat::kNone},
      {"qwen2_style", ToolCallFormat::kHermes, ReasoningFormat::kNone},
      {"qwen3_style", ToolCallFormat::kHermes, ReasoningFormat::kThink},
      {"smollm2", ToolCallFormat::kNone, ReasoningFormat::kNone},
  };
  for (const Family& family : kFamilies) {
    const std::string text = Template(family.name);
    EXPECT_EQ(DetectToolCallFormat(text), family.calls) << family.name;
    EXPECT_EQ(DetectReasoningFormat(text), family.reasoning) << family.name;
  }
  EXPECT_EQ(DetectToolCallFormat("'<tool_call>' ... '<function=' + name"),
            ToolCallFormat::kQwenXml);
  EXPECT_EQ(DetectToolCallFormat("<tool_call>{function-name}\n<arg_key>{key}</arg_key>"),
            ToolCallFormat::kGlm);
  EXPECT_EQ(DetectToolCallFormat("'<|tool_calls_section_begin|>' ..."), ToolCallFormat::kKimi);
  EXPECT_EQ(DetectToolCallFormat("in the format of [func_name1(params_name1=params_value1)]"),
            ToolCallFormat::kPythonic);
  EXPECT_EQ(DetectToolCallFormat("{{- '[TOOL_CALLS] [' }}"), ToolCallFormat::kMistral);
  EXPECT_EQ(DetectReasoningFormat("... '[/THINK]' ..."), ReasoningFormat::kSquareThink);
  EXPECT_EQ(DetectReasoningFormat("... '</seed:think>' ..."), ReasoningFormat::kSeedThink);
  const std::string_view harmony =
      "'<|start|>assistant<|channel|>analysis<|message|>' + message.thinking + '<|end|>' ... "
      "'<|channel|>commentary json<|message|>'";
  EXPECT_EQ(DetectReasoningFormat(harmony), ReasoningFormat::kHarmony);
  EXPECT_EQ(DetectToolCallFormat(harmony), ToolCallFormat::kHarmony);
}

TEST(AnswerFormat, NamesAndMarkersLeadBack) {
  for (const ToolCallFormat format :
       {ToolCallFormat::kNone, ToolCallFormat::kHermes, ToolCallFormat::kLlama3Json,
        ToolCallFormat::kDeepSeek, ToolCallFormat::kQwenXml, ToolCallFormat::kGlm,
        ToolCallFormat::kPythonic, ToolCallFormat::kMistral, ToolCallFormat::kKimi,
        ToolCallFormat::kHarmony}) {
    EXPECT_EQ(FindToolCallFormat(ToolCallFormatName(format)), format);
  }
  for (const ReasoningFormat format :
       {ReasoningFormat::kNone, ReasoningFormat::kThink, ReasoningFormat::kSquareThink,
        ReasoningFormat::kSeedThink, ReasoningFormat::kHarmony}) {
    EXPECT_EQ(FindReasoningFormat(MarkersOf(format)), format);
  }
  EXPECT_EQ(FindToolCallFormat("xml"), std::nullopt);
  EXPECT_EQ(FindReasoningFormat({"", "</think>"}), std::nullopt);
}

}  // namespace
}  // namespace pingti::router
