// Any template source over a fixed conversation: no crash, no leak, limits hold.
#include <boost/json.hpp>
#include <string_view>

#include "common/text/chat_template.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view source(reinterpret_cast<const char*>(data), size);
  const auto parsed = pingti::text::ChatTemplate::Parse(
      source, {.max_output_bytes = 1 << 16, .max_steps = 20'000, .max_depth = 50});
  if (!parsed.ok()) return 0;
  static const boost::json::value context = boost::json::parse(R"({
      "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "h\u00e9 \ud83d\ude00"},
                   {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": {"a": [1, 2.5]}}}]}],
      "tools": [{"type": "function", "function": {"name": "f", "parameters": {"b": 1, "a": true}}}],
      "add_generation_prompt": true, "bos_token": "<s>", "n": 3, "xs": [3, 1, 2], "d": {"k": "v"}})");
  const auto rendered = (*parsed)->Render(context.as_object(), {});
  if (rendered.ok() && rendered->size() > 1 << 16) __builtin_trap();
  return 0;
}
