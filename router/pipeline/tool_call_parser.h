// Finds the tool calls in a model's text as it arrives and gives their arguments as deltas.
//
// One implementation per syntax that model families were trained on; router/api/answer_format.h
// says which: tool_call_hermes.cc, tool_call_llama3.cc, tool_call_deepseek.cc.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "router/api/answer_format.h"
#include "router/api/request.h"

namespace pingti::router {

// Thread-compatible; one per choice. Text that turns out not to be a well-formed call is given back
// as content, unless its first delta is out already.
class ToolCallParser {
 public:
  virtual ~ToolCallParser() = default;

  virtual void Push(std::string_view text, std::string* content,
                    std::vector<ToolCallDelta>* calls) = 0;
  virtual void Finish(std::string* content, std::vector<ToolCallDelta>* calls) = 0;
  virtual size_t num_calls() const = 0;
};

// `new_id` makes ids such as "call_...". Null for kNone.
std::unique_ptr<ToolCallParser> MakeToolCallParser(ToolCallFormat format,
                                                   std::function<std::string()> new_id);

}  // namespace pingti::router
