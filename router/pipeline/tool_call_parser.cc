// The table of tool-call syntaxes. See tool_call_parser.h.
#include "router/pipeline/tool_call_parser.h"

#include <utility>

#include "router/pipeline/bare_tool_calls.h"
#include "router/pipeline/tagged_tool_calls.h"
#include "router/pipeline/tool_call_marks.h"

namespace pingti::router {
namespace {

struct TaggedRow {
  ToolCallFormat format;
  TaggedSyntax syntax;
};
constexpr TaggedRow kTagged[] = {
    {ToolCallFormat::kHermes, {kHermesBegin, kHermesEnd, "", "", &ReadJsonCalls}},
    {ToolCallFormat::kQwenXml, {kHermesBegin, kHermesEnd, "", "", &ReadQwenXmlCall}},
    {ToolCallFormat::kGlm, {kHermesBegin, kHermesEnd, "", "", &ReadGlmCall}},
    {ToolCallFormat::kDeepSeek,
     {kDeepSeekCallBegin, kDeepSeekCallEnd, kDeepSeekCallsBegin, kDeepSeekCallsEnd,
      &ReadDeepSeekCall}},
    {ToolCallFormat::kKimi,
     {kKimiCallBegin, kKimiCallEnd, kKimiCallsBegin, kKimiCallsEnd, &ReadKimiCall}},
    {ToolCallFormat::kHarmony, {kHarmonyCallBegin, kHarmonyCallEnd, "", "", &ReadHarmonyCall}},
    {ToolCallFormat::kMistral, {kMistralBegin, "", "", "", &ReadMistralCalls}},
};

const TaggedSyntax* FindTagged(ToolCallFormat format) {
  for (const TaggedRow& row : kTagged) {
    if (row.format == format) return &row.syntax;
  }
  return nullptr;
}

}  // namespace

std::unique_ptr<ToolCallParser> MakeToolCallParser(ToolCallFormat format, ToolCallOptions options) {
  if (const TaggedSyntax* syntax = FindTagged(format)) {
    return std::make_unique<TaggedToolCalls>(syntax, std::move(options));
  }
  if (format == ToolCallFormat::kLlama3Json) {
    return std::make_unique<Llama3ToolCalls>(std::move(options));
  }
  if (format == ToolCallFormat::kPythonic) {
    return std::make_unique<PythonicToolCalls>(std::move(options));
  }
  return nullptr;
}

std::vector<std::string_view> MarksOf(ToolCallFormat format) {
  const TaggedSyntax* syntax = FindTagged(format);
  if (syntax == nullptr) return {};
  return {syntax->begin,      syntax->end,    syntax->frame_begin, syntax->frame_end,
          kDeepSeekSeparator, kKimiArguments, kMistralId,          kMistralArguments};
}

std::string_view CallMark(ToolCallFormat format) {
  const TaggedSyntax* syntax = FindTagged(format);
  return syntax == nullptr ? std::string_view() : syntax->begin;
}

}  // namespace pingti::router
