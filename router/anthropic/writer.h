// Answers in the shape of Anthropic's Messages API: one message, or its events.
//
// A message is a list of blocks (thinking, text, tool_use); while it streams at most one is open.
// Prompt tokens are known only with the end of an answer, so the usage of message_start is 0 and
// message_delta has all counts. Source: Anthropic's API reference, "Streaming messages".
// Thread-compatible.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "router/api/http_call.h"

namespace pingti::router {

class MessagesWriter final : public AnswerWriter {
 public:
  MessagesWriter(std::string id, std::string_view model);

  std::string Whole(const std::vector<ChoiceAnswer>& choices, const UsageCounts& usage) override;
  void Delta(const ChoiceDelta& delta, std::string* out) override;
  void Last(const UsageCounts& usage, std::string* out) override;
  void Error(const absl::Status& status, std::string* out) override;
  void KeepAlive(std::string* out) override;

 private:
  enum class Kind { kNone, kThinking, kText, kToolUse };

  void Begin(std::string* out);
  void OpenBlock(Kind kind, std::string_view block, std::string* out);
  void CloseBlock(std::string* out);
  // One content_block_delta; `member` is the delta's type and its text's name.
  void BlockDelta(std::string_view type, std::string_view member, std::string_view text,
                  std::string* out) const;
  // Up to "content", which follows.
  std::string Head() const;

  const std::string id_;
  std::string model_json_;
  Kind open_ = Kind::kNone;
  uint32_t open_call_ = 0;
  int next_block_ = 0;
  bool begun_ = false;
  FinishReason finish_ = FinishReason::kNone;
  std::string matched_stop_;
};

std::string WriteAnthropicError(const absl::Status& status, std::string_view request_id);

// {"input_tokens": n}
std::string WriteTokenCount(size_t num_tokens);

}  // namespace pingti::router
