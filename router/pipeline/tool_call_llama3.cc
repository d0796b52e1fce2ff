// Llama 3 tool calls. See tool_call_formats.h.
#include <utility>

#include "router/pipeline/tool_call_formats.h"

namespace pingti::router {

void Llama3ToolCalls::Push(std::string_view text, std::string* content,
                           std::vector<ToolCallDelta>* calls) {
  while (!text.empty()) {
    switch (state_) {
      case State::kText:
        content->append(text);
        return;
      case State::kBetween: {
        const size_t start = text.find_first_not_of(num_calls() > 0 ? " \t\r\n;" : " \t\r\n");
        separators_.append(text.substr(0, start));
        if (start == std::string_view::npos) return;
        text.remove_prefix(start);
        if (text.front() == '{') {
          call_.emplace();
          state_ = State::kCall;
        } else {
          content->append(std::exchange(separators_, {}));
          state_ = State::kText;
        }
        break;
      }
      case State::kCall:
        call_->Push(&text, &writer_, calls);
        if (call_->failed() && !call_->begun()) {
          content->append(std::exchange(separators_, {}));
          content->append(call_->raw());
        }
        if (call_->failed()) state_ = State::kText;
        if (call_->complete()) state_ = State::kBetween;
        if (state_ != State::kCall) {
          call_.reset();
          separators_.clear();
        }
        break;
    }
  }
}

void Llama3ToolCalls::Finish(std::string* content, std::vector<ToolCallDelta>*) {
  if (num_calls() == 0) content->append(separators_);
  if (call_.has_value() && !call_->begun()) content->append(call_->raw());
}

}  // namespace pingti::router
