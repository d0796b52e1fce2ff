// See held_tool_calls.h.
#include "router/pipeline/held_tool_calls.h"

#include <utility>

namespace pingti::router {

void HeldToolCalls::Push(std::string_view text, std::string*, std::vector<ToolCallDelta>* calls) {
  held_.append(text);
  while (!held_.empty() && Step(calls)) {
  }
}

bool HeldToolCalls::Step(std::vector<ToolCallDelta>* calls) {
  if (open_ == nullptr) return StepFrame(calls);
  if (brackets_.closed()) {
    if (held_.size() < open_->end.size()) return false;
    held_.erase(0, open_->end.size());
    open_ = nullptr;
    return true;
  }
  const size_t taken = brackets_.Push(held_);
  AddArguments(std::string_view(held_).substr(0, taken), calls);
  held_.erase(0, taken);
  return brackets_.closed();
}

bool HeldToolCalls::StepFrame(std::vector<ToolCallDelta>* calls) {
  for (const CallFrames::Call& call : frames_.calls) {
    if (!held_.starts_with(call.begin)) continue;
    held_.erase(0, call.begin.size());
    calls->push_back({.index = static_cast<uint32_t>(num_calls_++),
                      .id = new_id_(),
                      .name = call.name,
                      .arguments = ""});
    open_ = &call;
    brackets_ = PythonBrackets();
    return true;
  }
  const auto take = [this](std::string_view text) {
    if (text.empty() || !held_.starts_with(text)) return false;
    held_.erase(0, text.size());
    return true;
  };
  return take(frames_.begin) || take(frames_.separator) || take(frames_.end);
}

void HeldToolCalls::AddArguments(std::string_view text, std::vector<ToolCallDelta>* calls) const {
  const auto index = static_cast<uint32_t>(num_calls_ - 1);
  if (text.empty()) return;
  if (calls->empty() || calls->back().index != index) {
    calls->push_back({.index = index, .id = "", .name = "", .arguments = ""});
  }
  calls->back().arguments += text;
}

// What is left of a frame that was cut off says nothing; before the first call it is all there is.
void HeldToolCalls::Finish(std::string* content, std::vector<ToolCallDelta>*) {
  if (num_calls_ == 0) content->append(held_);
  held_.clear();
}

}  // namespace pingti::router
