// See answer_format.h.
#include "router/api/answer_format.h"

namespace pingti::router {
namespace {

struct ToolCallRow {
  std::string_view name;
  ToolCallFormat format;
};
constexpr ToolCallRow kToolCallFormats[] = {
    {"", ToolCallFormat::kNone},
    {"hermes", ToolCallFormat::kHermes},
    {"llama3_json", ToolCallFormat::kLlama3Json},
    {"deepseek", ToolCallFormat::kDeepSeek},
    {"qwen3_coder", ToolCallFormat::kQwenXml},
    {"glm45", ToolCallFormat::kGlm},
    {"pythonic", ToolCallFormat::kPythonic},
    {"mistral", ToolCallFormat::kMistral},
    {"kimi_k2", ToolCallFormat::kKimi},
    {"harmony", ToolCallFormat::kHarmony},
};

struct ReasoningRow {
  ReasoningFormat format;
  ReasoningMarkers markers;
  std::string_view trait;  // what a template of that format has in it
};
constexpr ReasoningRow kReasoningFormats[] = {
    {ReasoningFormat::kNone, {"", ""}, ""},
    {ReasoningFormat::kThink, {"<think>", "</think>"}, "</think>"},
    {ReasoningFormat::kSquareThink, {"[THINK]", "[/THINK]"}, "[/THINK]"},
    {ReasoningFormat::kSeedThink, {"<seed:think>", "</seed:think>"}, "</seed:think>"},
    {ReasoningFormat::kHarmony,
     {"<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"},
     "<|channel|>analysis"},
};

// What only a template of that format has in it; the first that is found counts, for Qwen3-Coder's
// and GLM's have Hermes' tag as well. Llama 3 has several: its own templates print the tag or the
// role of Python's answers, others show the model how a call is spelled.
struct Trait {
  std::string_view text;
  ToolCallFormat format;
};
constexpr Trait kTraits[] = {
    {"<｜tool▁calls▁begin｜>", ToolCallFormat::kDeepSeek},
    {"<|tool_calls_section_begin|>", ToolCallFormat::kKimi},
    {"[TOOL_CALLS]", ToolCallFormat::kMistral},
    {"<arg_key>", ToolCallFormat::kGlm},
    {"<function=", ToolCallFormat::kQwenXml},
    {"<tool_call>", ToolCallFormat::kHermes},
    {"<|channel|>commentary", ToolCallFormat::kHarmony},
    {"[func_name1(", ToolCallFormat::kPythonic},
    {"<|python_tag|>", ToolCallFormat::kLlama3Json},
    {"ipython", ToolCallFormat::kLlama3Json},
    {"\"parameters\": ", ToolCallFormat::kLlama3Json},
};

bool Contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

}  // namespace

std::string_view ToolCallFormatName(ToolCallFormat format) {
  for (const ToolCallRow& row : kToolCallFormats) {
    if (row.format == format) return row.name;
  }
  return "";
}

std::optional<ToolCallFormat> FindToolCallFormat(std::string_view name) {
  for (const ToolCallRow& row : kToolCallFormats) {
    if (row.name == name) return row.format;
  }
  return std::nullopt;
}

ReasoningMarkers MarkersOf(ReasoningFormat format) {
  for (const ReasoningRow& row : kReasoningFormats) {
    if (row.format == format) return row.markers;
  }
  return {};
}

std::optional<ReasoningFormat> FindReasoningFormat(ReasoningMarkers markers) {
  for (const ReasoningRow& row : kReasoningFormats) {
    if (row.markers.start == markers.start && row.markers.end == markers.end) return row.format;
  }
  return std::nullopt;
}

ToolCallFormat DetectToolCallFormat(std::string_view chat_template) {
  for (const Trait& trait : kTraits) {
    if (Contains(chat_template, trait.text)) return trait.format;
  }
  return ToolCallFormat::kNone;
}

ReasoningFormat DetectReasoningFormat(std::string_view chat_template) {
  for (const ReasoningRow& row : kReasoningFormats) {
    if (!row.trait.empty() && Contains(chat_template, row.trait)) return row.format;
  }
  return ReasoningFormat::kNone;
}

}  // namespace pingti::router
