// Splits a model's text into what it thought and what it says, as DeepSeek's API shows them.
#pragma once

#include <string>
#include <string_view>

#include "router/api/answer_format.h"

namespace pingti::router {

// Thread-compatible; one per choice. The markers, which are constants, are never shown; line breaks
// that only set a marker off (after either marker, before the closing one) are dropped.
class ReasoningSplitter {
 public:
  // `open`: the prompt ended inside the block. Empty markers: everything is content.
  ReasoningSplitter(ReasoningMarkers markers, bool open);

  // Appends what is certain now; holds back what may be part of a marker.
  void Push(std::string_view text, std::string* reasoning, std::string* content);
  void Finish(std::string* reasoning, std::string* content);

  // Whether the next token still belongs to the reasoning.
  bool inside() const { return state_ == State::kReasoning || state_ == State::kTrimReasoning; }

 private:
  // kBefore: only white space so far. kTrim*: a marker just ended, line breaks are skipped.
  enum class State { kBefore, kTrimReasoning, kReasoning, kTrimContent, kContent };

  bool Step(std::string* reasoning, std::string* content);

  const std::string_view start_;
  const std::string_view end_;
  State state_;
  std::string held_;
};

}  // namespace pingti::router
