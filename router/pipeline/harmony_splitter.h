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
// parser of calls, with a control byte (common/grammar/control_token.h) before its first and its
// last mark, so that no words can be taken for a call.
// Source: OpenAI, "Harmony response format" (2025).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "router/pipeline/answer_splitter.h"

namespace pingti::router {

// Thread-compatible; one per choice.
class HarmonySplitter final : public AnswerSplitter {
 public:
  // `options.open`: the prompt ended behind the header of a thought. Without
  // `options.parses_calls`, a call's text is content as it is.
  explicit HarmonySplitter(const SplitOptions& options);

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

  // As they stand in what is pushed.
  struct Marks {
    std::string start;
    std::string channel;
    std::string message;
    std::string any;  // how each of them begins
    std::vector<std::string> ends;
  };
  static Marks MakeMarks(bool marks_are_tokens);
  bool MayBeHeader(std::string_view text) const;

  const bool parses_calls_;
  const bool marks_are_tokens_;
  const Marks marks_;
  Place place_;
  std::string held_;
  bool has_thoughts_ = false;
  bool has_words_ = false;
};

}  // namespace pingti::router
