// See reasoning_splitter.h.
#include "router/pipeline/reasoning_splitter.h"

#include <algorithm>
#include <utility>

#include "router/pipeline/partial_match.h"

namespace pingti::router {

ReasoningSplitter::ReasoningSplitter(ReasoningMarkers markers, bool open,
                                     std::string_view call_mark)
    : start_(markers.start), end_(markers.end), call_mark_(call_mark) {
  if (end_.empty()) {
    state_ = State::kContent;
  } else {
    state_ = open ? State::kTrimReasoning : State::kBefore;
  }
}

void ReasoningSplitter::Push(std::string_view text, std::string* reasoning, std::string* content) {
  if (state_ == State::kContent) {
    content->append(text);
    return;
  }
  held_.append(text);
  while (Step(reasoning, content)) {
  }
}

// Moves on as far as `held_` decides; true when the state changed and there may be more to do.
bool ReasoningSplitter::Step(std::string* reasoning, std::string* content) {
  switch (state_) {
    case State::kBefore: {
      const size_t first = held_.find_first_not_of(" \t\r\n");
      if (first == std::string::npos) return false;
      const std::string_view rest = std::string_view(held_).substr(first);
      if (rest.starts_with(start_)) {
        held_.erase(0, first + start_.size());
        state_ = State::kTrimReasoning;
        return true;
      }
      if (start_.starts_with(rest)) return false;
      state_ = State::kContent;
      return true;
    }
    case State::kTrimReasoning:
    case State::kTrimContent: {
      held_.erase(0, std::min(held_.find_first_not_of('\n'), held_.size()));
      if (held_.empty()) return false;
      state_ = state_ == State::kTrimContent ? State::kContent : State::kReasoning;
      return true;
    }
    case State::kReasoning:
    case State::kMaybeCall: {
      const size_t end = held_.find(end_, searched_);
      if (end == std::string::npos && state_ == State::kMaybeCall) {
        searched_ = held_.size() - std::min(held_.size(), end_.size());
        return false;
      }
      const size_t call = call_mark_.empty() ? std::string::npos : held_.find(call_mark_);
      if (end == std::string::npos && call != std::string::npos) {
        EmitReasoning(call, call, reasoning);
        state_ = State::kMaybeCall;
        return false;
      }
      size_t certain = end;
      if (end == std::string::npos) {
        certain = held_.size() - PartialMatch(held_, end_);
        if (!call_mark_.empty()) {
          certain = std::min(certain, held_.size() - PartialMatch(held_, call_mark_));
        }
      }
      EmitReasoning(certain, end == std::string::npos ? certain : end + end_.size(), reasoning);
      if (end == std::string::npos) return false;
      state_ = State::kTrimContent;
      return true;
    }
    case State::kContent:
      content->append(std::exchange(held_, {}));
      return false;
  }
  return false;
}

// Line breaks before a marker only set it off: they stay, and go with the marker.
void ReasoningSplitter::EmitReasoning(size_t text_end, size_t marker_end, std::string* reasoning) {
  size_t certain = text_end;
  while (certain > 0 && held_[certain - 1] == '\n') --certain;
  reasoning->append(held_, 0, certain);
  held_.erase(0, marker_end == text_end ? certain : marker_end);
  searched_ = 0;
}

void ReasoningSplitter::Finish(std::string* reasoning, std::string* content, std::string* call) {
  std::string* const rest = state_ == State::kMaybeCall ? call : inside() ? reasoning : content;
  rest->append(std::exchange(held_, {}));
}

}  // namespace pingti::router
