// Reads an answer that a grammar holds to calls (tool_choice "required" or a named tool): every
// byte but the arguments is known beforehand, so that they can be passed on as they come.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "router/pipeline/python_calls.h"
#include "router/pipeline/tool_call_parser.h"

namespace pingti::router {

// The text around the calls of an answer and around the arguments of each tool's call.
struct CallFrames {
  struct Call {
    std::string name;
    std::string begin;
    std::string end;
  };
  std::string begin;
  std::string separator;
  std::string end;
  std::vector<Call> calls;
};

// An answer that is cut off has the beginning of its last call. Thread-compatible.
class HeldToolCalls final : public ToolCallParser {
 public:
  HeldToolCalls(CallFrames frames, std::function<std::string()> new_id)
      : frames_(std::move(frames)), new_id_(std::move(new_id)) {}
  void Push(std::string_view text, std::string* content,
            std::vector<ToolCallDelta>* calls) override;
  void Finish(std::string* content, std::vector<ToolCallDelta>* calls) override;
  size_t num_calls() const override { return num_calls_; }

 private:
  bool Step(std::vector<ToolCallDelta>* calls);
  bool StepFrame(std::vector<ToolCallDelta>* calls);
  // Adds to the last call's arguments.
  void AddArguments(std::string_view text, std::vector<ToolCallDelta>* calls) const;

  const CallFrames frames_;
  const std::function<std::string()> new_id_;
  const CallFrames::Call* open_ = nullptr;  // whose arguments, or end, come
  PythonBrackets brackets_;                 // JSON's are among Python's
  size_t num_calls_ = 0;
  std::string held_;
};

}  // namespace pingti::router
