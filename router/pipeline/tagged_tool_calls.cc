// See tagged_tool_calls.h.
#include "router/pipeline/tagged_tool_calls.h"

#include <algorithm>
#include <utility>

#include "router/pipeline/blank.h"
#include "router/pipeline/partial_match.h"

namespace pingti::router {

void TaggedToolCalls::Push(std::string_view text, std::string* content,
                           std::vector<ToolCallDelta>* calls) {
  held_.append(text);
  while (!writer_.full() && Step(content, calls)) {
  }
  if (writer_.full()) held_.clear();
}

bool TaggedToolCalls::Step(std::string* content, std::vector<ToolCallDelta>* calls) {
  return in_body_ ? StepBody(content, calls) : StepText(content);
}

TaggedToolCalls::Mark TaggedToolCalls::NextMark(
    size_t from, std::initializer_list<std::string_view> marks) const {
  Mark next;
  for (const std::string_view mark : marks) {
    const size_t at = mark.empty() ? std::string::npos : held_.find(mark, from);
    if (at < next.at) next = {at, mark};
  }
  return next;
}

bool TaggedToolCalls::StepText(std::string* content) {
  const auto marks = {syntax_.begin, syntax_.frame_begin, syntax_.frame_end};
  const Mark mark = NextMark(0, marks);
  size_t certain = mark.at;
  if (mark.text.empty()) {
    size_t partial = 0;
    for (const std::string_view one : marks) {
      if (!one.empty()) partial = std::max(partial, PartialMatch(held_, one));
    }
    certain = held_.size() - partial;
  }
  // White space before a call only sets it off: kept back until it is known what follows.
  while (certain > 0 && IsBlank(held_[certain - 1])) --certain;
  content->append(held_, 0, certain);
  if (mark.text.empty()) {
    held_.erase(0, certain);
    return false;
  }
  held_.erase(0, mark.at + mark.text.size());
  in_body_ = mark.text == syntax_.begin;
  seen_ = 0;
  passed_.clear();
  return true;
}

bool TaggedToolCalls::StepBody(std::string* content, std::vector<ToolCallDelta>* calls) {
  const Mark mark = NextMark(seen_, {syntax_.end, syntax_.begin, syntax_.frame_end});
  if (mark.text.empty()) {
    const size_t longest =
        std::max({syntax_.end.size(), syntax_.begin.size(), syntax_.frame_end.size()});
    seen_ = std::max(seen_, held_.size() - std::min(held_.size(), longest - 1));
    return false;
  }
  const CallBody body = syntax_.read(std::string_view(held_).substr(0, mark.at), tools_);
  if (!body.calls.empty()) {
    ConcludeCalls(mark, body, content, calls);
  } else if (!body.is_open || passed_.size() == kMostPassed) {
    ConcludeContent(passed_.empty() ? mark : passed_.front(), content);
  } else {
    // The mark may stand in a string.
    passed_.push_back(mark);
    seen_ = mark.at + mark.text.size();
  }
  return true;
}

void TaggedToolCalls::ConcludeCalls(const Mark& mark, const CallBody& body, std::string* content,
                                    std::vector<ToolCallDelta>* calls) {
  for (const WholeCall& call : body.calls) writer_.Add(call, calls);
  if (!writer_.full() && !IsBlank(body.rest)) content->append(body.rest);
  EndBody(mark);
}

void TaggedToolCalls::ConcludeContent(const Mark& mark, std::string* content) {
  content->append(syntax_.begin).append(held_, 0, mark.at);
  if (mark.text == syntax_.end) content->append(mark.text);
  EndBody(mark);
}

// Another begin mark stays: it begins the next body.
void TaggedToolCalls::EndBody(const Mark& mark) {
  held_.erase(0, mark.at + (mark.text == syntax_.end ? mark.text.size() : 0));
  in_body_ = false;
}

void TaggedToolCalls::Finish(std::string* content, std::vector<ToolCallDelta>* calls) {
  for (int round = 0; in_body_ && !writer_.full(); ++round) {
    const Mark end{held_.size()};
    const CallBody body = syntax_.read(held_, tools_);
    if (!body.calls.empty()) {
      ConcludeCalls(end, body, content, calls);
    } else {
      // A mark that looked like a part of the body ended it: what follows is read again.
      const bool again = !passed_.empty() && round < kMostRounds;
      ConcludeContent(again ? passed_.front() : end, content);
      Push("", content, calls);
    }
  }
  if (num_calls() == 0 || !IsBlank(held_)) content->append(held_);
  held_.clear();
}

}  // namespace pingti::router
