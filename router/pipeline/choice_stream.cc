// See choice_stream.h.
#include "router/pipeline/choice_stream.h"

#include <algorithm>
#include <utility>

#include "common/grammar/control_token.h"

namespace pingti::router {
namespace {

// What looked like a call and was none is text.
void ShowMarks(std::string* content) { std::erase(*content, grammar::kControlByte); }

}  // namespace

ChoiceStream::ChoiceStream(const ServedModel* model, const text::StopStrings* stops,
                           Options options)
    : model_(model),
      detokenizer_(model->tokenizer.get(), /*skip_special_tokens=*/true),
      splitter_(
          MakeAnswerSplitter(options.split_reasoning ? model->reasoning : ReasoningFormat::kNone,
                             {options.reasoning_open, options.call_mark,
                              options.tool_calls != nullptr, options.marks_are_tokens})),
      tool_calls_(std::move(options.tool_calls)),
      ends_with_call_(options.ends_with_call),
      include_stop_(options.include_stop),
      marks_(std::move(options.marks)),
      marks_are_tokens_(options.marks_are_tokens) {
  if (stops != nullptr) stop_matcher_.emplace(stops);
}

std::string ChoiceStream::Detokenize(text::TokenId token_id) {
  if (std::find(marks_.begin(), marks_.end(), token_id) == marks_.end()) {
    return detokenizer_.Push(token_id);
  }
  std::string text = detokenizer_.Finish();
  if (marks_are_tokens_) text.push_back(grammar::kControlByte);
  return text.append(model_->tokenizer->TokenBytes(token_id));
}

bool ChoiceStream::Push(uint32_t token_id, const TokenScores* logprobs, ChoiceDelta* delta) {
  ++num_tokens_;
  const bool was_inside = splitter_->inside();
  const std::string text = Detokenize(static_cast<text::TokenId>(token_id));
  if (logprobs != nullptr) {
    HeldLogprob held{MakeLogprob(token_id, *logprobs), text_in_ + text.size()};
    held.entry.text_offset = text_offset_ + text_in_;
    held_logprobs_.push_back(std::move(held));
  }
  Emit(text, delta);
  ReleaseLogprobs(text_in_ - splitter_->held_bytes() - stop_held_, delta);
  if (was_inside || splitter_->inside()) ++reasoning_tokens_;
  return stopped_;
}

void ChoiceStream::PushStopToken() {
  ++num_tokens_;
  if (splitter_->inside()) ++reasoning_tokens_;
}

void ChoiceStream::Emit(std::string_view text, ChoiceDelta* delta) {
  text_in_ += text.size();
  if (text.empty()) return;
  std::string content;
  splitter_->Push(text, &delta->reasoning, &content);
  EmitContent(content, delta);
}

void ChoiceStream::EmitContent(std::string_view text, ChoiceDelta* delta) {
  if (!stop_matcher_.has_value()) return EmitAnswer(text, delta);
  text::StopMatcher::Result result = stop_matcher_->Push(text);
  stop_held_ += text.size() - result.text.size();
  if (result.stopped && include_stop_) result.text += result.matched;
  EmitAnswer(result.text, delta);
  stopped_ = stopped_ || result.stopped;
  matched_stop_ = std::move(result.matched);
}

void ChoiceStream::EmitAnswer(std::string_view text, ChoiceDelta* delta) {
  if (tool_calls_ == nullptr) {
    delta->content.append(text);
  } else if (!text.empty()) {
    tool_calls_->Push(text, &delta->content, &delta->tool_calls);
    ShowMarks(&delta->content);
    stopped_ = ends_with_call_ && tool_calls_->num_calls() > 0;
  }
}

void ChoiceStream::ReleaseLogprobs(size_t up_to, ChoiceDelta* delta) {
  while (!held_logprobs_.empty() && held_logprobs_.front().text_end <= up_to) {
    delta->logprobs.push_back(std::move(held_logprobs_.front().entry));
    held_logprobs_.pop_front();
  }
}

void ChoiceStream::Finish(FinishReason reason, ChoiceDelta* delta) {
  std::string content;
  std::string call;
  if (!stopped_) {
    Emit(detokenizer_.Finish(), delta);
    splitter_->Finish(&delta->reasoning, &content, &call);
    if (!stopped_) EmitContent(content, delta);
    if (stop_matcher_.has_value() && !stopped_) EmitAnswer(stop_matcher_->Finish(), delta);
    ReleaseLogprobs(matched_stop_.empty() ? text_in_ : text_in_ - stop_held_, delta);
  }
  if (tool_calls_ != nullptr) {
    if (call.empty()) {
      tool_calls_->Finish(&delta->content, &delta->tool_calls);
      ShowMarks(&delta->content);
    } else {
      // The model forgot to close its thought: what is no call belongs to it.
      tool_calls_->Push(call, &delta->reasoning, &delta->tool_calls);
      tool_calls_->Finish(&delta->reasoning, &delta->tool_calls);
    }
    if (tool_calls_->num_calls() > 0 && reason == FinishReason::kStop) {
      reason = FinishReason::kToolCalls;
    }
  }
  delta->finish = reason;
  delta->matched_stop = std::move(matched_stop_);
}

TokenLogprob ChoiceStream::MakeLogprob(uint32_t token_id, const TokenScores& logprobs) const {
  const auto bytes = [this](uint32_t id) {
    return std::string(model_->tokenizer->TokenBytes(static_cast<text::TokenId>(id)));
  };
  TokenLogprob entry;
  entry.bytes = bytes(token_id);
  entry.logprob = logprobs.logprob;
  bool is_among_top = logprobs.top.empty();
  for (const ScoredToken& top : logprobs.top) {
    entry.top.push_back({bytes(top.token_id), top.logprob});
    is_among_top = is_among_top || top.token_id == token_id;
  }
  // As OpenAI's API, which may then have one more than was asked for.
  if (!is_among_top) entry.top.push_back({entry.bytes, entry.logprob});
  return entry;
}

}  // namespace pingti::router
