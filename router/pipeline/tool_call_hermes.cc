// Hermes and Qwen tool calls. See tool_call_formats.h.
#include <utility>

#include "router/pipeline/partial_match.h"
#include "router/pipeline/tool_call_formats.h"

namespace pingti::router {
namespace {

constexpr std::string_view kSpace = " \t\r\n";

}  // namespace

void HermesToolCalls::Push(std::string_view text, std::string* content,
                           std::vector<ToolCallDelta>* calls) {
  held_.append(text);
  while (Step(content, calls)) {
  }
}

bool HermesToolCalls::Step(std::string* content, std::vector<ToolCallDelta>* calls) {
  if (closing_) {
    const size_t end = held_.find(kHermesEnd);
    if (end == std::string::npos) {
      held_.erase(0, held_.size() - PartialMatch(held_, kHermesEnd));
      return false;
    }
    held_.erase(0, end + kHermesEnd.size());
    closing_ = false;
    return true;
  }
  return call_.has_value() ? StepCall(content, calls) : StepText(content);
}

bool HermesToolCalls::StepText(std::string* content) {
  const size_t start = held_.find(kHermesBegin);
  size_t certain =
      start != std::string::npos ? start : held_.size() - PartialMatch(held_, kHermesBegin);
  // White space before a call only sets it off: kept back until it is known what follows.
  while (certain > 0 && kSpace.find(held_[certain - 1]) != std::string_view::npos) --certain;
  content->append(held_, 0, certain);
  held_.erase(0, start == std::string::npos ? certain : start + kHermesBegin.size());
  if (start == std::string::npos) return false;
  call_.emplace();
  return true;
}

bool HermesToolCalls::StepCall(std::string* content, std::vector<ToolCallDelta>* calls) {
  if (held_.empty()) return false;
  const std::string text = std::exchange(held_, {});
  std::string_view rest = text;
  call_->Push(&rest, &writer_, calls);
  if (call_->failed() && !call_->begun()) {
    content->append(kHermesBegin);
    content->append(call_->raw());
  }
  held_ = rest;
  if (!call_->failed() && !call_->complete()) return false;
  closing_ = call_->complete() || call_->begun();
  call_.reset();
  return true;
}

void HermesToolCalls::Finish(std::string* content, std::vector<ToolCallDelta>*) {
  if (call_.has_value() && !call_->begun()) {
    content->append(kHermesBegin);
    content->append(call_->raw());
  }
  if (!closing_ && !call_.has_value() &&
      (num_calls() == 0 || held_.find_first_not_of(kSpace) != std::string::npos)) {
    content->append(held_);
  }
  held_.clear();
}

}  // namespace pingti::router
