// Answers in the shape of the Responses API: one response object, or its events.
//
// An answer is a list of items (reasoning, message, function calls). While it streams, at most one
// item is open; text of another kind closes it. Source: the OpenAI API reference, "The response
// object" and "Streaming events". Thread-compatible.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "router/api/http_call.h"

namespace pingti::router {

class ResponsesWriter final : public AnswerWriter {
 public:
  // `echo`: see ParsedResponse.
  ResponsesWriter(std::string id, std::string_view model, int64_t created_unix_s, std::string echo);

  std::string Whole(const std::vector<ChoiceAnswer>& choices, const UsageCounts& usage) override;
  void Delta(const ChoiceDelta& delta, std::string* out) override;
  void Last(const UsageCounts& usage, std::string* out) override;
  void Error(const absl::Status& status, std::string* out) override;
  void KeepAlive(std::string* out) override;

 private:
  enum class Kind { kNone, kReasoning, kMessage, kCall, kCustomCall };
  struct Item {
    Kind kind = Kind::kNone;
    std::string id{};
    std::string text{};      // reasoning, words, or a call's arguments or input
    std::string logprobs{};  // of a message: JSON objects with commas between
    std::string call_id{};
    std::string name{};
  };

  static bool IsCall(Kind kind) { return kind == Kind::kCall || kind == Kind::kCustomCall; }

  void Begin(std::string* out);
  void OpenEvent(std::string_view type, std::string* out);
  void StateEvent(std::string_view type, std::string_view status, const UsageCounts* usage,
                  const absl::Status& error, std::string* out);
  // What events about the open item's text begin with, up to and with a comma.
  void AppendPlace(std::string* out) const;
  void OpenItem(Kind kind, const ToolCallDelta* call, std::string* out);
  void AddText(Kind kind, std::string_view text, const std::vector<TokenLogprob>* logprobs,
               std::string* out);
  void AddCall(const ToolCallDelta& call, std::string* out);
  void CloseItem(std::string* out);
  void CloseParts(std::string* out);
  std::string ItemId(Kind kind) const;
  static std::string ItemJson(const Item& item, std::string_view status);
  static std::string PartJson(const Item& item);
  std::string ResponseJson(std::string_view status, const UsageCounts* usage,
                           const absl::Status& error) const;
  std::string_view FinalStatus() const;
  // Of the last item, once the answer is over; of the others before: "completed".
  std::string_view StatusOf(const Item& item) const;

  const std::string id_;
  const std::string echo_;
  const int64_t created_unix_s_;
  std::string model_json_;
  std::vector<std::string> items_;  // those that are complete
  Item open_;
  uint32_t open_call_ = 0;                   // index of the call that is open
  std::vector<TokenLogprob> held_logprobs_;  // of tokens before the first item
  int64_t sequence_number_ = 0;
  bool begun_ = false;
  FinishReason finish_ = FinishReason::kNone;
};

}  // namespace pingti::router
