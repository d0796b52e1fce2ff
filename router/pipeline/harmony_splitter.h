// Splits an answer in OpenAI's Harmony format into thoughts, words and calls. Such an answer is a
// list of messages, each a header, <|message|> and a text up to <|end|>, or <|return|> and <|call|>
// of the last one:
//
//   <|channel|>analysis<|message|>THOUGHT<|end|><|start|>assistant<|channel|>final<|message|>WORDS
//   <|start|>assistant<|channel|>commentary to=functions.NAME <|constrain|>json<|message|>{...}
//
// The first message's "<|start|>assistant" is the prompt's. Texts of the channel "analysis" are
// thoughts, of all others words; what goes to a recipient is a call, which becomes content as
// "<|channel|>commentary to=NAME<|message|>TEXT<|call|>" however the header spelled it, for the
// parser of calls. Source: OpenAI, "Harmony response format" (2025).
#pragma once

#include <string>
#include <string_view>

#include "router/pipeline/answer_splitter.h"

namespace pingti::router {

// Thread-compatible; one per choice.
class HarmonySplitter final : public AnswerSplitter {
 public:
  // `open`: the prompt ended behind the header of a thought. Without `parses_calls`, a call's text
  // is content as it is.
  HarmonySplitter(bool open, bool parses_calls);

  void Push(std::string_view text, std::string* reasoning, std::string* content) override;
  void Finish(std::string* reasoning, std::string* content, std::string* call) override;
  size_t held_bytes() const override { return held_.size(); }
  bool inside() const override { return place_ == Place::kThought; }

 private:
  // kText: the model does not write messages.
  enum class Place { kHeader, kThought, kWords, kCall, kText };

  bool Step(std::string* reasoning, std::string* content);
  bool StepHeader(std::string* reasoning, std::string* content);
  bool StepBody(std::string* reasoning, std::string* content);
  void BeginMessage(std::string_view header, std::string* reasoning, std::string* content);
  // Gives the first `count` bytes of `held_` to where the message goes.
  void Give(size_t count, std::string* reasoning, std::string* content);
  void EndMessage(std::string* content);

  const bool parses_calls_;
  Place place_;
  std::string held_;
  bool has_thoughts_ = false;
  bool has_words_ = false;
};

}  // namespace pingti::router
