// See harmony_splitter.h.
#include "router/pipeline/harmony_splitter.h"

#include <algorithm>

#include "common/base/strings.h"
#include "router/pipeline/blank.h"
#include "router/pipeline/partial_match.h"
#include "router/pipeline/tool_call_marks.h"

namespace pingti::router {
namespace {

constexpr std::string_view kEnds[] = {kHarmonyEnd, kHarmonyCallEnd, kHarmonyReturn, kHarmonyStart};
constexpr std::string_view kMark = "<|";  // begins all marks
constexpr std::string_view kRecipient = "to=";
constexpr std::string_view kAnalysis = "analysis";
constexpr size_t kLongestHeader = 512;  // bytes; names of tools are at most 64

// The word behind `mark`, up to white space or another mark; empty: there is none.
std::string_view WordAfter(std::string_view header, std::string_view mark) {
  const size_t at = header.find(mark);
  if (at == std::string_view::npos) return {};
  std::string_view word = header.substr(at + mark.size());
  word.remove_prefix(std::min(word.find_first_not_of(kBlank), word.size()));
  return word.substr(0, word.find_first_of(" \t\r\n<"));
}

// Whether what was seen of a message may be its header.
bool MayBeHeader(std::string_view text) {
  if (text.size() > kLongestHeader) return false;
  text.remove_prefix(std::min(text.find_first_not_of(kBlank), text.size()));
  for (const std::string_view begin : {kHarmonyStart, kHarmonyChannel, kRecipient}) {
    if (text.starts_with(begin) || begin.starts_with(text)) return true;
  }
  return false;
}

}  // namespace

HarmonySplitter::HarmonySplitter(bool open, bool parses_calls)
    : parses_calls_(parses_calls), place_(open ? Place::kThought : Place::kHeader) {}

void HarmonySplitter::Push(std::string_view text, std::string* reasoning, std::string* content) {
  held_.append(text);
  while (!held_.empty() && Step(reasoning, content)) {
  }
}

bool HarmonySplitter::Step(std::string* reasoning, std::string* content) {
  return place_ == Place::kHeader ? StepHeader(reasoning, content) : StepBody(reasoning, content);
}

bool HarmonySplitter::StepHeader(std::string* reasoning, std::string* content) {
  const size_t end = held_.find(kHarmonyMessage);
  const size_t header =
      end != std::string::npos ? end : held_.size() - PartialMatch(held_, kHarmonyMessage);
  if (!MayBeHeader(std::string_view(held_).substr(0, header))) {
    place_ = Place::kText;
    return true;
  }
  if (end == std::string::npos) return false;
  BeginMessage(std::string_view(held_).substr(0, end), reasoning, content);
  held_.erase(0, end + kHarmonyMessage.size());
  return true;
}

void HarmonySplitter::BeginMessage(std::string_view header, std::string* reasoning,
                                   std::string* content) {
  const std::string_view recipient = WordAfter(header, kRecipient);
  if (!recipient.empty() && parses_calls_) {
    content->append(Concat(kHarmonyCallBegin, recipient, kHarmonyMessage));
    place_ = Place::kCall;
    return;
  }
  // Messages of one kind that follow each other are lines of one text.
  const bool thought = recipient.empty() && WordAfter(header, kHarmonyChannel) == kAnalysis;
  if (thought && has_thoughts_) reasoning->append("\n");
  if (!thought && has_words_) content->append("\n");
  place_ = thought ? Place::kThought : Place::kWords;
}

bool HarmonySplitter::StepBody(std::string* reasoning, std::string* content) {
  if (place_ == Place::kText) {
    Give(held_.size(), reasoning, content);
    return false;
  }
  size_t end = std::string::npos;
  std::string_view mark;
  size_t partial = 0;
  for (const std::string_view one : kEnds) {
    const size_t at = held_.find(one);
    if (at < end) {
      end = at;
      mark = one;
    }
    partial = std::max(partial, PartialMatch(held_, one));
  }
  if (mark.empty()) {
    Give(held_.size() - partial, reasoning, content);
    return false;
  }
  Give(end, reasoning, content);
  EndMessage(content);
  if (mark != kHarmonyStart) held_.erase(0, mark.size());
  return true;
}

void HarmonySplitter::Give(size_t count, std::string* reasoning, std::string* content) {
  if (count == 0) return;
  const bool thought = place_ == Place::kThought;
  (thought ? reasoning : content)->append(held_, 0, count);
  has_thoughts_ = has_thoughts_ || thought;
  has_words_ = has_words_ || place_ == Place::kWords;
  held_.erase(0, count);
}

void HarmonySplitter::EndMessage(std::string* content) {
  if (place_ == Place::kCall) content->append(kHarmonyCallEnd);
  place_ = Place::kHeader;
}

void HarmonySplitter::Finish(std::string* reasoning, std::string* content, std::string*) {
  if (place_ == Place::kHeader) {
    // Of a header that was cut off nothing is shown; what has no mark in it was none.
    if (held_.find(kMark) == std::string::npos) content->append(held_);
    held_.clear();
    return;
  }
  Give(held_.size(), reasoning, content);
  EndMessage(content);
}

}  // namespace pingti::router
