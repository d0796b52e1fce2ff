// Finds the tool calls in a model's text as it arrives.
//
// A call is given when it is whole, its arguments as the text of a JSON object: what is cut off or
// malformed is no call and stays content, so that a client never runs half of one, and that a
// stream says the same as a whole answer. router/api/answer_format.h says which syntaxes there are.
// Calls that a grammar holds have a parser of their own: held_tool_calls.h. Read next:
// tagged_tool_calls.h, bare_tool_calls.h, tool_call_bodies.h.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "boost/json/fwd.hpp"
#include "router/api/answer_format.h"
#include "router/api/request.h"

namespace pingti::router {

// Thread-compatible; one per choice.
class ToolCallParser {
 public:
  virtual ~ToolCallParser() = default;

  // Appends the content that is certain now, and the calls that became whole, one delta each.
  virtual void Push(std::string_view text, std::string* content,
                    std::vector<ToolCallDelta>* calls) = 0;
  virtual void Finish(std::string* content, std::vector<ToolCallDelta>* calls) = 0;
  virtual size_t num_calls() const = 0;
};

struct ToolCallOptions {
  // The request's "tools", for the types of arguments that a syntax writes without quotes; null:
  // not known. Must outlive the parser.
  const boost::json::array* tools = nullptr;
  // Names of the tools that take a text; null: none. Must outlive the parser.
  const std::vector<std::string>* custom_tools = nullptr;
  size_t most_calls = SIZE_MAX;         // further ones are left out
  std::function<std::string()> new_id;  // makes "call_..."
};

// Null for kNone.
std::unique_ptr<ToolCallParser> MakeToolCallParser(ToolCallFormat format, ToolCallOptions options);

// What a text of this syntax has in it that the tokenizers of its models call special, so that a
// detokenizer would leave it out.
std::vector<std::string_view> MarksOf(ToolCallFormat format);
// Where a call may begin; empty for syntaxes whose calls have no mark.
std::string_view CallMark(ToolCallFormat format);

}  // namespace pingti::router
