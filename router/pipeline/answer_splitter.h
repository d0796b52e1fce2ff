// What tells a model's thoughts from its words as they arrive: reasoning_splitter.h for thoughts
// between two markers, harmony_splitter.h for messages with channels.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "router/api/answer_format.h"

namespace pingti::router {

// Thread-compatible; one per choice.
class AnswerSplitter {
 public:
  virtual ~AnswerSplitter() = default;

  // Appends what is certain now; holds back what may be part of a marker.
  virtual void Push(std::string_view text, std::string* reasoning, std::string* content) = 0;
  // What was held back at the end. `call`: what is a thought if it holds no call.
  virtual void Finish(std::string* reasoning, std::string* content, std::string* call) = 0;

  // Of what was pushed, bytes of which nothing is said yet.
  virtual size_t held_bytes() const = 0;
  // Whether the next token still belongs to a thought.
  virtual bool inside() const = 0;
};

struct SplitOptions {
  bool open = false;             // the prompt ended inside a thought
  std::string_view call_mark{};  // where a tool call begins; empty: nowhere
  bool parses_calls = false;     // content goes to a parser of tool calls
  // Harmony: each mark is pushed whole, behind a control byte (common/grammar/control_token.h), and
  // a mark that is spelled out is text.
  bool marks_are_tokens = false;
};

// kNone: everything is content.
std::unique_ptr<AnswerSplitter> MakeAnswerSplitter(ReasoningFormat format,
                                                   const SplitOptions& options);

}  // namespace pingti::router
