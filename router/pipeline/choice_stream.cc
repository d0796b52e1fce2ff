// See choice_stream.h.
#include "router/pipeline/choice_stream.h"

#include <utility>

namespace pingti::router {

ChoiceStream::ChoiceStream(const ServedModel* model, const text::StopStrings* stops,
                           Options options)
    : model_(model),
      detokenizer_(model->tokenizer.get(), /*skip_special_tokens=*/true),
      reasoning_(MarkersOf(options.split_reasoning ? model->reasoning : ReasoningFormat::kNone),
                 options.reasoning_open),
      tool_calls_(std::move(options.tool_calls)) {
  if (stops != nullptr) stop_matcher_.emplace(stops);
}

bool ChoiceStream::Push(uint32_t token_id, const TokenScores* logprobs, ChoiceDelta* delta) {
  ++num_tokens_;
  const bool was_inside = reasoning_.inside();
  std::string text = detokenizer_.Push(static_cast<text::TokenId>(token_id));
  if (logprobs != nullptr) {
    HeldLogprob held{MakeLogprob(token_id, *logprobs), text_in_ + text.size()};
    held.entry.text_offset = text_offset_ + text_in_;
    held_logprobs_.push_back(std::move(held));
  }
  text_in_ += text.size();
  if (stop_matcher_.has_value()) {
    text::StopMatcher::Result result = stop_matcher_->Push(text);
    text = std::move(result.text);
    stopped_ = result.stopped;
    matched_stop_ = std::move(result.matched);
  }
  Emit(text, delta);
  ReleaseLogprobs(text_out_, delta);
  if (was_inside || reasoning_.inside()) ++reasoning_tokens_;
  return stopped_;
}

void ChoiceStream::PushStopToken() {
  ++num_tokens_;
  if (reasoning_.inside()) ++reasoning_tokens_;
}

void ChoiceStream::Emit(std::string_view text, ChoiceDelta* delta) {
  text_out_ += text.size();
  if (text.empty()) return;
  std::string content;
  reasoning_.Push(text, &delta->reasoning, &content);
  EmitContent(content, delta);
}

void ChoiceStream::EmitContent(std::string_view text, ChoiceDelta* delta) {
  if (tool_calls_ == nullptr) {
    delta->content.append(text);
  } else if (!text.empty()) {
    tool_calls_->Push(text, &delta->content, &delta->tool_calls);
  }
}

void ChoiceStream::ReleaseLogprobs(size_t up_to, ChoiceDelta* delta) {
  while (!held_logprobs_.empty() && held_logprobs_.front().text_end <= up_to) {
    delta->logprobs.push_back(std::move(held_logprobs_.front().entry));
    held_logprobs_.pop_front();
  }
}

void ChoiceStream::Finish(FinishReason reason, ChoiceDelta* delta) {
  if (!stopped_) {
    std::string rest = detokenizer_.Finish();
    text_in_ += rest.size();
    if (stop_matcher_.has_value()) {
      text::StopMatcher::Result result = stop_matcher_->Push(rest);
      rest = std::move(result.text);
      if (!result.stopped) rest += stop_matcher_->Finish();
      matched_stop_ = std::move(result.matched);
    }
    Emit(rest, delta);
    ReleaseLogprobs(text_in_, delta);
  }
  std::string content;
  reasoning_.Finish(&delta->reasoning, &content);
  EmitContent(content, delta);
  if (tool_calls_ != nullptr) {
    tool_calls_->Finish(&delta->content, &delta->tool_calls);
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
  for (const ScoredToken& top : logprobs.top) {
    entry.top.push_back({bytes(top.token_id), top.logprob});
  }
  return entry;
}

}  // namespace pingti::router
