// The ways in which models write down their thoughts and their tool calls: one enum for each, and
// the one place that recognises them. Parsers (router/pipeline), forced calls
// (router/pipeline/output_grammar.h) and docs/api.md use these names.
#pragma once

#include <optional>
#include <string_view>

namespace pingti::router {

enum class ToolCallFormat {
  kNone,
  // <tool_call>{"name": ..., "arguments": {...}}</tool_call>, any number of them, text around them.
  // Source: NousResearch's Hermes function-calling format; Qwen2.5 and Qwen3 templates.
  kHermes,
  // The whole answer is {"name": ..., "parameters": {...}}, or several of them separated by ';'.
  // Source: Meta's Llama 3.1 model card, "JSON based tool calling".
  kLlama3Json,
  // <｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>NAME\n```json\n{...}\n```
  // <｜tool▁call▁end｜>...<｜tool▁calls▁end｜> (R1, V3), and V3.1's NAME<｜tool▁sep｜>{...}.
  // Source: the chat templates of deepseek-ai's checkpoints.
  kDeepSeek,
  // <tool_call><function=NAME><parameter=KEY>VALUE</parameter></function></tool_call>.
  // Source: Qwen3-Coder's template.
  kQwenXml,
  // <tool_call>NAME<arg_key>KEY</arg_key><arg_value>VALUE</arg_value></tool_call>.
  // Source: GLM 4.5's template.
  kGlm,
  // The whole answer is [NAME(KEY=VALUE), ...] with Python's literals.
  // Source: Meta's Llama 3.2 and Llama 4 model cards.
  kPythonic,
  // [TOOL_CALLS][{"name": ..., "arguments": {...}}], and [TOOL_CALLS]NAME[ARGS]{...} of newer ones.
  // Source: the chat templates of mistralai's checkpoints.
  kMistral,
  // <|tool_calls_section_begin|><|tool_call_begin|>functions.NAME:0<|tool_call_argument_begin|>{...}
  // <|tool_call_end|><|tool_calls_section_end|>. Source: Kimi K2's template.
  kKimi,
  // <|channel|>commentary to=functions.NAME <|constrain|>json<|message|>{...}<|call|>, and the same
  // with the recipient before the channel; a message of Harmony like others, see
  // router/pipeline/harmony_splitter.h. Source: gpt-oss's template.
  kHarmony,
};

enum class ReasoningFormat {
  kNone,
  kThink,        // <think>...</think>: DeepSeek R1, Qwen3
  kSquareThink,  // [THINK]...[/THINK]: Magistral
  kSeedThink,    // <seed:think>...</seed:think>: Seed-OSS
  kHarmony,      // messages of the channel "analysis": gpt-oss
};

// What stands before and after a thought in front of an answer; both empty for kNone.
struct ReasoningMarkers {
  std::string_view start;
  std::string_view end;
};

// "hermes", "llama3_json" and so on, as other servers name them; empty for kNone.
std::string_view ToolCallFormatName(ToolCallFormat format);
// Nothing for a name that is none of these.
std::optional<ToolCallFormat> FindToolCallFormat(std::string_view name);

ReasoningMarkers MarkersOf(ReasoningFormat format);
// Nothing for markers that are none of these.
std::optional<ReasoningFormat> FindReasoningFormat(ReasoningMarkers markers);

// By what a chat template writes for earlier turns, which is what its model was trained to write.
ToolCallFormat DetectToolCallFormat(std::string_view chat_template);
ReasoningFormat DetectReasoningFormat(std::string_view chat_template);

}  // namespace pingti::router
