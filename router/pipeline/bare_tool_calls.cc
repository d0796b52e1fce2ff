// See bare_tool_calls.h.
#include "router/pipeline/bare_tool_calls.h"

#include <optional>
#include <utility>

#include "router/pipeline/blank.h"
#include "router/pipeline/tool_call_bodies.h"

namespace pingti::router {

void Llama3ToolCalls::Push(std::string_view text, std::string* content,
                           std::vector<ToolCallDelta>* calls) {
  while (!text.empty() && !writer_.full()) {
    switch (state_) {
      case State::kText:
        content->append(text);
        return;
      case State::kBetween: {
        const size_t start =
            text.find_first_not_of(num_calls() > 0 ? std::string_view(" \t\r\n;,") : kBlank);
        separators_.append(text.substr(0, start));
        if (start == std::string_view::npos) return;
        text.remove_prefix(start);
        if (text.front() == '{') {
          scanner_ = JsonCallScanner();
          state_ = State::kCall;
        } else {
          content->append(std::exchange(separators_, {}));
          state_ = State::kText;
        }
        break;
      }
      case State::kCall: {
        text.remove_prefix(scanner_.Push(text));
        if (!scanner_.complete() && !scanner_.failed()) return;
        std::optional<std::string> arguments;
        // {"name": "Ann", "age": 3} is an answer like another.
        if (scanner_.complete() && scanner_.has_arguments())
          arguments = ArgumentsObject(scanner_.arguments());
        if (arguments.has_value()) {
          writer_.Add({scanner_.name(), *std::move(arguments)}, calls);
          separators_.clear();
          state_ = State::kBetween;
        } else {
          content->append(std::exchange(separators_, {})).append(scanner_.raw());
          state_ = State::kText;
        }
        break;
      }
    }
  }
}

void Llama3ToolCalls::Finish(std::string* content, std::vector<ToolCallDelta>*) {
  if (num_calls() == 0 || state_ == State::kCall) content->append(separators_);
  if (state_ == State::kCall) content->append(scanner_.raw());
}

void PythonicToolCalls::Push(std::string_view text, std::string* content,
                             std::vector<ToolCallDelta>* calls) {
  if (writer_.full()) return;
  if (state_ == State::kBefore) {
    const size_t start = text.find_first_not_of(kBlank);
    held_.append(text.substr(0, start));
    if (start == std::string_view::npos) return;
    text.remove_prefix(start);
    state_ = text.front() == '[' ? State::kList : State::kText;
  }
  if (state_ == State::kList) {
    const size_t taken = brackets_.Push(text);
    held_.append(text.substr(0, taken));
    text.remove_prefix(taken);
    if (!brackets_.closed()) return;
    const std::vector<WholeCall> list = ReadPythonCalls(held_);
    for (const WholeCall& call : list) writer_.Add(call, calls);
    if (!list.empty()) held_.clear();
    state_ = State::kText;
  }
  if (!writer_.full()) content->append(std::exchange(held_, {})).append(text);
}

void PythonicToolCalls::Finish(std::string* content, std::vector<ToolCallDelta>*) {
  content->append(std::exchange(held_, {}));
}

}  // namespace pingti::router
