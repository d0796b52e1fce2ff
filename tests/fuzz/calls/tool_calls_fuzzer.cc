// Any text as a model's answer in every syntax of tool calls: it does not matter in which pieces it
// comes, every call has a name and an object for its arguments, and no text is read twice.
#include <boost/json.hpp>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/text/utf8.h"
#include "router/pipeline/tool_call_parser.h"

namespace pingti::router {
namespace {

void Require(bool condition) {
  if (!condition) __builtin_trap();
}

struct Read {
  std::string content;
  std::vector<ToolCallDelta> calls;
};

const boost::json::array& Tools() {
  static const auto* tools = new boost::json::array(
      boost::json::parse(
          R"([{"type":"function","function":{"name":"f","parameters":{"type":"object",
          "properties":{"a":{"type":"string"},"b":{"type":"integer"}}}}}])")
          .as_array());
  return *tools;
}

Read ReadInPieces(ToolCallFormat format, std::string_view text, size_t piece) {
  static const auto* custom = new std::vector<std::string>{"c"};
  int ids = 0;
  const std::unique_ptr<ToolCallParser> parser =
      MakeToolCallParser(format, {.tools = &Tools(), .custom_tools = custom, .new_id = [&ids] {
                                    return std::to_string(ids++);
                                  }});
  Read read;
  for (size_t i = 0; i < text.size(); i += piece) {
    parser->Push(text.substr(i, piece), &read.content, &read.calls);
  }
  parser->Finish(&read.content, &read.calls);
  Require(parser->num_calls() == read.calls.size());
  return read;
}

void Run(ToolCallFormat format, size_t piece, std::string_view text) {
  const Read whole = ReadInPieces(format, text, text.size());
  const Read pieces = ReadInPieces(format, text, piece);
  Require(whole.content == pieces.content);
  Require(whole.content.size() <= text.size());
  Require(whole.calls.size() == pieces.calls.size());
  for (size_t i = 0; i < whole.calls.size(); ++i) {
    const ToolCallDelta& call = whole.calls[i];
    Require(call.index == i && !call.name.empty() && !call.id.empty());
    Require(call.name == pieces.calls[i].name && call.arguments == pieces.calls[i].arguments);
    Require(call.is_custom == (call.name == "c"));
    if (call.is_custom) continue;
    boost::json::error_code error;
    Require(boost::json::parse(call.arguments, error).is_object() || error);
    Require(!error);
  }
}

}  // namespace
}  // namespace pingti::router

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using pingti::router::ToolCallFormat;
  static constexpr ToolCallFormat kFormats[] = {
      ToolCallFormat::kHermes,  ToolCallFormat::kLlama3Json, ToolCallFormat::kDeepSeek,
      ToolCallFormat::kQwenXml, ToolCallFormat::kGlm,        ToolCallFormat::kPythonic,
      ToolCallFormat::kMistral, ToolCallFormat::kKimi};
  if (size < 3) return 0;
  // As detokenizers give it.
  const std::string text = pingti::text::ReplaceInvalidUtf8(
      std::string_view(reinterpret_cast<const char*>(data) + 2, size - 2));
  pingti::router::Run(kFormats[data[0] % std::size(kFormats)], 1 + data[1] % 16, text);
  return 0;
}
