// See harmony_splitter.h.
#include "router/pipeline/harmony_splitter.h"

#include <algorithm>

#include "common/base/strings.h"
#include "common/grammar/control_token.h"
#include "router/pipeline/blank.h"
#include "router/pipeline/partial_match.h"
#include "router/pipeline/tool_call_marks.h"

namespace pingti::router {
namespace {

constexpr std::string_view kRecipient = "to=";
constexpr std::string_view kAnalysis = "analysis";
constexpr size_t kLongestHeader = 512;  // bytes; names of tools are at most 64

// The word behind `mark`, up to white space or another mark; empty: there is none.
std::string_view WordAfter(std::string_view header, std::string_view mark) {
  const size_t at = header.find(mark);
  if (at == std::string_view::npos) return {};
  std::string_view word = header.substr(at + mark.size());
  word.remove_prefix(std::min(word.find_first_not_of(kBlank), word.size()));
  return word.substr(0, word.find_first_of(" \t\r\n<\xFF"));
}

// Without control tokens, which say nothing where they stand alone.
std::string WithoutTokens(std::string_view text) {
  std::string out;
  while (true) {
    const size_t at = std::min(text.find(grammar::kControlByte), text.size());
    out.append(text.substr(0, at));
    if (at == text.size()) return out;
    text.remove_prefix(std::min(text.find('>', at), text.size() - 1) + 1);
  }
}

}  // namespace

HarmonySplitter::Marks HarmonySplitter::MakeMarks(bool marks_are_tokens) {
  const auto mark = [marks_are_tokens](std::string_view text) {
    return marks_are_tokens ? grammar::ControlToken(text) : std::string(text);
  };
  return {
      .start = mark(kHarmonyStart),
      .channel = mark(kHarmonyChannel),
      .message = mark(kHarmonyMessage),
      .any = mark("<|"),
      .ends = {mark(kHarmonyEnd), mark(kHarmonyCall), mark(kHarmonyReturn), mark(kHarmonyStart)}};
}

// Whether what was seen of a message may be its header.
bool HarmonySplitter::MayBeHeader(std::string_view text) const {
  if (text.size() > kLongestHeader) return false;
  text.remove_prefix(std::min(text.find_first_not_of(kBlank), text.size()));
  for (const std::string_view begin :
       {std::string_view(marks_.start), std::string_view(marks_.channel), kRecipient}) {
    if (text.starts_with(begin) || begin.starts_with(text)) return true;
  }
  return false;
}

HarmonySplitter::HarmonySplitter(const SplitOptions& options)
    : parses_calls_(options.parses_calls),
      marks_are_tokens_(options.marks_are_tokens),
      marks_(MakeMarks(options.marks_are_tokens)),
      place_(options.open ? Place::kThought : Place::kHeader) {}

void HarmonySplitter::Push(std::string_view text, std::string* reasoning, std::string* content) {
  held_.append(text);
  while (!held_.empty() && Step(reasoning, content)) {
  }
}

bool HarmonySplitter::Step(std::string* reasoning, std::string* content) {
  return place_ == Place::kHeader ? StepHeader(reasoning, content) : StepBody(reasoning, content);
}

bool HarmonySplitter::StepHeader(std::string* reasoning, std::string* content) {
  const size_t end = held_.find(marks_.message);
  const size_t header =
      end != std::string::npos ? end : held_.size() - PartialMatch(held_, marks_.message);
  if (!MayBeHeader(std::string_view(held_).substr(0, header))) {
    place_ = Place::kText;
    return true;
  }
  if (end == std::string::npos) return false;
  BeginMessage(std::string_view(held_).substr(0, end), reasoning, content);
  held_.erase(0, end + marks_.message.size());
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
  const bool thought = recipient.empty() && WordAfter(header, marks_.channel) == kAnalysis;
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
  for (const std::string_view one : marks_.ends) {
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
  if (mark != marks_.start) held_.erase(0, mark.size());
  return true;
}

void HarmonySplitter::Give(size_t count, std::string* reasoning, std::string* content) {
  if (count == 0) return;
  const bool thought = place_ == Place::kThought;
  const std::string_view text = std::string_view(held_).substr(0, count);
  (thought ? reasoning : content)->append(marks_are_tokens_ ? WithoutTokens(text) : text);
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
    if (held_.find(marks_.any) == std::string::npos) content->append(held_);
    held_.clear();
    return;
  }
  Give(held_.size(), reasoning, content);
  EndMessage(content);
}

}  // namespace pingti::router
