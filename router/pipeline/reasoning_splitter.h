// Splits a model's text into what it thought and what it says, as DeepSeek's API shows them.
#pragma once

#include <string>
#include <string_view>

#include "router/api/answer_format.h"
#include "router/pipeline/answer_splitter.h"

namespace pingti::router {

// Thread-compatible; one per choice. The markers, which are constants, are never shown; line breaks
// that only set a marker off (after either marker, before the closing one) are dropped.
class ReasoningSplitter final : public AnswerSplitter {
 public:
  // `open`: the prompt ended inside the block. Empty markers: everything is content. `call_mark`:
  // where a tool call begins; empty: nowhere.
  ReasoningSplitter(ReasoningMarkers markers, bool open, std::string_view call_mark = {});

  void Push(std::string_view text, std::string* reasoning, std::string* content) override;
  // What was held back at the end: of a thought that was not closed, what begins with a call's
  // mark is given as `call`. A model that forgets to close its thought calls tools within it; one
  // that closes it only thought about them.
  void Finish(std::string* reasoning, std::string* content, std::string* call) override;

  size_t held_bytes() const override { return held_.size(); }
  bool inside() const override {
    return state_ == State::kReasoning || state_ == State::kTrimReasoning ||
           state_ == State::kMaybeCall;
  }

 private:
  // kBefore: only white space so far. kTrim*: a marker just ended, line breaks are skipped.
  // kMaybeCall: inside, behind a call's mark.
  enum class State { kBefore, kTrimReasoning, kReasoning, kMaybeCall, kTrimContent, kContent };

  bool Step(std::string* reasoning, std::string* content);
  // Takes bytes up to `marker_end` off `held_`, of which those before `text_end` are a thought.
  void EmitReasoning(size_t text_end, size_t marker_end, std::string* reasoning);

  const std::string_view start_;
  const std::string_view end_;
  const std::string_view call_mark_;
  State state_;
  std::string held_;
  size_t searched_ = 0;  // bytes of `held_` behind a call's mark that have no end in them
};

}  // namespace pingti::router
