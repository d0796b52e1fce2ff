// One choice's tokens on their way to text: detokenized, split into reasoning and content, the
// content cut at stop strings and split into words and tool calls, each with its logprobs.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/text/detokenizer.h"
#include "common/text/stop_matcher.h"
#include "router/api/request.h"
#include "router/pipeline/answer_splitter.h"
#include "router/pipeline/tool_call_parser.h"
#include "router/worker_link/messages.h"
#include "router/worker_link/served_model.h"

namespace pingti::router {

// Thread-compatible; used inside its Generation only.
class ChoiceStream {
 public:
  struct Options {
    bool split_reasoning = false;
    bool reasoning_open = false;
    std::unique_ptr<ToolCallParser> tool_calls;  // null: text stays text
    std::string_view call_mark{};                // see SplitOptions
    bool ends_with_call = false;                 // the first call ends the answer
    bool include_stop = false;                   // the stop string is part of the answer
    // Special tokens that are marks of thoughts or calls: they are part of the text.
    std::vector<text::TokenId> marks{};
    bool marks_are_tokens = false;  // see SplitOptions
  };
  // `model` and `stops` must outlive this; `stops` is null where there are none.
  ChoiceStream(const ServedModel* model, const text::StopStrings* stops, Options options);

  // Adds one token and what it changes to `delta`. `logprobs` may be null. True when the answer is
  // over, by a stop string or its only call: nothing more may be pushed, call Finish.
  bool Push(uint32_t token_id, const TokenScores* logprobs, ChoiceDelta* delta);
  // The token that ended the sequence: counted, not shown.
  void PushStopToken();
  // Releases what was held back and sets delta->finish: `reason`, or kToolCalls where an answer
  // that is not cut off has whole calls.
  void Finish(FinishReason reason, ChoiceDelta* delta);

  // Where the first token stands in the text, when an echoed prompt precedes it.
  void SetTextOffset(size_t offset) { text_offset_ = offset; }

  // Whether Push may find that the answer is over.
  bool may_end() const {
    return stop_matcher_.has_value() || (ends_with_call_ && tool_calls_ != nullptr);
  }
  // Whether the next token still belongs to a thought.
  bool thinking() const { return splitter_->inside(); }
  uint32_t num_tokens() const { return num_tokens_; }
  uint32_t reasoning_tokens() const { return reasoning_tokens_; }

 private:
  // A token whose text may still be held back.
  struct HeldLogprob {
    TokenLogprob entry;
    size_t text_end;  // bytes of text up to and with this token
  };

  std::string Detokenize(text::TokenId token_id);
  void Emit(std::string_view text, ChoiceDelta* delta);
  void EmitContent(std::string_view text, ChoiceDelta* delta);
  // Content that no stop string cuts off.
  void EmitAnswer(std::string_view text, ChoiceDelta* delta);
  void ReleaseLogprobs(size_t up_to, ChoiceDelta* delta);
  TokenLogprob MakeLogprob(uint32_t token_id, const TokenScores& logprobs) const;

  const ServedModel* const model_;
  text::Detokenizer detokenizer_;
  std::optional<text::StopMatcher> stop_matcher_;
  const std::unique_ptr<AnswerSplitter> splitter_;
  std::unique_ptr<ToolCallParser> tool_calls_;
  const bool ends_with_call_;
  const bool include_stop_;
  const std::vector<text::TokenId> marks_;
  const bool marks_are_tokens_;
  std::deque<HeldLogprob> held_logprobs_;
  bool stopped_ = false;
  std::string matched_stop_;
  size_t text_offset_ = 0;
  size_t text_in_ = 0;    // bytes the detokenizer gave
  size_t stop_held_ = 0;  // bytes of them that did not pass the stop matcher
  uint32_t num_tokens_ = 0;
  uint32_t reasoning_tokens_ = 0;
};

}  // namespace pingti::router
