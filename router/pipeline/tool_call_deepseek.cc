// DeepSeek tool calls. See tool_call_formats.h.
#include <utility>

#include "router/pipeline/partial_match.h"
#include "router/pipeline/tool_call_formats.h"

namespace pingti::router {
namespace {

constexpr std::string_view kSpace = " \t\r\n";

}  // namespace

void DeepSeekToolCalls::Push(std::string_view text, std::string* content,
                             std::vector<ToolCallDelta>* calls) {
  held_.append(text);
  while (Step(content, calls)) {
  }
}

bool DeepSeekToolCalls::Step(std::string* content, std::vector<ToolCallDelta>* calls) {
  switch (state_) {
    case State::kText: {
      const size_t start = held_.find(kDeepSeekCallsBegin);
      size_t certain = start != std::string::npos
                           ? start
                           : held_.size() - PartialMatch(held_, kDeepSeekCallsBegin);
      while (certain > 0 && kSpace.find(held_[certain - 1]) != std::string_view::npos) --certain;
      content->append(held_, 0, certain);
      held_.erase(0, start == std::string::npos ? certain : start + kDeepSeekCallsBegin.size());
      if (start == std::string::npos) return false;
      state_ = State::kBetween;
      return true;
    }
    case State::kBetween: {
      const size_t begin = held_.find(kDeepSeekCallBegin);
      const size_t end = held_.find(kDeepSeekCallsEnd);
      if (begin == std::string::npos && end == std::string::npos) return false;
      const bool ends = end < begin;
      held_.erase(0, ends ? end + kDeepSeekCallsEnd.size() : begin + kDeepSeekCallBegin.size());
      state_ = ends ? State::kAfter : State::kHead;
      return true;
    }
    case State::kHead:
      return StepHead(calls);
    case State::kArguments:
      return StepArguments(calls);
    case State::kAfter:
      content->append(std::exchange(held_, {}));
      return false;
  }
  return false;
}

// "function<sep>NAME\n```json\n" (R1, V3) or "NAME<sep>" (V3.1), told apart by what follows the
// separator: the arguments' '{', or a name.
bool DeepSeekToolCalls::StepHead(std::vector<ToolCallDelta>* calls) {
  const size_t separator = held_.find(kDeepSeekSeparator);
  if (separator == std::string::npos) return false;
  const size_t after = separator + kDeepSeekSeparator.size();
  const size_t first = held_.find_first_not_of(kSpace, after);
  if (first == std::string::npos) return false;
  if (held_[first] == '{') {
    writer_.Begin(held_.substr(0, separator), calls);
    held_.erase(0, first);
    fenced_ = false;
  } else {
    const size_t fence = held_.find(kDeepSeekFence, after);
    if (fence == std::string::npos) return false;
    std::string name = held_.substr(first, fence - first);
    name.erase(name.find_last_not_of(kSpace) + 1);
    writer_.Begin(std::move(name), calls);
    held_.erase(0, fence + kDeepSeekFence.size());
    fenced_ = true;
  }
  state_ = State::kArguments;
  return true;
}

bool DeepSeekToolCalls::StepArguments(std::vector<ToolCallDelta>* calls) {
  const size_t end = held_.find(kDeepSeekCallEnd);
  size_t certain =
      end != std::string::npos ? end : held_.size() - PartialMatch(held_, kDeepSeekCallEnd);
  // The closing fence and the white space around it are no part of the arguments.
  const auto trim = [&](std::string_view set) {
    while (certain > 0 && set.find(held_[certain - 1]) != std::string_view::npos) --certain;
  };
  trim(kSpace);
  if (fenced_) {
    trim("`");
    trim(kSpace);
  }
  writer_.Arguments(held_.substr(0, certain), calls);
  held_.erase(0, end == std::string::npos ? certain : end + kDeepSeekCallEnd.size());
  if (end == std::string::npos) return false;
  state_ = State::kBetween;
  return true;
}

void DeepSeekToolCalls::Finish(std::string* content, std::vector<ToolCallDelta>* calls) {
  if (state_ == State::kText) content->append(held_);
  if (state_ == State::kArguments) writer_.Arguments(std::exchange(held_, {}), calls);
}

}  // namespace pingti::router
