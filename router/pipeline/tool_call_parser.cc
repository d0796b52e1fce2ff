// The table of tool-call syntaxes, and what they share. See tool_call_parser.h.
#include "router/pipeline/tool_call_parser.h"

#include <utility>

#include "router/pipeline/tool_call_formats.h"

namespace pingti::router {

ToolCallWriter::ToolCallWriter(std::function<std::string()> new_id) : new_id_(std::move(new_id)) {}

void ToolCallWriter::Begin(std::string name, std::vector<ToolCallDelta>* calls) {
  ToolCallDelta delta;
  delta.index = static_cast<uint32_t>(num_calls_++);
  delta.id = new_id_();
  delta.name = std::move(name);
  calls->push_back(std::move(delta));
}

void ToolCallWriter::Arguments(std::string text, std::vector<ToolCallDelta>* calls) {
  if (text.empty()) return;
  const auto index = static_cast<uint32_t>(num_calls_ - 1);
  if (!calls->empty() && calls->back().index == index) {
    calls->back().arguments += text;
    return;
  }
  ToolCallDelta delta;
  delta.index = index;
  delta.arguments = std::move(text);
  calls->push_back(std::move(delta));
}

void JsonCallWriter::Push(std::string_view* text, ToolCallWriter* writer,
                          std::vector<ToolCallDelta>* calls) {
  text->remove_prefix(scanner_.Push(*text));
  if (!scanner_.has_name()) return;
  if (!std::exchange(begun_, true)) writer->Begin(scanner_.name(), calls);
  writer->Arguments(scanner_.TakeArguments(), calls);
}

std::unique_ptr<ToolCallParser> MakeToolCallParser(ToolCallFormat format,
                                                   std::function<std::string()> new_id) {
  switch (format) {
    case ToolCallFormat::kNone:
      return nullptr;
    case ToolCallFormat::kHermes:
      return std::make_unique<HermesToolCalls>(std::move(new_id));
    case ToolCallFormat::kLlama3Json:
      return std::make_unique<Llama3ToolCalls>(std::move(new_id));
    case ToolCallFormat::kDeepSeek:
      return std::make_unique<DeepSeekToolCalls>(std::move(new_id));
  }
  return nullptr;
}

}  // namespace pingti::router
